//! Notices, each remembered once with a count.

use std::collections::VecDeque;
use std::time::SystemTime;

use serde::Serialize;

use crate::limit;

/// The last notices, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: VecDeque<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) count: u64,
    /// Seconds since 1970.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Ledger {
    /// True if it is new, and so worth a line in the log.
    pub(crate) fn note(&mut self, text: String, at: SystemTime) -> bool {
        let seconds = seconds(at);
        if let Some(index) = self.entries.iter().position(|entry| entry.text == text) {
            let mut entry = self.entries.remove(index).expect("the index was just found");
            entry.count += 1;
            entry.last = seconds;
            self.entries.push_back(entry);
            return false;
        }
        if self.entries.len() == limit::NOTICES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { text, count: 1, first: seconds, last: seconds });
        true
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }
}

pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_notice_is_counted_and_the_oldest_go_first() {
        let mut ledger = Ledger::default();
        let at = SystemTime::UNIX_EPOCH;
        assert!(ledger.note("a".into(), at));
        assert!(!ledger.note("a".into(), at));
        assert_eq!(ledger.entries()[0].count, 2);
        for index in 0..limit::NOTICES_MAX {
            assert!(ledger.note(index.to_string(), at));
        }
        let entries = ledger.entries();
        assert_eq!(entries.len(), limit::NOTICES_MAX);
        assert_eq!(entries[0].text, "0", "the first was pushed out");
        assert!(ledger.note("a".into(), at));
    }
}
