//! `cargo xtask lint`: all that can be said about the tree without running it.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Result;

use crate::count::Count;
use crate::fuzz::FuzzCrate;
use crate::summary::{Outcome, Summary};
use crate::tool::{self, Missing};
use crate::workshop::Workshop;
use crate::{cargo, fuzz, tidy};

type Step = fn(&Workshop) -> Result<Result<bool, Missing>>;

const STEPS: &[(&str, Step)] = &[
    ("format", format),
    ("clippy", clippy),
    ("tidy", tidy),
    ("go", go),
    ("dependencies", dependencies),
    ("advisories", advisories),
];

pub(crate) fn run(workshop: &Workshop) -> Result<ExitCode> {
    let mut summary = Summary::default();
    for (name, step) in STEPS {
        println!("\n=== {name} ===");
        let started = Instant::now();
        let outcome = match step(workshop)? {
            Ok(true) => Outcome::Ran(Count::PASSED),
            Ok(false) => Outcome::Ran(Count::FAILED),
            // Advisories live on another machine that may not answer: said, never fatal.
            Err(Missing(why)) if workshop.is_strict() && *name != "advisories" => {
                Outcome::Missing(why)
            }
            Err(Missing(why)) => Outcome::Skipped(why),
        };
        summary.add(name, outcome, started.elapsed());
    }
    let total = summary.total();
    println!("\n{summary}\n{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn format(workshop: &Workshop) -> Result<Result<bool, Missing>> {
    let mut ok = cargo::succeeds(cargo::cargo(workshop, "fmt").args(["--all", "--check"]))?;
    for FuzzCrate { folder, .. } in fuzz::find(workshop)? {
        let mut command = cargo::cargo(workshop, "fmt");
        ok &= cargo::succeeds(command.current_dir(folder).arg("--check"))?;
    }
    Ok(Ok(ok))
}

fn clippy(workshop: &Workshop) -> Result<Result<bool, Missing>> {
    let mut command = cargo::cargo(workshop, "clippy");
    command.args(["--workspace", "--all-targets", "--keep-going", "--", "--deny", "warnings"]);
    cargo::succeeds(&mut command).map(Ok)
}

fn tidy(workshop: &Workshop) -> Result<Result<bool, Missing>> {
    let findings = tidy::check(workshop)?;
    for finding in &findings {
        println!("{finding}");
    }
    Ok(Ok(findings.is_empty()))
}

/// Programs in the tree that are more than a list of tools.
const GO_MODULES: &[&str] = &["cli/tests/grpc-peer", "kind-tests/node"];

fn go(workshop: &Workshop) -> Result<Result<bool, Missing>> {
    let missing = |program: &str| Missing(format!("{program} cannot be started; install Go"));
    let tree = tidy::Tree::read(workshop)?;
    let files = tree.files().map(|(path, _)| path).filter(|path| path.ends_with(".go"));
    let mut format = Command::new("gofmt");
    format.current_dir(workshop.root()).arg("-l").args(files);
    let Ok(output) = format.output() else { return Ok(Err(missing("gofmt"))) };
    let mut ok = output.status.success() && output.stdout.is_empty();
    for unformatted in String::from_utf8_lossy(&output.stdout).lines() {
        println!("{unformatted}: not as gofmt has it");
    }
    print!("{}", String::from_utf8_lossy(&output.stderr));
    for module in GO_MODULES {
        match tool::go(&workshop.path(module)).args(["vet", "./..."]).status() {
            Ok(status) => ok &= status.success(),
            Err(_) => return Ok(Err(missing("go"))),
        }
    }
    Ok(Ok(ok))
}

fn dependencies(workshop: &Workshop) -> Result<Result<bool, Missing>> {
    let cargo_deny = match tool::cargo_deny(workshop) {
        Ok(path) => path,
        Err(missing) => return Ok(Err(missing)),
    };
    let mut command = Command::new(cargo_deny);
    command.current_dir(workshop.root()).args(["--log-level", "error", "--workspace", "check"]);
    cargo::succeeds(command.args(["bans", "licenses", "sources"])).map(Ok)
}

fn advisories(workshop: &Workshop) -> Result<Result<bool, Missing>> {
    let cargo_deny = match tool::cargo_deny(workshop) {
        Ok(path) => path,
        Err(missing) => return Ok(Err(missing)),
    };
    let mut fetch = Command::new(&cargo_deny);
    fetch.current_dir(workshop.root()).args(["fetch", "db"]);
    fetch.stdout(Stdio::null()).stderr(Stdio::null());
    if !cargo::succeeds(&mut fetch)? {
        let why = "the advisory database cannot be fetched, advisories were NOT checked";
        println!("{why}");
        return Ok(Err(Missing(why.to_owned())));
    }
    let mut check = Command::new(&cargo_deny);
    check.current_dir(workshop.root()).args(["--workspace", "check", "--disable-fetch"]);
    cargo::succeeds(check.arg("advisories")).map(Ok)
}
