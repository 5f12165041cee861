//! The programs of all clusters: started, stopped, and never restarted unless someone asked.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, bail};
use diolkos_kind_plan::Process;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::board::Board;
use crate::limit::{LOG_TAIL_BYTES, LOG_TAIL_LINES, STOP_WITHIN};
use crate::process::ProcessId;

/// One program, by its cluster and its name in it.
type Key = (String, &'static str);

#[derive(Debug)]
pub(crate) struct Children {
    board: Arc<Board>,
    /// With the folder of `nft`, which kube-proxy looks for by its name.
    path: OsString,
    table: Mutex<BTreeMap<Key, Entry>>,
}

#[derive(Debug)]
struct Entry {
    process: Process,
    log: PathBuf,
    id: ProcessId,
    standing: watch::Sender<Life>,
}

/// How a program is.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Life {
    Running,
    /// Stopped in its tracks, as a fault wants it.
    Frozen,
    /// Told to end.
    Stopping,
    Stopped,
    /// On its own account, with this.
    Ended(String),
}

impl Life {
    fn is_over(&self) -> bool {
        matches!(self, Self::Stopped | Self::Ended(_))
    }
}

/// A line of `diolkos topology status`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ChildStatus {
    pub name: String,
    /// As the topology sees it, in a process namespace of its own.
    pub pid: u32,
    pub life: Life,
}

impl Children {
    pub(crate) fn new(board: Arc<Board>, nft: &Path) -> Arc<Self> {
        let mut path = nft.parent().map(OsString::from).unwrap_or_default();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        Arc::new(Self { board, path, table: Mutex::default() })
    }

    /// In the cluster's network namespace.
    pub(crate) fn start(
        self: &Arc<Self>,
        cluster: &str,
        process: &Process,
        log: &Path,
    ) -> anyhow::Result<()> {
        let shown = log.display();
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(log)
            .with_context(|| format!("cannot write {shown}"))?;
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{cluster}"))
            .arg("--")
            .args(&process.argv)
            .env("PATH", &self.path)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {} of {cluster}", process.name))?;
        let id = child.id().and_then(ProcessId::of).context("it ended at once")?;
        let standing = watch::Sender::new(Life::Running);
        let key = (cluster.to_owned(), process.name);
        let follow = self.clone().follow(key.clone(), child, standing.clone(), log.to_owned());
        tokio::spawn(follow);
        let entry = Entry { process: process.clone(), log: log.to_owned(), id, standing };
        self.table.lock().expect("nobody panics with it").insert(key, entry);
        Ok(())
    }

    /// Notes its end, and tells it if nobody wanted it.
    async fn follow(
        self: Arc<Self>,
        key: Key,
        mut child: Child,
        standing: watch::Sender<Life>,
        log: PathBuf,
    ) {
        let status = child.wait().await;
        let (cluster, name) = &key;
        let wanted = *standing.borrow() == Life::Stopping;
        if wanted {
            standing.send_replace(Life::Stopped);
            return;
        }
        let how = status.map_or_else(|error| error.to_string(), in_words);
        let says = format!("{name} ended by itself ({how}); its log ends with:\n{}", tail(&log));
        self.board.tell(Some(cluster), says);
        standing.send_replace(Life::Ended(how));
    }

    /// Ends it, by TERM and then by KILL.
    pub(crate) async fn stop(&self, cluster: &str, name: &str) -> anyhow::Result<()> {
        let (id, standing) = self.entry(cluster, name)?;
        standing.send_if_modified(|life| {
            let goes_on = !life.is_over();
            if goes_on {
                *life = Life::Stopping;
            }
            goes_on
        });
        let mut over = standing.subscribe();
        id.signal(Signal::CONT);
        id.signal(Signal::TERM);
        let is_over = over.wait_for(Life::is_over);
        if tokio::time::timeout(STOP_WITHIN, is_over).await.is_err() {
            id.signal(Signal::KILL);
        }
        over.wait_for(Life::is_over).await?;
        Ok(())
    }

    /// Ends it as a power cut does.
    pub(crate) async fn kill(&self, cluster: &str, name: &str) -> anyhow::Result<()> {
        let (id, standing) = self.entry(cluster, name)?;
        if standing.borrow().is_over() {
            return Ok(());
        }
        standing.send_replace(Life::Stopping);
        id.signal(Signal::KILL);
        standing.subscribe().wait_for(Life::is_over).await?;
        Ok(())
    }

    /// Freezes it, or lets it go on.
    pub(crate) fn freeze(&self, cluster: &str, name: &str, freeze: bool) -> anyhow::Result<()> {
        let (id, standing) = self.entry(cluster, name)?;
        let (signal, life) =
            if freeze { (Signal::STOP, Life::Frozen) } else { (Signal::CONT, Life::Running) };
        let goes_on = standing.send_if_modified(|now| {
            let goes_on = matches!(now, Life::Running | Life::Frozen);
            if goes_on {
                *now = life;
            }
            goes_on
        });
        if goes_on {
            id.signal(signal);
        }
        Ok(())
    }

    /// Starts again what has ended; what runs, goes on.
    pub(crate) fn start_again(self: &Arc<Self>, cluster: &str, name: &str) -> anyhow::Result<()> {
        let found = {
            let table = self.table.lock().expect("nobody panics with it");
            let entry = find(&table, cluster, name)?;
            entry.standing.borrow().is_over().then(|| (entry.process.clone(), entry.log.clone()))
        };
        match found {
            Some((process, log)) => self.start(cluster, &process, &log),
            None => self.freeze(cluster, name, false),
        }
    }

    /// The first program of `cluster` that is over though nobody wanted it.
    pub(crate) fn lost(&self, cluster: &str) -> Option<String> {
        let table = self.table.lock().expect("nobody panics with it");
        let mut of_cluster = table.iter().filter(|((of, _), _)| of == cluster);
        of_cluster.find_map(|((_, name), entry)| match &*entry.standing.borrow() {
            Life::Ended(how) => {
                Some(format!("{name} ended by itself ({how}):\n{}", tail(&entry.log)))
            }
            _ => None,
        })
    }

    pub(crate) fn status(&self, cluster: &str) -> Vec<ChildStatus> {
        let table = self.table.lock().expect("nobody panics with it");
        let of_cluster = table.iter().filter(|((of, _), _)| of == cluster);
        of_cluster
            .map(|((_, name), entry)| ChildStatus {
                name: (*name).to_owned(),
                pid: entry.id.pid,
                life: entry.standing.borrow().clone(),
            })
            .collect()
    }

    fn entry(&self, cluster: &str, name: &str) -> anyhow::Result<(ProcessId, watch::Sender<Life>)> {
        let table = self.table.lock().expect("nobody panics with it");
        find(&table, cluster, name).map(|entry| (entry.id, entry.standing.clone()))
    }
}

fn find<'t>(
    table: &'t BTreeMap<Key, Entry>,
    cluster: &str,
    name: &str,
) -> anyhow::Result<&'t Entry> {
    let found = table.iter().find(|((of, is), _)| of == cluster && *is == name);
    match found {
        Some((_, entry)) => Ok(entry),
        None => bail!("cluster {cluster} has no program {name}"),
    }
}

fn in_words(status: ExitStatus) -> String {
    status.to_string()
}

/// The last lines of a log.
pub(crate) fn tail(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        std::io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|error| format!("{}: {error}", path.display()));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
