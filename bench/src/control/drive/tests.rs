use std::rc::Rc;

use super::*;

fn seen(count: u64) -> Seen {
    Seen { remote: [(1, count)].into(), ..Seen::default() }
}

/// Clients hear of states at moments after the first.
fn history(changes: usize, heard: &[(usize, u64, u64)]) -> (History, Instant) {
    let begin = Instant::now();
    let mut history = History::new(changes, 2);
    for change in 0..changes {
        history.will(change, 7, seen(10 - change as u64));
    }
    for &(client, count, ms) in heard {
        let at = begin + Duration::from_millis(ms);
        history.heard(&Receipt { client, at, service: 7, seen: Rc::new(seen(count)) });
    }
    (history, begin)
}

#[test]
fn a_change_is_timed_to_the_last_client() {
    let (history, begin) = history(2, &[(0, 10, 5), (1, 10, 9), (0, 9, 20), (1, 9, 15)]);
    assert_eq!(history.times(&[begin, begin]).unwrap(), [9.0, 20.0]);
}

#[test]
fn a_later_state_stands_for_the_changes_before_it() {
    let (history, begin) = history(2, &[(0, 9, 6), (1, 10, 4), (1, 9, 8)]);
    assert_eq!(history.times(&[begin, begin]).unwrap(), [6.0, 8.0]);
}

#[test]
fn one_that_was_seen_before_the_writer_had_its_answer_took_no_time() {
    let (history, begin) = history(1, &[(0, 10, 1), (1, 10, 2)]);
    assert_eq!(history.times(&[begin + Duration::from_millis(3)]).unwrap(), [0.0]);
}

#[test]
fn a_change_that_a_client_never_saw_is_an_error() {
    let (history, begin) = history(1, &[(0, 10, 1)]);
    let error = history.times(&[begin]).unwrap_err().to_string();
    assert_eq!(error, "change 0 was never seen");
}
