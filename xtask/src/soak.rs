//! `cargo xtask soak`: the properties again and again, each round with a seed of its own.

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::cargo;
use crate::metadata::Metadata;
use crate::workshop::Workshop;

pub(crate) fn run(workshop: &Workshop, minutes: u64) -> Result<ExitCode> {
    let metadata = Metadata::read(workshop)?;
    let tests = || {
        let mut command = cargo::cargo(workshop, "test");
        command.args(["--release", "--tests"]);
        for package in metadata.dependents("proptest") {
            command.args(["--package", package]);
        }
        command
    };
    if !cargo::succeeds(tests().arg("--no-run"))? {
        return Ok(ExitCode::FAILURE);
    }
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let first = SystemTime::now().duration_since(UNIX_EPOCH).context("before 1970")?.as_secs();
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < end {
        let seed = (first + rounds).to_string();
        let mut round = tests();
        round.arg("--quiet").env(cargo::SEED, &seed).stdin(Stdio::null());
        let output = round.output().context("cannot start cargo")?;
        if !output.status.success() {
            print!("{}", String::from_utf8_lossy(&output.stdout));
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            println!(
                "found in round {}; again: {}={seed} {}",
                rounds + 1,
                cargo::SEED,
                cargo::shown(&round)
            );
            return Ok(ExitCode::FAILURE);
        }
        rounds += 1;
    }
    println!("nothing found in {rounds} rounds, from seed {first}");
    Ok(ExitCode::SUCCESS)
}
