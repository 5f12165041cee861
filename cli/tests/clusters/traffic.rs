//! Requests that go on while something happens, and must all be answered.

use std::process::{Child, Stdio};
use std::time::Duration;

use super::{Ground, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// Requests from a pod, at a steady rate, until they are all made.
pub struct Traffic(Child);

impl Traffic {
    pub fn start(ground: &Ground, from: &str, seconds: u32, urls: &[&str]) -> Self {
        let (cluster, pod) = from.split_once('/').unwrap();
        let total = (seconds * 50).to_string();
        let call = ["diolkos", "call", "--plain", "--count", &total, "--rate", "50"];
        let words = [&["exec", cluster, pod, "--"], &call[..], urls].concat();
        let file = std::fs::File::create(ground.path("traffic")).unwrap();
        let child = ground.command().args(words).stdout(file).stderr(Stdio::null()).spawn();
        let traffic = Self(child.unwrap());
        eventually(PATIENCE, "the first requests are answered", || made(ground) > 0);
        traffic
    }

    /// Every request was answered, and some still were when it was asked for.
    pub fn none_failed(mut self, ground: &Ground) {
        assert!(self.0.try_wait().unwrap().is_none(), "it ended before what it should see did");
        self.0.wait().unwrap();
        let lines = std::fs::read_to_string(ground.path("traffic")).unwrap();
        let failed: Vec<&str> =
            lines.lines().filter(|line| !line.contains(r#""status":200"#)).collect();
        assert_eq!(failed, [""; 0], "of {}", lines.lines().count());
    }
}

fn made(ground: &Ground) -> usize {
    std::fs::read_to_string(ground.path("traffic")).unwrap().lines().count()
}

/// Until so many more were answered.
pub fn more(ground: &Ground, requests: usize) {
    let before = made(ground);
    eventually(PATIENCE, "more requests are answered", || made(ground) >= before + requests);
}
