//! What is said at the end.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::count::Count;

/// Rows of what was done, and their sum.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ran(Count),
    /// Why, and what would change it.
    Skipped(String),
    /// Skipped where skipping is not allowed.
    Missing(String),
}

impl Summary {
    pub(crate) fn add(&mut self, name: &'static str, outcome: Outcome, took: Duration) {
        self.rows.push(Row { name, outcome, took });
    }

    pub(crate) fn total(&self) -> Count {
        let mut total = Count::default();
        for row in &self.rows {
            total += row.outcome.count();
        }
        total
    }
}

impl Outcome {
    /// A tier that did not run counts as one.
    fn count(&self) -> Count {
        match self {
            Self::Ran(count) => *count,
            Self::Skipped(_) => Count::SKIPPED,
            Self::Missing(_) => Count::FAILED,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Ran(count) if count.failed > 0 => "FAILED",
            Self::Ran(_) => "ok",
            Self::Skipped(_) => "skipped",
            Self::Missing(_) => "MISSING",
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { name, outcome, took } in &self.rows {
            let mut says = String::new();
            match outcome {
                Outcome::Ran(count) => write!(says, "{count}")?,
                Outcome::Skipped(why) | Outcome::Missing(why) => says.push_str(why),
            }
            let seconds = took.as_secs_f64();
            writeln!(f, "{name:<12} {:<8} {seconds:>7.1} s  {says}", outcome.word())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_line_up_and_tiers_that_did_not_run_count_as_one() {
        let mut summary = Summary::default();
        let ran = Count { passed: 12, failed: 1, skipped: 0 };
        summary.add("unit", Outcome::Ran(ran), Duration::from_millis(1250));
        summary.add("envoy", Outcome::Skipped("no Python 3".to_owned()), Duration::ZERO);
        summary.add("grpc", Outcome::Missing("no Go".to_owned()), Duration::ZERO);
        assert_eq!(summary.total(), Count { passed: 12, failed: 2, skipped: 1 });
        assert_eq!(
            summary.to_string(),
            "unit         FAILED       1.2 s  12 passed, 1 failed, 0 skipped\n\
             envoy        skipped      0.0 s  no Python 3\n\
             grpc         MISSING      0.0 s  no Go\n"
        );
    }
}
