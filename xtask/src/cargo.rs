//! Running cargo from within cargo.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::count::Count;
use crate::workshop::Workshop;

/// What `cargo run` tells this program about itself. Build scripts of some dependencies watch
/// these, and would build anew whenever cargo is called from here and by hand in turn.
const OWN: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "OUT_DIR"];

/// `cargo` in the tree's root. Lock file changes are refused under CI.
pub(crate) fn cargo(workshop: &Workshop, subcommand: &str) -> Command {
    let mut command = plain(workshop);
    command.arg(subcommand);
    if workshop.is_strict() && subcommand != "fmt" {
        command.arg("--locked");
    }
    command
}

/// `cargo` without a subcommand yet.
pub(crate) fn plain(workshop: &Workshop) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workshop.root());
    for (name, _) in std::env::vars_os() {
        if OWN.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `command` with its output going where this program's goes; whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    Ok(status.success())
}

/// Runs a test command, shows its output as it comes, and counts the results in it.
pub(crate) fn count(command: &mut Command) -> Result<Count> {
    println!("$ {}", shown(command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let mut count = Count::default();
    let mut lines = BufReader::new(child.stdout.take().context("a piped stdout is there")?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).context("reading test output")? > 0 {
        std::io::stdout().write_all(&line).context("writing test output")?;
        count.read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    let status = child.wait()?;
    // A test that could not be built, or died, leaves no result line of its own.
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}
