//! Runs seeds, and replays what failed.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use diolkos_sim::Run;

const USAGE: &str = "usage: diolkos-sim seeds FROM..TO | replay FILE [--step] | reduce FILE";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["seeds", range] => seeds(range),
        ["replay", file] => replay(Path::new(file), Pace::Through),
        ["replay", file, "--step"] | ["replay", "--step", file] => {
            replay(Path::new(file), Pace::Stepwise)
        }
        ["reduce", file] => reduce(Path::new(file)),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Through,
    /// Waits for Enter after each action.
    Stepwise,
}

/// All of them; the failures are told as they come.
fn seeds(range: &str) -> Result<(), String> {
    let ends = range.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (from, to): (u64, u64) = ends.ok_or(USAGE)?;
    let mut failed = Vec::new();
    for seed in from..to {
        let run = Run::of_seed(seed);
        if let Err(failure) = run.execute() {
            eprintln!("{}\n", run.report(&failure, &folder()));
            failed.push(seed);
        }
    }
    println!("{} seeds, {} failed {failed:?}", to.saturating_sub(from), failed.len());
    if failed.is_empty() { Ok(()) } else { Err("some invariants do not hold".into()) }
}

fn replay(file: &Path, pace: Pace) -> Result<(), String> {
    let run = read(file)?;
    println!("{}: {}", run.name, run.shape);
    let done = run.step(|_, log| {
        for line in log {
            println!("{line}");
        }
        if pace == Pace::Stepwise && io::stdin().is_terminal() {
            print!("[Enter] ");
            let mut line = String::new();
            // Without a terminal to wait for there is nothing to wait for.
            let _ = io::stdout().flush().and_then(|()| io::stdin().lock().read_line(&mut line));
        }
    });
    match done {
        Ok(()) => {
            println!("every invariant holds");
            Ok(())
        }
        Err(failure) => Err(format!("violated {failure}")),
    }
}

fn reduce(file: &Path) -> Result<(), String> {
    let run = read(file)?;
    let Err(failure) = run.execute() else { return Err("every invariant holds".into()) };
    let less = run.reduced(&failure);
    let Err(failure) = less.execute() else { return Err("the reduced run does not fail".into()) };
    for action in &less.actions {
        println!("{action}");
    }
    println!("{}", less.report(&failure, &folder()));
    Ok(())
}

fn read(file: &Path) -> Result<Run, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    text.parse()
}

fn folder() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    target.join("tmp")
}
