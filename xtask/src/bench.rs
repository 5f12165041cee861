//! `cargo xtask bench`: always a release build, so that a number means something.

use std::process::ExitCode;

use anyhow::Result;

use crate::cargo;
use crate::workshop::Workshop;

/// Measures the binary itself, beside which it looks.
const OF_THE_BINARY: &str = "control-plane";

pub(crate) fn run(workshop: &Workshop, name: &str, arguments: &[String]) -> Result<ExitCode> {
    if name == OF_THE_BINARY {
        let mut build = cargo::cargo(workshop, "build");
        build.args(["--quiet", "--release", "--package", "diolkos"]);
        if !cargo::succeeds(&mut build)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut command = cargo::cargo(workshop, "run");
    command.args(["--quiet", "--release", "--package", "diolkos-bench", "--", name]);
    command.args(arguments);
    let done = cargo::succeeds(&mut command)?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
