//! Processes by number and the time of their start, so that a number that is used again is not
//! taken for the process that had it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::limit::LOOK_EVERY;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    /// In clock ticks since the machine started.
    pub(crate) started: u64,
}

impl ProcessId {
    /// Of a process that is there now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Stat::of(pid).map(|stat| Self { pid, started: stat.started })
    }

    /// One that has ended and waits to be fetched counts as gone.
    pub(crate) fn is_alive(self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.started == self.started && !stat.ended)
    }

    /// Nothing where it is gone already.
    pub(crate) fn signal(self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_alive()) {
            // Gone in between is as good.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Whether it ended within this time.
    pub(crate) fn ends_within(self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while self.is_alive() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(LOOK_EVERY / 10);
        }
        true
    }
}

/// The processes whose parent is `parent`.
pub(crate) fn children_of(parent: u32) -> anyhow::Result<Vec<ProcessId>> {
    let entries = std::fs::read_dir("/proc").context("cannot read /proc")?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let with = |pid: u32| Stat::of(pid).map(|stat| (pid, stat));
    let children = pids.filter_map(with).filter(|(_, stat)| stat.parent == parent);
    Ok(children.map(|(pid, stat)| ProcessId { pid, started: stat.started }).collect())
}

struct Stat {
    ended: bool,
    parent: u32,
    started: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::read(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name in parentheses may hold anything, parentheses and spaces too.
    fn read(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self { ended, parent, started })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_not_the_next_one_with_its_number() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessId { started: own.started + 1, ..own }.is_alive());
    }

    #[test]
    fn a_name_with_parentheses_does_not_move_the_fields() {
        let stat = "7 (a) b) (c) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 9 9";
        let stat = Stat::read(stat).unwrap();
        assert_eq!((stat.parent, stat.started, stat.ended), (3, 12345, false));
        assert!(Stat::read("7 (a) Z 3 7 7 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 1 9").unwrap().ended);
        assert!(Stat::read("nonsense").is_none());
    }

    #[test]
    fn a_child_is_found_by_its_parent_and_ends_when_told() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = children_of(std::process::id()).unwrap();
        let id = *found.iter().find(|id| id.pid == child.id()).unwrap();
        assert!(!id.ends_within(Duration::ZERO));
        id.signal(Signal::KILL);
        assert!(id.ends_within(Duration::from_secs(5)));
        child.wait().unwrap();
        id.signal(Signal::KILL);
    }
}
