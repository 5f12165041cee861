//! How the supervisor is spoken to: one JSON line in, JSON lines out, over a socket in its folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use diolkos_kind_plan::LinkFault;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};

use super::board::{Line, Standing};
use super::children::ChildStatus;
use super::faults::Faults;
use super::world::World;
use super::{counters, etcd};
use crate::limit::REQUEST_BYTES_MAX;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Request {
    /// Lines of progress as they come, until the topology is up or has failed.
    Follow,
    Status,
    Set(Fault),
    /// Takes back one fault, or all.
    Heal(Option<Fault>),
    Flap {
        fault: Fault,
        period: Duration,
        times: u32,
    },
    SaveEtcd {
        cluster: String,
        to: PathBuf,
    },
}

/// Something wrong with a topology, until it is healed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Fault {
    Link(LinkFault),
    /// An API server that does not answer.
    StopApi {
        cluster: String,
        how: Stopped,
    },
    /// No replicas of the gateway.
    StopGateway(String),
    /// Kills every process of all pods with these labels, as a power cut does. Over at once.
    KillPods {
        cluster: String,
        labels: String,
    },
    /// Puts a cluster's store back to a snapshot, or to nothing at all. Over at once.
    RestoreEtcd {
        cluster: String,
        from: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stopped {
    /// Its connections stay open, and silent.
    Frozen,
    /// Its connections are reset, and new ones refused.
    Killed,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Reply {
    Line(Line),
    Standing(Standing),
    Status(Status),
    Done(String),
    Error(String),
}

/// What `diolkos topology status` shows.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub name: String,
    pub topology: String,
    pub slot: u8,
    pub standing: Standing,
    pub clusters: Vec<ClusterStatus>,
    /// In force.
    pub faults: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    pub name: String,
    pub network: String,
    pub role: String,
    pub server: String,
    /// What its API server says of itself, if anything.
    pub api: String,
    pub children: Vec<ChildStatus>,
    /// Packets from it that should not have come to the boundary of its network.
    pub forbidden_packets: u64,
}

pub(crate) async fn serve(listener: UnixListener, world: Arc<World>, faults: Arc<Faults>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: give the others time to end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (world, faults) = (world.clone(), faults.clone());
        tokio::spawn(async move {
            if let Err(error) = answer(stream, &world, &faults).await {
                tracing::debug!(%error, "a request was cut short");
            }
        });
    }
}

async fn answer(
    stream: UnixStream,
    world: &Arc<World>,
    faults: &Arc<Faults>,
) -> anyhow::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut line = String::new();
    let max = u64::try_from(REQUEST_BYTES_MAX)?;
    BufReader::new(from.take(max)).read_line(&mut line).await?;
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            let error = format!("this supervisor is of another version: {error}");
            return say(&mut to, &Reply::Error(error)).await;
        }
    };
    if request == Request::Follow {
        return follow(&mut to, world).await;
    }
    let reply = match perform(request, world, faults).await {
        Ok(reply) => reply,
        Err(error) => Reply::Error(format!("{error:#}")),
    };
    say(&mut to, &reply).await
}

async fn say(to: &mut OwnedWriteHalf, reply: &Reply) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    to.write_all(&line).await.context("nobody listens")
}

async fn follow(to: &mut OwnedWriteHalf, world: &World) -> anyhow::Result<()> {
    let mut changes = world.board.changes();
    let mut next = 0;
    loop {
        let (lines, following, standing) = world.board.since(next);
        next = following;
        for line in lines {
            say(to, &Reply::Line(line)).await?;
        }
        if standing != Standing::Coming {
            return say(to, &Reply::Standing(standing)).await;
        }
        changes.changed().await?;
    }
}

async fn perform(
    request: Request,
    world: &Arc<World>,
    faults: &Arc<Faults>,
) -> anyhow::Result<Reply> {
    if request != Request::Status && world.board.standing() != Standing::Up {
        bail!("the topology is not up (yet); see: diolkos topology status");
    }
    let done = match request {
        Request::Follow => String::new(),
        Request::Status => return Ok(Reply::Status(status(world, faults).await)),
        Request::Set(fault) => faults.set(fault).await?,
        Request::Heal(Some(fault)) => faults.unset(&fault).await?,
        Request::Heal(None) => faults.heal().await?,
        Request::Flap { fault, period, times } => faults.flap(fault, period, times).await?,
        Request::SaveEtcd { cluster, to } => etcd::save(world, &cluster, &to).await?,
    };
    world.board.tell(None, done.clone());
    Ok(Reply::Done(done))
}

async fn status(world: &World, faults: &Faults) -> Status {
    let forbidden = counters::forbidden(world).await.unwrap_or_default();
    let clusters = world.plan.clusters.iter().zip(&world.plan.topology.clusters);
    let clusters = clusters.map(|(plan, cluster)| async {
        let name = plan.name.as_str();
        let api = match world.cluster(name) {
            Ok(api) => match tokio::time::timeout(STATUS_WITHIN, api.is_ready()).await {
                Ok(Ok(())) => "ready".to_owned(),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "silent".to_owned(),
            },
            Err(_) => "not started".to_owned(),
        };
        ClusterStatus {
            name: name.to_owned(),
            network: cluster.network.to_string(),
            role: cluster.role.to_string(),
            server: format!("https://{}:{}", plan.ranges.api.v4, diolkos_kind_plan::API_PORT),
            api,
            children: world.children.status(name),
            forbidden_packets: forbidden.get(name).copied().unwrap_or(0),
        }
    });
    Status {
        name: world.state.name.clone(),
        topology: world.plan.topology.name.to_string(),
        slot: world.plan.slot.number(),
        standing: world.board.standing(),
        clusters: futures_util::future::join_all(clusters).await,
        faults: faults.in_words(),
    }
}

/// Of one API server: a frozen one must not hold up the others' news.
const STATUS_WITHIN: Duration = Duration::from_secs(2);

/// The other end: what the verbs of the command line use.
pub(crate) async fn ask(
    socket: &std::path::Path,
    request: &Request,
    mut told: impl FnMut(Reply) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!("nobody answers at {}; the topology's supervisor is gone", socket.display())
    })?;
    let (from, mut to) = stream.into_split();
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).context("the supervisor is of another version")? {
            Reply::Error(error) => bail!("{error}"),
            reply => told(reply)?,
        }
    }
    Ok(())
}

/// By cluster.
pub(crate) type Packets = BTreeMap<String, u64>;
