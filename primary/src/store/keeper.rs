//! Between those who know and the disk: the last word on each fact, written once a second.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use diolkos_facts::{ClusterIndex, HostName};
use diolkos_topology::{ClusterId, ClusterSettings, Fact, FactKey};
use serde::Serialize;

use super::{Backend, Batch, Stored};

/// A handle; without a store everything it is told is forgotten at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeper(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    desk: Mutex<Desk>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Desk {
    pending: Batch,
    /// When each cluster's freshness was noted last.
    fresh: BTreeMap<ClusterId, Instant>,
    trouble: Option<String>,
    written: Option<SystemTime>,
    unreadable: usize,
    writing: bool,
    ended: bool,
    /// The writer has closed the file.
    closed: bool,
}

/// For people.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoreShown {
    state: String,
    pub(crate) written_seconds: Option<u64>,
    pub(crate) available: bool,
    unreadable: usize,
}

/// Not sooner than this after the last write: a write ends with the disk's own word.
const INTERVAL: Duration = Duration::from_secs(1);
/// For the last write.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// After a write that failed.
const RETRY: Duration = Duration::from_secs(5);
/// How exactly it is known when a cluster was in sight last.
const FRESH: Duration = Duration::from_secs(30);

impl Keeper {
    /// Reads what is there and writes from then on, on a thread that ends with the last handle.
    pub(crate) fn open(backend: impl Backend + 'static) -> (Self, Stored) {
        Self::open_at(INTERVAL, backend)
    }

    fn open_at(interval: Duration, mut backend: impl Backend + 'static) -> (Self, Stored) {
        let mut desk = Desk::default();
        let stored = backend.load().unwrap_or_else(|why| {
            tracing::error!("store: {why}; what clusters said earlier is not known");
            desk.trouble = Some(why);
            Stored::default()
        });
        desk.unreadable = stored.unreadable;
        let shared = Arc::new(Shared { desk: Mutex::new(desk), bell: Condvar::new() });
        let writer = shared.clone();
        let spawned = std::thread::Builder::new().name("store".into()).spawn(move || {
            run(&writer, interval, &mut backend);
            drop(backend);
            writer.lock().closed = true;
            writer.bell.notify_all();
        });
        if let Err(error) = spawned {
            let mut desk = shared.lock();
            desk.trouble = Some(error.to_string());
            desk.closed = true;
        }
        (Self(Some(shared)), stored)
    }

    pub(crate) fn note(&self, cluster: &ClusterId, facts: &BTreeMap<FactKey, Option<Fact>>) {
        self.change(|desk| {
            let batch = desk.pending.clusters.entry(cluster.clone()).or_default();
            batch.facts.extend(facts.iter().map(|(key, fact)| (key.clone(), fact.clone())));
            batch.fresh = true;
        });
    }

    /// A generation took over: this is all there is now.
    pub(crate) fn replace(&self, cluster: &ClusterId, index: &ClusterIndex) {
        self.change(|desk| {
            let facts = index.facts(None).into_iter().map(|(key, fact)| (key, Some(fact)));
            let batch = desk.pending.clusters.entry(cluster.clone()).or_default();
            batch.forget = true;
            batch.fresh = true;
            batch.settings = Some(index.settings().clone());
            batch.facts = facts.collect();
        });
    }

    pub(crate) fn settings(&self, settings: &ClusterSettings) {
        self.change(|desk| {
            let batch = desk.pending.clusters.entry(settings.cluster.clone()).or_default();
            batch.settings = Some(settings.clone());
        });
    }

    pub(crate) fn forget(&self, cluster: &ClusterId) {
        self.change(|desk| {
            let batch = desk.pending.clusters.entry(cluster.clone()).or_default();
            *batch = super::ClusterBatch { forget: true, ..Default::default() };
        });
    }

    /// It is in sight. Often said, seldom written.
    pub(crate) fn fresh(&self, cluster: &ClusterId) {
        let Some(shared) = &self.0 else { return };
        let mut desk = shared.lock();
        let now = Instant::now();
        if desk.fresh.get(cluster).is_none_or(|at| now.duration_since(*at) >= FRESH) {
            desk.fresh.insert(cluster.clone(), now);
            desk.pending.clusters.entry(cluster.clone()).or_default().fresh = true;
            shared.bell.notify_one();
        }
    }

    pub(crate) fn name(&self, name: &HostName, addresses: &[IpAddr]) {
        self.change(|desk| drop(desk.pending.names.insert(name.clone(), addresses.to_vec())));
    }

    fn change(&self, change: impl FnOnce(&mut Desk)) {
        if let Some(shared) = &self.0 {
            change(&mut shared.lock());
            shared.bell.notify_one();
        }
    }

    /// `None` without a store.
    pub(crate) fn shown(&self, now: SystemTime) -> Option<StoreShown> {
        let desk = self.0.as_ref()?.lock();
        let age = desk.written.map(|at| now.duration_since(at).unwrap_or_default().as_secs());
        Some(StoreShown {
            state: desk
                .trouble
                .clone()
                .map_or_else(|| "ok".into(), |why| format!("failing: {why}")),
            written_seconds: age,
            available: desk.trouble.is_none(),
            unreadable: desk.unreadable,
        })
    }

    pub(crate) fn unwritten(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| {
            let desk = shared.lock();
            desk.writing || !desk.pending.is_empty()
        })
    }

    /// Writes what is pending and closes the file; waits for the disk, but not for ever.
    pub(crate) fn end(&self) {
        let Some(shared) = &self.0 else { return };
        let until = Instant::now() + CLOSE_MAX;
        let mut desk = shared.lock();
        desk.ended = true;
        shared.bell.notify_all();
        while !desk.closed && Instant::now() < until {
            let waited = shared.bell.wait_timeout(desk, Duration::from_millis(50));
            desk = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Desk> {
        // What is noted is complete after each assignment.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(shared: &Arc<Shared>, interval: Duration, backend: &mut impl Backend) {
    loop {
        let (batch, ended) = {
            let mut desk = shared.lock();
            while desk.pending.is_empty() && !desk.ended && Arc::strong_count(shared) > 1 {
                let waited = shared.bell.wait_timeout(desk, Duration::from_secs(1));
                desk = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            desk.writing = true;
            (std::mem::take(&mut desk.pending), desk.ended || Arc::strong_count(shared) == 1)
        };
        let now = SystemTime::now();
        let written = if batch.is_empty() { Ok(()) } else { backend.write(&batch, now) };
        let failed = written.is_err();
        {
            let mut desk = shared.lock();
            desk.writing = false;
            if let Err(why) = written {
                if desk.trouble.as_ref() != Some(&why) {
                    tracing::error!("store: {why}; what clusters say is not kept");
                }
                desk.trouble = Some(why);
                // Nothing of it may be missing once the disk takes it.
                let newer = std::mem::replace(&mut desk.pending, batch);
                desk.pending.followed_by(newer);
            } else if !batch.is_empty() {
                desk.trouble = None;
                desk.written = Some(now);
            }
        }
        if ended {
            return;
        }
        pause(shared, if failed { RETRY } else { interval });
    }
}

/// Sleeps, but not past the end.
fn pause(shared: &Arc<Shared>, time: Duration) {
    let until = Instant::now() + time;
    let mut desk = shared.lock();
    while !desk.ended && Arc::strong_count(shared) > 1 {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let waited = shared.bell.wait_timeout(desk, left.min(Duration::from_millis(200)));
        desk = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

#[cfg(test)]
mod tests;
