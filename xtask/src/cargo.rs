//! Running cargo from within cargo.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::count::Count;
use crate::workshop::Workshop;

/// By which properties begin; read by proptest.
pub(crate) const SEED: &str = "PROPTEST_RNG_SEED";

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
    if workshop.is_strict() {
        // A machine builds once: what would make its next build shorter is gigabytes.
        command.env("CARGO_INCREMENTAL", "0");
        // And what it says of a commit is the same each time; `cargo xtask soak` tries other seeds.
        if std::env::var_os(SEED).is_none() {
            command.env(SEED, "1");
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
    count_onto(&mut std::io::stdout(), command)
}

fn count_onto(screen: &mut impl Write, command: &mut Command) -> Result<Count> {
    writeln!(screen, "$ {}", shown(command)).context("writing test output")?;
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let mut count = Count::default();
    let mut lines = BufReader::new(child.stdout.take().context("a piped stdout is there")?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).context("reading test output")? > 0 {
        screen.write_all(&line).context("writing test output")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Not onto the real screen: whoever counts this test would count what it plays with.
    fn of_a_shell(script: &str) -> (Count, String) {
        let mut screen = Vec::new();
        let count = count_onto(&mut screen, Command::new("sh").args(["-c", script])).unwrap();
        (count, String::from_utf8_lossy(&screen).into_owned())
    }

    #[test]
    fn results_are_counted_while_they_are_shown() {
        let closing = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured";
        let (count, screen) = of_a_shell(&format!("echo '{closing}'; exit 101"));
        assert_eq!(count, Count { passed: 3, failed: 2, skipped: 1 });
        assert!(screen.starts_with("$ sh -c ") && screen.ends_with(&format!("{closing}\n")));
    }

    #[test]
    fn what_ends_badly_without_a_result_is_one_failure() {
        assert_eq!(of_a_shell("exit 101").0, Count::FAILED);
        assert_eq!(of_a_shell("kill -9 $$").0, Count::FAILED);
        assert_eq!(of_a_shell("printf '\\377\\n'").0, Count::default());
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--test", "e2e demo"]);
        assert_eq!(shown(&command), "cargo test --test 'e2e demo'");
    }
}
