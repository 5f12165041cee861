//! `cargo xtask bench`: always a release build, so that a number means something.

use std::process::ExitCode;

use anyhow::Result;

use crate::cargo;
use crate::workshop::Workshop;

pub(crate) fn run(workshop: &Workshop, name: &str, arguments: &[String]) -> Result<ExitCode> {
    let mut command = cargo::cargo(workshop, "run");
    command.args(["--quiet", "--release", "--package", "diolkos-bench", "--", name]);
    command.args(arguments);
    let done = cargo::succeeds(&mut command)?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
