//! Holds a program that would outlive its starter: ends it when standard input ends.

use std::io::Read as _;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use clap::Args;
use diolkos_ops::Trigger;
use tokio::process::Command;

#[derive(Args, Clone, Debug)]
pub(crate) struct LeashArgs {
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<String>,
}

pub(crate) async fn run(args: LeashArgs, shutdown: diolkos_ops::Shutdown) -> anyhow::Result<()> {
    let [program, rest @ ..] = args.program.as_slice() else { bail!("no program to hold") };
    let mut child = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    tokio::select! {
        status = child.wait() => bail!("{program} ended with {}", status?),
        () = shutdown.wait() => {
            child.kill().await?;
            Ok(())
        }
    }
}

/// Fires when standard input ends. A thread of its own: a blocking read cannot be cancelled, and
/// must not hold up the end of a runtime.
pub(crate) fn follow_stdin(trigger: Trigger) {
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        let mut input = std::io::stdin().lock();
        while input.read(&mut buffer).is_ok_and(|read| read > 0) {}
        trigger.fire();
    });
}
