//! How often one caller may ask.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::limit::{CALLER_REQUEST_INTERVAL, CALLER_REQUESTS_MAX, CALLERS_MAX};

/// Requests that each caller has left. Time is an argument.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    callers: BTreeMap<String, Left>,
    /// By when a caller asked last: whom to forget first.
    asked: BTreeSet<(Instant, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    /// When all requests are back, if nobody asks until then.
    full_at: Instant,
    asked: Instant,
}

impl Pace {
    /// # Errors
    /// When there is none left, and how long until there is.
    pub(crate) fn ask(&mut self, caller: &str, now: Instant) -> Result<(), Duration> {
        let known = self.callers.get(caller).copied();
        let full_at = known.map_or(now, |left| left.full_at.max(now)) + CALLER_REQUEST_INTERVAL;
        let most = CALLER_REQUEST_INTERVAL * CALLER_REQUESTS_MAX;
        let behind = full_at.saturating_duration_since(now);
        if behind > most {
            return Err(behind - most);
        }
        if let Some(before) = known {
            self.asked.remove(&(before.asked, caller.to_owned()));
        } else if self.callers.len() >= CALLERS_MAX
            && let Some((_, idle)) = self.asked.pop_first()
        {
            self.callers.remove(&idle);
        }
        self.callers.insert(caller.to_owned(), Left { full_at, asked: now });
        self.asked.insert((now, caller.to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_requests_as_the_limit_and_not_one_more_until_time_passed() {
        let mut pace = Pace::default();
        let now = Instant::now();
        for _ in 0..CALLER_REQUESTS_MAX {
            assert_eq!(pace.ask("a", now), Ok(()));
        }
        assert_eq!(pace.ask("a", now), Err(CALLER_REQUEST_INTERVAL));
        assert_eq!(pace.ask("b", now), Ok(()), "another caller is not held up");
        let soon = now + CALLER_REQUEST_INTERVAL - Duration::from_millis(1);
        assert_eq!(pace.ask("a", soon), Err(Duration::from_millis(1)));
        assert_eq!(pace.ask("a", now + CALLER_REQUEST_INTERVAL), Ok(()));
        assert!(pace.ask("a", now + CALLER_REQUEST_INTERVAL).is_err());
    }

    #[test]
    fn callers_are_counted_up_to_the_limit_and_the_idlest_is_forgotten() {
        let mut pace = Pace::default();
        let now = Instant::now();
        for number in 0..=CALLERS_MAX {
            let later = now + Duration::from_nanos(number as u64);
            assert_eq!(pace.ask(&number.to_string(), later), Ok(()));
        }
        assert_eq!(pace.callers.len(), CALLERS_MAX);
        assert_eq!(pace.asked.len(), CALLERS_MAX);
        assert!(!pace.callers.contains_key("0") && pace.callers.contains_key("1"));
    }
}
