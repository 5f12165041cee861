//! The faults in force. Whatever is set here is taken back by `heal`, in any order and as often as
//! one likes; and as none of it is outside the supervisor's namespaces, its end heals everything.

use std::fmt;
use std::sync::{Arc, Mutex as SyncMutex};
use std::time::Duration;

use anyhow::{anyhow, bail};
use diolkos_kind_plan::{API_SERVER, LinkFault, ROUTER, fault_rules, limit::FAULTS_MAX};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::control::{Fault, Stopped};
use super::world::World;
use super::{etcd, gateway, pods};
use crate::command::run_in;
use crate::faultnet::FaultNet;
use crate::limit::API_READY_WITHIN;

#[derive(Debug)]
pub(crate) struct Faults {
    world: Arc<World>,
    /// Held while a fault is set or taken back: each sees what the one before left.
    net: Mutex<FaultNet>,
    book: SyncMutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    in_force: Vec<Fault>,
    flapping: Vec<Flapping>,
}

#[derive(Debug)]
struct Flapping {
    fault: Fault,
    says: String,
    task: JoinHandle<()>,
}

impl Drop for Flapping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faults {
    pub(crate) fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self { world, net: Mutex::default(), book: SyncMutex::default() })
    }

    pub(crate) fn in_words(&self) -> Vec<String> {
        let book = self.book.lock().expect("nobody panics with it");
        let flapping = book.flapping.iter().filter(|flapping| !flapping.task.is_finished());
        let flapping = flapping.map(|flapping| flapping.says.clone());
        book.in_force.iter().map(ToString::to_string).chain(flapping).collect()
    }

    /// What is set already is set once, with the newer figures.
    pub(crate) async fn set(&self, fault: Fault) -> anyhow::Result<String> {
        let mut net = self.net.lock().await;
        self.set_now(&mut net, fault).await
    }

    async fn set_now(&self, net: &mut FaultNet, fault: Fault) -> anyhow::Result<String> {
        let world = &self.world;
        match &fault {
            Fault::KillPods { cluster, labels } => return pods::kill(world, cluster, labels).await,
            Fault::RestoreEtcd { cluster, from } => {
                return etcd::restore(world, cluster, from.as_deref()).await;
            }
            Fault::Link(_) => {
                let mut after = self.kept(|old| !fault.replaces(old));
                if after.len() >= FAULTS_MAX {
                    bail!("{FAULTS_MAX} faults are in force; heal some first");
                }
                after.push(fault.clone());
                self.render(net, &after).await?;
            }
            Fault::StopApi { cluster, how: Stopped::Frozen } => {
                world.children.freeze(cluster, API_SERVER, true)?;
            }
            Fault::StopApi { cluster, how: Stopped::Killed } => {
                world.children.kill(cluster, API_SERVER).await?;
            }
            Fault::StopGateway(cluster) => gateway::stop(&*world.cluster(cluster)?).await?,
        }
        let says = fault.to_string();
        let mut book = self.book.lock().expect("nobody panics with it");
        book.in_force.retain(|old| !fault.replaces(old));
        book.in_force.push(fault);
        Ok(format!("{says}: in force"))
    }

    /// Nothing happens where it is not in force.
    pub(crate) async fn unset(&self, fault: &Fault) -> anyhow::Result<String> {
        let mut net = self.net.lock().await;
        self.unset_now(&mut net, fault).await
    }

    async fn unset_now(&self, net: &mut FaultNet, fault: &Fault) -> anyhow::Result<String> {
        let world = &self.world;
        let is_in_force = {
            let book = self.book.lock().expect("nobody panics with it");
            book.in_force.iter().any(|old| fault.replaces(old))
        };
        if !is_in_force {
            return Ok(format!("{fault}: was not in force"));
        }
        match fault {
            Fault::Link(_) => self.render(net, &self.kept(|old| !fault.replaces(old))).await?,
            Fault::StopApi { cluster, .. } => {
                world.children.start_again(cluster, API_SERVER)?;
                let api = world.cluster(cluster)?;
                let look = || api.is_ready();
                api.until(API_READY_WITHIN, "its API server is ready", look).await?;
            }
            Fault::StopGateway(cluster) => gateway::start(&*world.cluster(cluster)?).await?,
            Fault::KillPods { .. } | Fault::RestoreEtcd { .. } => {}
        }
        let mut book = self.book.lock().expect("nobody panics with it");
        book.in_force.retain(|old| !fault.replaces(old));
        Ok(format!("{fault}: healed"))
    }

    /// Everything, the last first: a stopped gateway needs its API server to come back.
    pub(crate) async fn heal(&self) -> anyhow::Result<String> {
        let mut net = self.net.lock().await;
        let faults = {
            let mut book = self.book.lock().expect("nobody panics with it");
            book.flapping.clear();
            book.in_force.clone()
        };
        let is_gateway = |fault: &&Fault| matches!(fault, Fault::StopGateway(_));
        let (gateways, others): (Vec<&Fault>, Vec<&Fault>) = faults.iter().partition(is_gateway);
        let mut failed = Vec::new();
        for fault in others.into_iter().chain(gateways) {
            // One that cannot be healed must not keep the others.
            if let Err(error) = self.unset_now(&mut net, fault).await {
                failed.push(format!("{fault}: {error:#}"));
            }
        }
        match failed.as_slice() {
            [] => Ok(format!("healed {} faults", faults.len())),
            failed => Err(anyhow!("not healed: {}", failed.join("; "))),
        }
    }

    /// In force for a period, and then not for one, so many times; this returns at once.
    pub(crate) async fn flap(
        self: &Arc<Self>,
        fault: Fault,
        period: Duration,
        times: u32,
    ) -> anyhow::Result<String> {
        // The first time here, so that what cannot be is told.
        self.set(fault.clone()).await?;
        let says = format!("{fault}: flapping, {period:?} each way, {times} times");
        let (faults, flaps) = (self.clone(), fault.clone());
        let task = tokio::spawn(async move {
            for time in 0..times {
                if time > 0
                    && let Err(error) = faults.set(flaps.clone()).await
                {
                    faults.world.board.tell(None, format!("{flaps}: {error:#}"));
                }
                tokio::time::sleep(period).await;
                if let Err(error) = faults.unset(&flaps).await {
                    faults.world.board.tell(None, format!("{flaps}: {error:#}"));
                }
                tokio::time::sleep(period).await;
            }
        });
        let mut book = self.book.lock().expect("nobody panics with it");
        book.flapping.retain(|old| !old.task.is_finished() && !fault.replaces(&old.fault));
        book.flapping.push(Flapping { fault, says: says.clone(), task });
        Ok(says)
    }

    fn kept(&self, keep: impl Fn(&Fault) -> bool) -> Vec<Fault> {
        let book = self.book.lock().expect("nobody panics with it");
        book.in_force.iter().filter(|fault| keep(fault)).cloned().collect()
    }

    /// Tells the router all of them at once.
    async fn render(&self, net: &mut FaultNet, faults: &[Fault]) -> anyhow::Result<()> {
        let links: Vec<LinkFault> = faults
            .iter()
            .filter_map(|fault| match fault {
                Fault::Link(link) => Some(link.clone()),
                _ => None,
            })
            .collect();
        let plan = &self.world.plan;
        let rules =
            fault_rules(&plan.topology, plan.slot, &links).map_err(|error| anyhow!(error))?;
        // Before anything is turned to them.
        net.listen(&rules.proxies).await?;
        run_in(ROUTER, &[&plan.places.nft, "-f", "-"], &rules.nft).await?;
        for (link, lines) in &rules.queues {
            // There may be none; what is there is replaced as a whole.
            let _ = run_in(ROUTER, &["tc", "qdisc", "del", "dev", link, "root"], "").await;
            if !lines.is_empty() {
                run_in(ROUTER, &["tc", "-batch", "-"], &(lines.join("\n") + "\n")).await?;
            }
        }
        Ok(())
    }
}

impl Fault {
    /// Whether this takes the place of `other`.
    fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Link(link), Self::Link(other)) => link.replaces(other),
            (Self::StopApi { cluster, .. }, Self::StopApi { cluster: other, .. }) => {
                cluster == other
            }
            (own, other) => own == other,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(link) => link.fmt(f),
            Self::StopApi { cluster, how: Stopped::Frozen } => {
                write!(f, "API server of {cluster} frozen")
            }
            Self::StopApi { cluster, how: Stopped::Killed } => {
                write!(f, "API server of {cluster} killed")
            }
            Self::StopGateway(cluster) => write!(f, "gateway of {cluster} without replicas"),
            Self::KillPods { cluster, labels } => write!(f, "pods {labels} of {cluster} killed"),
            Self::RestoreEtcd { cluster, from: Some(from) } => {
                write!(f, "store of {cluster} restored from {}", from.display())
            }
            Self::RestoreEtcd { cluster, from: None } => write!(f, "store of {cluster} lost"),
        }
    }
}
