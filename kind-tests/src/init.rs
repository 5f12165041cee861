//! Process 1 of a topology: waits for the word, prepares what only it may, and then for the end.

use std::ffi::OsString;
use std::io::Read as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

/// What `up` says once it has written down who this is. Without it nothing was made yet, and
/// nothing is: so nothing can run that nobody knows of.
pub(crate) const WORD: &[u8] = b"go\n";

/// Runs `supervisor` and fetches the end of every process that has no other parent; returns when
/// the supervisor has ended. No thread but this one may run: see `unshare(2)`.
///
/// # Errors
/// When it is not process 1, is told nothing, or a mount is refused.
pub fn init(supervisor: &[OsString]) -> anyhow::Result<i32> {
    if std::process::id() != 1 {
        bail!("this is for the first process of a topology; use: diolkos topology up NAME");
    }
    let mut word = Vec::new();
    std::io::stdin().take(WORD.len() as u64).read_to_end(&mut word)?;
    if word != WORD {
        bail!("whoever started this is gone");
    }
    // Network namespaces get their names below /run, and programs leave their things there: nobody
    // else is to see either, nor find them afterwards.
    mount(&["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"])?;
    std::fs::create_dir_all("/run/netns")?;
    let [program, arguments @ ..] = supervisor else { bail!("no supervisor to run") };
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let supervisor = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == supervisor => return Ok(code(status)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for the supervisor"),
        }
    }
}

fn mount(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("mount").args(arguments).status().context("cannot start mount")?;
    if status.success() {
        Ok(())
    } else {
        bail!("mount {} ended with {status}", arguments.join(" "))
    }
}

fn code(status: WaitStatus) -> i32 {
    let signalled = || status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or_else(signalled).unwrap_or(1)
}
