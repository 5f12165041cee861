//! Brings a topology up and waits until it is.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::down::down;
use crate::init::WORD;
use crate::library::Source;
use crate::limit::{ANSWERS_WITHIN, LOOK_EVERY};
use crate::process::{ProcessId, children_of};
use crate::state::{Settings, State, Supervisor};
use crate::supervise::Standing;
use crate::supervise::control::{Reply, Request, ask};
use crate::tools::Tools;

/// How a topology is to come up.
#[derive(Clone, Debug)]
pub struct Up {
    pub source: Source,
    pub tools: Tools,
    /// This project's binary, for workloads and as the supervisor.
    pub diolkos: PathBuf,
    /// Of `diolkos`: what makes it call [`crate::init`].
    pub init: Vec<OsString>,
    /// Leave what came up where not all did.
    pub retain: bool,
}

/// A line of progress: seconds since the start, the cluster if it is one's, and what is told.
pub type Told<'a> = &'a mut (dyn FnMut(f64, Option<&str>, &str) + Send);

/// Returns once every cluster is ready and everything is installed.
///
/// # Errors
/// What did not come up; then all of it is taken down again.
pub async fn up(state: &State, up: &Up, told: Told<'_>) -> anyhow::Result<()> {
    let settings = Settings {
        tools: up.tools.built.clone(),
        crds: up.tools.crds.clone(),
        nft: up.tools.nft.clone(),
        envoy: up.tools.envoy.clone(),
        diolkos: up.diolkos.clone(),
    };
    state.create(&up.source, &settings)?;
    let came = match start(state, up) {
        Ok(child) => come_up(state, child, told).await,
        Err(error) => Err(error),
    };
    let Err(error) = came else { return Ok(()) };
    if up.retain {
        let folder = state.folder.display();
        return Err(error.context(format!("it is left as it is, its logs are in {folder}")));
    }
    down(state).context("taking down what did not come up")?;
    Err(error)
}

/// Its two processes are written down before they do anything.
fn start(state: &State, up: &Up) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(state.path("supervisor.log"))?;
    let mut child = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc"])
        .args(["--propagation", "private", "--"])
        .arg(&up.diolkos)
        .args(&up.init)
        .arg("--state")
        .arg(&state.folder)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // An interrupt of `up` is not one of the topology.
        .process_group(0)
        .spawn()
        .context("cannot start unshare")?;
    let starter = ProcessId::of(child.id()).context("unshare ended at once")?;
    let first = first_child(&mut child)?;
    state.write("supervisor.json", &serde_json::to_vec(&Supervisor { starter, first })?)?;
    let mut word = child.stdin.take().context("a piped stdin is there")?;
    word.write_all(WORD)?;
    Ok(child)
}

fn first_child(child: &mut Child) -> anyhow::Result<ProcessId> {
    let deadline = Instant::now() + ANSWERS_WITHIN;
    while Instant::now() < deadline {
        if let Some(first) = children_of(child.id())?.first() {
            return Ok(*first);
        }
        if let Some(status) = child.try_wait()? {
            bail!("unshare ended with {status}: this machine lets nobody make namespaces");
        }
        std::thread::sleep(LOOK_EVERY / 10);
    }
    child.kill()?;
    bail!("unshare started nothing within {ANSWERS_WITHIN:?}")
}

async fn come_up(state: &State, mut child: Child, told: Told<'_>) -> anyhow::Result<()> {
    let socket = state.control();
    let deadline = Instant::now() + ANSWERS_WITHIN;
    while !socket.exists() {
        if let Some(status) = child.try_wait()? {
            bail!("the supervisor ended with {status}: {}", supervisor_log(state));
        }
        if Instant::now() > deadline {
            bail!("no supervisor within {ANSWERS_WITHIN:?}: {}", supervisor_log(state));
        }
        tokio::time::sleep(LOOK_EVERY / 4).await;
    }
    let mut standing = Standing::Coming;
    ask(&socket, &Request::Follow, |reply| {
        match reply {
            Reply::Line(line) => told(line.at, line.cluster.as_deref(), &line.says),
            Reply::Standing(now) => standing = now,
            Reply::Status(_) | Reply::Done(_) | Reply::Error(_) => {}
        }
        Ok(())
    })
    .await?;
    match standing {
        Standing::Up => Ok(()),
        Standing::Failed(why) => bail!("{why}"),
        Standing::Coming => bail!("the supervisor ended: {}", supervisor_log(state)),
    }
}

fn supervisor_log(state: &State) -> String {
    crate::supervise::tail(&state.path("supervisor.log"))
}
