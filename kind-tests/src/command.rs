//! Short programs that set something up, and what they said when they failed.

use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::limit::COMMAND_WITHIN;

/// What it printed.
pub(crate) async fn run(argv: &[&str], input: &str) -> anyhow::Result<String> {
    let [program, arguments @ ..] = argv else { bail!("no program to run") };
    let shown = argv.join(" ");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    let mut stdin = child.stdin.take().context("a piped stdin is there")?;
    let feed = async move {
        // One that does not read its input says so by how it ends.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let Ok(output) = tokio::time::timeout(COMMAND_WITHIN, both).await else {
        bail!("{shown} did not end within {COMMAND_WITHIN:?}");
    };
    let output = output?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown} ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Inside a network namespace of the topology.
pub(crate) async fn run_in(space: &str, argv: &[&str], input: &str) -> anyhow::Result<String> {
    let net = format!("--net=/run/netns/{space}");
    let mut all = vec!["nsenter", net.as_str(), "--"];
    all.extend_from_slice(argv);
    run(&all, input).await
}

/// Many lines of `ip` at once: one program instead of dozens.
pub(crate) async fn ip(space: Option<&str>, lines: &[String]) -> anyhow::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let script = lines.join("\n") + "\n";
    let argv = ["ip", "-batch", "-"];
    match space {
        Some(space) => run_in(space, &argv, &script).await,
        None => run(&argv, &script).await,
    }
    .with_context(|| format!("of:\n{script}"))?;
    Ok(())
}
