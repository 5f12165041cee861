//! `cargo xtask bench`: always a release build, so that a number means something.

use std::process::ExitCode;

use anyhow::Result;

use crate::cargo;
use crate::tool;
use crate::workshop::Workshop;

/// They measure the binary itself, which they look for beside their own.
const OF_THE_BINARY: [&str; 3] = ["control-plane", "gateway", "hbone"];

pub(crate) fn run(workshop: &Workshop, name: &str, arguments: &[String]) -> Result<ExitCode> {
    if OF_THE_BINARY.contains(&name) {
        let mut build = cargo::cargo(workshop, "build");
        build.args(["--quiet", "--release", "--package", "diolkos"]);
        if !cargo::succeeds(&mut build)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut command = cargo::cargo(workshop, "run");
    command.args(["--quiet", "--release", "--package", "diolkos-bench", "--", name]);
    command.args(arguments);
    if matches!(name, "gateway" | "hbone")
        && let Ok(envoy) = tool::envoy(workshop)
    {
        command.env(tool::ENVOY, envoy);
    }
    let done = cargo::succeeds(&mut command)?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
