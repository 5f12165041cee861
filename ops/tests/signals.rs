//! Ending by signal, in a child process: this test starts itself again to be told to end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use diolkos_ops::{LogFormat, Shutdown, init_logs};

const CHILD: &str = "DIOLKOS_OPS_TEST_CHILD";

#[test]
fn a_signal_begins_the_end() {
    for signal in ["TERM", "INT"] {
        let (mut child, mut lines) = start("polite");
        send(&child, signal);
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{signal}: {rest}");
        assert!(rest.contains(&format!("\"signal\":\"SIG{signal}\"")), "{rest}");
    }
}

#[test]
fn a_second_signal_is_the_end() {
    let (mut child, mut lines) = start("stubborn");
    send(&child, "TERM");
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("\"message\":\"ending\""), "{line}");
    send(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// No test of its own: what the two above start.
#[test]
fn child() {
    let Ok(role) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        init_logs(LogFormat::Json, "info").unwrap();
        let shutdown = Shutdown::on_signals().unwrap();
        tracing::info!("started");
        shutdown.wait().await;
        if role == "stubborn" {
            std::future::pending::<()>().await;
        }
    });
}

fn start(role: &str) -> (Child, BufReader<ChildStderr>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, role)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("\"message\":\"started\""), "{line}");
    (child, lines)
}

fn send(child: &Child, signal: &str) {
    let status =
        Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}
