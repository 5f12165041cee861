//! What is told about a topology: lines as they come, and what became of bringing it up.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::limit::PROGRESS_LINES_MAX;

/// One line of progress.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Line {
    /// Seconds since the supervisor started.
    pub(crate) at: f64,
    /// Of which cluster; nothing for the topology as a whole.
    pub(crate) cluster: Option<String>,
    pub(crate) says: String,
}

/// How far it came.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    Coming,
    Up,
    Failed(String),
}

#[derive(Debug)]
pub(crate) struct Board {
    started: Instant,
    lines: Mutex<Lines>,
    /// Changes with every line, and with the standing.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Lines {
    kept: VecDeque<Line>,
    /// How many were dropped before the first that is kept.
    dropped: usize,
    standing: Standing,
}

impl Board {
    pub(crate) fn new() -> Self {
        let lines = Lines { kept: VecDeque::new(), dropped: 0, standing: Standing::Coming };
        Self { started: Instant::now(), lines: Mutex::new(lines), changed: watch::Sender::new(0) }
    }

    pub(crate) fn tell(&self, cluster: Option<&str>, says: impl Into<String>) {
        let says = says.into();
        tracing::info!(cluster, "{says}");
        let at = self.started.elapsed().as_secs_f64();
        let line = Line { at, cluster: cluster.map(str::to_owned), says };
        self.change(|lines| {
            if lines.kept.len() == PROGRESS_LINES_MAX {
                lines.kept.pop_front();
                lines.dropped += 1;
            }
            lines.kept.push_back(line);
        });
    }

    pub(crate) fn settle(&self, standing: Standing) {
        self.change(|lines| lines.standing = standing);
    }

    pub(crate) fn standing(&self) -> Standing {
        self.lines.lock().expect("nobody panics with it").standing.clone()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The lines from number `from`, the number after the last of them, and the standing.
    pub(crate) fn since(&self, from: usize) -> (Vec<Line>, usize, Standing) {
        let lines = self.lines.lock().expect("nobody panics with it");
        let skip = from.saturating_sub(lines.dropped);
        let found = lines.kept.iter().skip(skip).cloned().collect();
        (found, lines.dropped + lines.kept.len(), lines.standing.clone())
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.lines.lock().expect("nobody panics with it"));
        self.changed.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_late_gets_what_is_kept_and_nothing_twice() {
        let board = Board::new();
        for number in 0..PROGRESS_LINES_MAX {
            board.tell(None, number.to_string());
        }
        let (lines, next, standing) = board.since(0);
        assert_eq!((lines.len(), next), (PROGRESS_LINES_MAX, PROGRESS_LINES_MAX));
        assert_eq!(standing, Standing::Coming);
        board.tell(Some("east"), "one more");
        board.settle(Standing::Up);
        let (lines, next, standing) = board.since(next);
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].says.as_str(), next), ("one more", PROGRESS_LINES_MAX + 1));
        assert_eq!(standing, Standing::Up);
        assert_eq!(board.since(0).0.len(), PROGRESS_LINES_MAX);
    }
}
