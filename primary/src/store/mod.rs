//! What each cluster said last, kept where it outlives the process.
//!
//! ```text
//!  sources ── note, replace ─> Keeper (the last word on each fact) ── once a second ─> Backend
//! ```
//!
//! Nothing waits for it and nothing fails because of it: a store that cannot be read or written is
//! a condition that is shown, and the primary works without.

mod encode;
mod file;
mod keeper;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use diolkos_facts::HostName;
use diolkos_topology::{ClusterId, ClusterSettings, Fact, FactKey};

pub(crate) use file::FileStore;
pub(crate) use keeper::{Keeper, StoreShown};

/// Where it is kept. Calls may block; they come from a thread of their own.
pub(crate) trait Backend: Send {
    /// # Errors
    /// Says what cannot be read; what can be is answered all the same.
    fn load(&mut self) -> Result<Stored, String>;
    /// All of it or nothing, and on the disk when it returns.
    ///
    /// # Errors
    /// Says why nothing was written.
    fn write(&mut self, batch: &Batch, now: SystemTime) -> Result<(), String>;
}

/// All that was kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) clusters: BTreeMap<ClusterId, StoredCluster>,
    pub(crate) names: BTreeMap<HostName, Vec<IpAddr>>,
    /// Entries that could not be read.
    pub(crate) unreadable: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct StoredCluster {
    pub(crate) settings: ClusterSettings,
    /// When it was in sight last.
    pub(crate) fresh: SystemTime,
    pub(crate) facts: Vec<Fact>,
}

/// What changed since the last write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) clusters: BTreeMap<ClusterId, ClusterBatch>,
    pub(crate) names: BTreeMap<HostName, Vec<IpAddr>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterBatch {
    /// What was kept of it before is forgotten first.
    pub(crate) forget: bool,
    pub(crate) settings: Option<ClusterSettings>,
    pub(crate) fresh: bool,
    /// `None` is a removal.
    pub(crate) facts: BTreeMap<FactKey, Option<Fact>>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.names.is_empty()
    }

    /// As if `newer` had been noted after this.
    fn followed_by(&mut self, newer: Self) {
        self.names.extend(newer.names);
        for (cluster, batch) in newer.clusters {
            let known = self.clusters.entry(cluster).or_default();
            if batch.forget {
                *known = batch;
                continue;
            }
            known.settings = batch.settings.or(known.settings.take());
            known.fresh |= batch.fresh;
            known.facts.extend(batch.facts);
        }
    }
}
