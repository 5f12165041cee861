//! Requests at a steady rate while things change, and questions about what became of them.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

use super::children::own_binary;
use super::ground::Ground;
use super::plan::Side;
use crate::call::Line;

/// A `diolkos call` that goes on until dropped, and all it has printed.
#[derive(Debug)]
pub(crate) struct Traffic {
    _caller: Child,
    _leash: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<Line>>>,
    count: watch::Receiver<usize>,
}

/// The way a request took, as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    Direct,
    Gateway(std::net::IpAddr),
}

impl Traffic {
    pub(crate) fn start(ground: &Ground, args: &[String]) -> anyhow::Result<Self> {
        let log = std::fs::File::create(ground.log("call"))?;
        let mut caller = Command::new(own_binary()?)
            .args(["--leash", "call", "--output", "json", "--count", "0"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the caller")?;
        let leash = caller.stdin.take();
        let output = caller.stdout.take().context("the caller has no output")?;
        let lines: Arc<Mutex<Vec<Line>>> = Arc::default();
        let (counted, count) = watch::channel(0);
        let store = lines.clone();
        tokio::spawn(async move {
            let mut output = BufReader::new(output).lines();
            while let Ok(Some(text)) = output.next_line().await {
                let Ok(line) = serde_json::from_str::<Line>(&text) else { continue };
                let mut lines = lock(&store);
                lines.push(line);
                counted.send_replace(lines.len());
            }
        });
        Ok(Self { _caller: caller, _leash: leash, lines, count })
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        lock(&self.lines).clone()
    }

    /// Waits until the lines so far satisfy a question, and answers how long that took.
    pub(crate) async fn until(
        &self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&[Line]) -> bool,
    ) -> anyhow::Result<Duration> {
        let mut count = self.count.clone();
        let begun = Instant::now();
        loop {
            count.borrow_and_update();
            if holds(&lock(&self.lines)) {
                return Ok(begun.elapsed());
            }
            let left = within.checked_sub(begun.elapsed()).unwrap_or_default();
            match tokio::time::timeout(left, count.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => bail!("the caller ended while waiting until {what}"),
                Err(_) => bail!("waited {within:?} in vain until {what}"),
            }
        }
    }

    /// Waits for so many more answers to each URL.
    pub(crate) async fn more(&self, urls: &[&str], each: usize) -> anyhow::Result<()> {
        let seen = |lines: &[Line], url: &str| lines.iter().filter(|l| l.url == url).count();
        let before: Vec<usize> = {
            let lines = lock(&self.lines);
            urls.iter().map(|url| seen(&lines, url)).collect()
        };
        let enough = |lines: &[Line]| {
            urls.iter().zip(&before).all(|(url, before)| seen(lines, url) >= before + each)
        };
        let what = format!("{each} more requests to each service were made");
        self.until(&what, Duration::from_secs(30), enough).await.map(|_| ())
    }
}

/// How a request went; `None` if it failed, or came from where nothing of the plan is.
pub(crate) fn path(ground: &Ground, line: &Line) -> Option<Path> {
    let source = line.echo.as_ref()?.source.ip();
    let gateways = ground.plan.gateways(Side::East);
    match gateways.iter().find(|gateway| gateway.ip() == source) {
        Some(gateway) => Some(Path::Gateway(gateway.ip())),
        None => (ground.plan.side_of(source) == Some(Side::West)).then_some(Path::Direct),
    }
}

/// How many requests took which way.
pub(crate) fn split(ground: &Ground, lines: &[Line]) -> BTreeMap<Path, usize> {
    let mut split = BTreeMap::new();
    for line in lines {
        if let Some(path) = path(ground, line) {
            *split.entry(path).or_default() += 1;
        }
    }
    split
}

pub(crate) fn ns(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
