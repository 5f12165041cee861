//! What came of many requests, by URL.

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    /// By a cluster; by none, if the answer says none.
    Answered {
        by: &'a str,
    },
    Failed,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    urls: BTreeMap<String, Count>,
}

#[derive(Debug, Default, Serialize)]
struct Count {
    requests: u64,
    failed: u64,
    /// By the cluster that answered.
    answered: BTreeMap<String, u64>,
    slowest_us: u64,
}

impl Tally {
    pub(super) fn add(&mut self, url: &str, took_us: u64, outcome: Outcome<'_>) {
        let count = match self.urls.get_mut(url) {
            Some(count) => count,
            None => self.urls.entry(url.to_owned()).or_default(),
        };
        count.requests += 1;
        count.slowest_us = count.slowest_us.max(took_us);
        match outcome {
            Outcome::Failed => count.failed += 1,
            Outcome::Answered { by } => {
                // Whoever answers says so: a few names, whatever comes.
                let is_full = count.answered.len() >= CLUSTERS_MAX;
                let by = if is_full && !count.answered.contains_key(by) { OTHERS } else { by };
                *count.answered.entry(by.to_owned()).or_default() += 1;
            }
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.urls.values().map(|count| count.failed).sum()
    }

    /// One line, of all so far.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        println!("{}", serde_json::to_string(&serde_json::json!({"report": self.urls}))?);
        Ok(())
    }
}

const CLUSTERS_MAX: usize = 256;
/// Counts for all beyond them.
const OTHERS: &str = "others";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_url_and_by_whom_they_were_answered() {
        let mut tally = Tally::default();
        tally.add("a", 7, Outcome::Answered { by: "east" });
        tally.add("a", 9, Outcome::Answered { by: "west" });
        tally.add("a", 8, Outcome::Answered { by: "east" });
        tally.add("b", 5, Outcome::Failed);
        assert_eq!(tally.failed(), 1);
        let told = serde_json::to_value(&tally.urls).unwrap();
        let answered = serde_json::json!({"east": 2, "west": 1});
        let a = serde_json::json!(
            {"requests": 3, "failed": 0, "answered": answered, "slowest_us": 9});
        assert_eq!(told["a"], a);
        assert_eq!(told["b"]["failed"], 1);
    }
}
