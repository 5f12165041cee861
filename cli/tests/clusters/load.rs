//! A load that goes on in a pod while a test breaks things, and what came of it.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clusters::Ground;

/// A request may wait for so long; what a person would take for a failure is one.
const PATIENCE_MS: &str = "10000";

pub(crate) struct Load {
    child: Child,
    what: String,
    rate: u32,
    /// How many different ones; those that are the same count together.
    urls: usize,
    begun: Instant,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The last report: by URL.
    totals: Value,
    at: Option<Instant>,
    failures: Vec<Value>,
    unreadable: Vec<String>,
}

impl Load {
    /// So many GETs a second to each URL, each over a connection of its own.
    pub(crate) fn of_requests(
        ground: &Ground,
        name: &str,
        from: &str,
        rate: u32,
        urls: &[&str],
    ) -> Self {
        Self::start(ground, name, from, rate, urls, &[])
    }

    /// A connection for each URL, and so many lines a second over it.
    pub(crate) fn of_connections(
        ground: &Ground,
        name: &str,
        from: &str,
        rate: u32,
        urls: &[&str],
    ) -> Self {
        Self::start(ground, name, from, rate, urls, &["--keep"])
    }

    fn start(
        ground: &Ground,
        name: &str,
        from: &str,
        rate: u32,
        urls: &[&str],
        flags: &[&str],
    ) -> Self {
        let (cluster, pod) = from.split_once('/').unwrap();
        let mut command = ground.command();
        command.args(["exec", "--name", name, cluster, pod, "--", "diolkos", "call", "--plain"]);
        command.args(["--count", "0", "--report", "1", "--patience", PATIENCE_MS]);
        command.args(["--rate", &rate.to_string()]).args(flags).args(urls);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        follow(BufReader::new(out), heard.clone());
        follow(BufReader::new(err), heard.clone());
        let what = format!("{from} -> {}", urls.join(", "));
        Self {
            child,
            what,
            rate,
            urls: urls.iter().collect::<BTreeSet<_>>().len(),
            begun: Instant::now(),
            heard,
        }
    }

    /// How many were answered so far, to the URL that got the fewest.
    pub(crate) fn answered(&self) -> u64 {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = heard.totals.as_object();
        let answered =
            |count: &Value| count["requests"].as_u64().unwrap() - count["failed"].as_u64().unwrap();
        let fewest = totals.filter(|totals| totals.len() == self.urls);
        fewest.and_then(|totals| totals.values().map(answered).min()).unwrap_or_default()
    }

    /// So far; each as the client told it.
    pub(crate) fn failures(&self) -> Vec<Value> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).failures.clone()
    }

    /// Ends it; it must have gone on until now, as fast as it was told to.
    pub(crate) fn end(mut self) -> Vec<Value> {
        let ended = self.child.try_wait().unwrap();
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{}: {}", self.what, heard.totals);
        assert_eq!(ended, None, "{}: ended early: {heard:?}", self.what);
        assert_eq!(heard.unreadable, [""; 0], "{}", self.what);
        let lasted = heard.at.unwrap().duration_since(self.begun).saturating_sub(STARTS_WITHIN);
        drop(heard);
        let expected = u64::try_from(lasted.as_millis()).unwrap() * u64::from(self.rate) / 1000;
        let answered = self.answered();
        assert!(answered >= expected * 9 / 10, "{}: {answered} of {expected}", self.what);
        self.failures()
    }
}

/// From the start of the client to its first request.
const STARTS_WITHIN: Duration = Duration::from_secs(3);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Until the client ends.
fn follow(from: impl std::io::BufRead + Send + 'static, heard: Arc<Mutex<Heard>>) {
    std::thread::spawn(move || {
        for line in from.lines().map_while(Result::ok) {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            match serde_json::from_str::<Value>(&line) {
                Ok(mut line) if line["report"].is_object() => {
                    heard.totals = line["report"].take();
                    heard.at = Some(Instant::now());
                }
                Ok(line) => heard.failures.push(line),
                Err(_) => heard.unreadable.push(line),
            }
        }
    });
}
