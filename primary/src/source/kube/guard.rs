//! Whether most of a cluster may go at once.
//!
//! A server that lost its memory says that nothing is there, and says it with authority. So a
//! removal of most of a kind, with any sign that the server is not who it was, is held, and done
//! only if a second look says the same.

use std::time::{Duration, Instant};

/// Fewer are not worth the doubt.
const VANISHED_MIN: usize = 20;

/// What may be wrong with whoever says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// Another cluster answers.
    pub(super) other_cluster: bool,
    /// Its versions went back.
    pub(super) rewound: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Hold(String),
}

/// One kind's removals.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    held: Option<Instant>,
}

impl Guard {
    pub(super) fn verdict(
        &mut self,
        before: usize,
        after: usize,
        signs: Signs,
        now: Instant,
        hold: Duration,
    ) -> Verdict {
        let why = doubtful(before, after, signs);
        let Some(why) = why else {
            self.held = None;
            return Verdict::Pass;
        };
        let since = *self.held.get_or_insert(now);
        if now.duration_since(since) >= hold {
            self.held = None;
            return Verdict::Pass;
        }
        Verdict::Hold(format!(
            "{} of {before} would go at once, and {why}; looked at again after {} s",
            before - after,
            hold.as_secs()
        ))
    }

    /// When to look again.
    pub(super) fn due(&self, hold: Duration) -> Option<Instant> {
        self.held.map(|since| since + hold)
    }
}

fn doubtful(before: usize, after: usize, signs: Signs) -> Option<&'static str> {
    let vanished = before.saturating_sub(after);
    if vanished < VANISHED_MIN || vanished * 2 <= before {
        return None;
    }
    match signs {
        Signs { other_cluster: true, .. } => Some("another cluster answers under this name"),
        Signs { rewound: true, .. } => Some("the server's versions went back"),
        _ if after == 0 => Some("nothing at all is left"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r10_most_of_a_cluster_goes_only_after_a_second_look() {
        let (now, hold) = (Instant::now(), Duration::from_secs(60));
        let none = Signs::default();
        let rewound = Signs { rewound: true, ..none };
        let other = Signs { other_cluster: true, ..none };
        for (before, after, signs, held) in [
            (100, 0, none, true),
            (100, 10, none, false),
            (100, 10, rewound, true),
            (100, 10, other, true),
            (100, 50, other, false),
            (19, 0, other, false),
            (20, 0, none, true),
            (0, 0, other, false),
            (10, 20, other, false),
        ] {
            let mut guard = Guard::default();
            let verdict = guard.verdict(before, after, signs, now, hold);
            assert_eq!(verdict != Verdict::Pass, held, "{before} -> {after}, {signs:?}");
        }
        let mut guard = Guard::default();
        assert_ne!(guard.verdict(100, 0, none, now, hold), Verdict::Pass);
        assert_ne!(guard.verdict(100, 0, none, now + hold / 2, hold), Verdict::Pass);
        assert_eq!(guard.due(hold), Some(now + hold));
        assert_eq!(guard.verdict(100, 0, none, now + hold, hold), Verdict::Pass);
        assert_ne!(guard.verdict(100, 0, none, now + hold, hold), Verdict::Pass, "a new case");
        assert_eq!(guard.verdict(100, 90, none, now, hold), Verdict::Pass);
        assert_eq!(guard.due(hold), None, "whoever came back is not held any more");
    }
}
