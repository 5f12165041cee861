//! What a person is shown of each cluster, and what decides whether it is in sight.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use diolkos_facts::ObjectKind;
use diolkos_topology::ClusterId;
use diolkos_watch::{Cursor, Probe, Said, Verdict};
use serde::Serialize;

use super::error::ApiError;
use super::feed::Relist;

/// One kind of one cluster, written by its feed.
#[derive(Debug, Default)]
pub(super) struct FeedSight(Mutex<FeedState>);

#[derive(Debug, Default)]
struct FeedState {
    phase: Phase,
    failing: Option<(Instant, ApiError)>,
    heard: Option<Instant>,
    relists: BTreeMap<Relist, u64>,
    cursor: Cursor,
    /// The probe's versions are of another count than this kind's.
    incomparable: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Listing,
    Watching,
    Missing(String),
}

impl FeedSight {
    fn lock(&self) -> MutexGuard<'_, FeedState> {
        // Assignments do not panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers whether the server's versions went back.
    pub(super) fn listed(&self, why: Relist, version: Option<&str>) -> bool {
        let mut state = self.lock();
        *state.relists.entry(why).or_default() += 1;
        state.heard = Some(Instant::now());
        state.failing = None;
        state.phase = Phase::Watching;
        let listing = state.cursor.listed(version.unwrap_or_default());
        if why == Relist::Rewound && listing.rewound.is_none() {
            // It was the probe that was wrong: kinds may be kept in different places.
            state.incomparable = true;
        }
        listing.rewound.is_some()
    }

    pub(super) fn watching(&self) {
        let mut state = self.lock();
        state.heard = Some(Instant::now());
        state.failing = None;
        state.phase = Phase::Watching;
    }

    pub(super) fn heard(&self) {
        self.lock().heard = Some(Instant::now());
    }

    /// What a watch said, and what follows from it.
    pub(super) fn hear(&self, said: Said<'_>) -> Verdict {
        self.lock().cursor.hear(said)
    }

    /// To be asked before a probe is sent.
    pub(super) fn probe(&self) -> Option<Probe> {
        let state = self.lock();
        (!state.incomparable).then(|| state.cursor.probe())
    }

    pub(super) fn failed(&self, error: &ApiError) {
        let mut state = self.lock();
        let since = state.failing.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        state.failing = Some((since, error.clone()));
    }

    pub(super) fn missing(&self, why: &str) {
        let mut state = self.lock();
        state.failing = None;
        state.phase = Phase::Missing(why.into());
    }

    pub(super) fn failing(&self) -> Option<(Instant, ApiError)> {
        self.lock().failing.clone()
    }

    fn shown(&self, kind: ObjectKind, now: Instant) -> FeedShown {
        let state = self.lock();
        FeedShown {
            kind: kind.name(),
            state: match (&state.failing, &state.phase) {
                (Some((_, error)), _) => format!("failing: {error}"),
                (None, Phase::Listing) => "listing".into(),
                (None, Phase::Watching) => "watching".into(),
                (None, Phase::Missing(why)) => format!("left out: {why}"),
            },
            last_word_seconds: state.heard.map(|at| now.duration_since(at).as_secs()),
            relists: state.relists.iter().map(|(why, count)| (why.name(), *count)).collect(),
        }
    }
}

/// Where a generation of a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its first lists are not complete; what holds them up, if anything does.
    Syncing(Option<String>),
    Synced,
    Stale(SystemTime),
    /// The server said no.
    Refused(String),
    /// What it says would take most of the cluster away.
    Held(String),
}

/// One credential of one cluster.
#[derive(Debug)]
pub(super) struct GenerationSight {
    pub(super) generation: u64,
    pub(super) server: String,
    pub(super) credential: &'static str,
    pub(super) begun: Instant,
    pub(super) feeds: BTreeMap<ObjectKind, Arc<FeedSight>>,
    changing: Mutex<Changing>,
}

#[derive(Debug)]
struct Changing {
    state: State,
    endpoints: usize,
    uid: Option<String>,
    drift: u64,
}

impl GenerationSight {
    pub(super) fn new(generation: u64, server: String, credential: &'static str) -> Self {
        let feeds = ObjectKind::ALL.map(|kind| (kind, Arc::new(FeedSight::default())));
        Self {
            generation,
            server,
            credential,
            begun: Instant::now(),
            feeds: feeds.into(),
            changing: Mutex::new(Changing {
                state: State::Syncing(None),
                endpoints: 0,
                uid: None,
                drift: 0,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if it is another than before.
    pub(super) fn set(&self, state: State) -> bool {
        let mut changing = self.lock();
        let other = changing.state != state;
        changing.state = state;
        other
    }

    pub(super) fn state(&self) -> State {
        self.lock().state.clone()
    }

    pub(super) fn note(&self, endpoints: usize, uid: Option<&str>) {
        let mut changing = self.lock();
        changing.endpoints = endpoints;
        changing.uid = uid.map(Into::into);
    }

    pub(super) fn endpoints(&self) -> usize {
        self.lock().endpoints
    }

    pub(super) fn uid(&self) -> Option<String> {
        self.lock().uid.clone()
    }

    pub(super) fn drifted(&self, facts: u64) {
        self.lock().drift += facts;
    }

    fn shown(&self, now: Instant, at: SystemTime) -> GenerationShown {
        let Changing { state, drift, .. } = &*self.lock();
        GenerationShown {
            generation: self.generation,
            server: self.server.clone(),
            credential: self.credential,
            state: state.shown(at),
            drift: *drift,
            kinds: self.feeds.iter().map(|(kind, feed)| feed.shown(*kind, now)).collect(),
        }
    }
}

impl State {
    fn shown(&self, now: SystemTime) -> String {
        match self {
            Self::Syncing(None) => "syncing".into(),
            Self::Syncing(Some(why)) => format!("syncing: {why}"),
            Self::Synced => "synced".into(),
            Self::Stale(since) => format!("stale since {} s", age(*since, now).as_secs()),
            Self::Refused(why) => format!("refused because it {why}"),
            Self::Held(why) => format!("held: {why}"),
        }
    }
}

fn age(since: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(since).unwrap_or_default()
}

/// All that is registered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<ClusterId, ClusterSight>>>);

#[derive(Debug, Default)]
pub(super) struct ClusterSight {
    /// `namespace/name`, or the file; empty for the own cluster.
    pub(super) registered_by: String,
    pub(super) live: Option<Arc<GenerationSight>>,
    /// Not swapped in yet.
    pub(super) next: Option<Arc<GenerationSight>>,
    /// What it said in an earlier life of this primary, and when that was true last.
    pub(super) restored: Option<SystemTime>,
    /// Why its registration, as it is now, is not followed.
    pub(super) refused: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterSource {
    registered_by: String,
    status: &'static str,
    /// For people: what it is waiting for, or why it is not.
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_because: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restored_age_seconds: Option<u64>,
    live: Option<GenerationShown>,
    next: Option<GenerationShown>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationShown {
    generation: u64,
    server: String,
    credential: &'static str,
    state: String,
    drift: u64,
    kinds: Vec<FeedShown>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FeedShown {
    kind: &'static str,
    state: String,
    last_word_seconds: Option<u64>,
    relists: BTreeMap<&'static str, u64>,
}

impl Board {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterId, ClusterSight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, cluster: &ClusterId, change: impl FnOnce(&mut ClusterSight)) {
        change(self.lock().entry(cluster.clone()).or_default());
    }

    /// Istio's word for it: `synced`, `syncing` or `timeout`, and who registered it.
    pub(crate) fn istio(&self, sync: Duration) -> BTreeMap<ClusterId, (String, &'static str)> {
        let clusters = self.lock();
        let of = |sight: &ClusterSight| (sight.registered_by.clone(), sight.status(sync));
        clusters.iter().map(|(cluster, sight)| (cluster.clone(), of(sight))).collect()
    }

    pub(crate) fn shown(&self, sync: Duration) -> BTreeMap<ClusterId, ClusterSource> {
        let (now, at) = (Instant::now(), SystemTime::now());
        let clusters = self.lock();
        let of = |sight: &ClusterSight| ClusterSource {
            registered_by: sight.registered_by.clone(),
            status: sight.status(sync),
            state: sight.state(at),
            refused_because: sight.refused.clone(),
            restored_age_seconds: sight.restored.map(|then| age(then, at).as_secs()),
            live: sight.live.as_ref().map(|live| live.shown(now, at)),
            next: sight.next.as_ref().map(|next| next.shown(now, at)),
        };
        clusters.iter().map(|(cluster, sight)| (cluster.clone(), of(sight))).collect()
    }

    /// For metrics: the state of each cluster, and the age of each kind's last word.
    pub(crate) fn measured(&self, sync: Duration) -> Vec<Measured> {
        let now = Instant::now();
        let clusters = self.lock();
        let of = |(cluster, sight): (&ClusterId, &ClusterSight)| {
            let current = sight.live.as_ref().or(sight.next.as_ref());
            let feeds = current.into_iter().flat_map(|one| one.feeds.iter());
            let kinds = feeds.map(|(kind, feed)| {
                let state = feed.lock();
                let relists = state.relists.iter().map(|(why, count)| (why.name(), *count));
                let age = state.heard.map(|at| now.duration_since(at));
                MeasuredKind { name: kind.name(), age, relists: relists.collect() }
            });
            Measured {
                cluster: cluster.clone(),
                own: sight.registered_by.is_empty(),
                status: sight.status(sync),
                drift: current.map_or(0, |one| one.lock().drift),
                kinds: kinds.collect(),
            }
        };
        clusters.iter().map(of).collect()
    }
}

#[derive(Debug)]
pub(crate) struct MeasuredKind {
    pub(crate) name: &'static str,
    /// Since its last word.
    pub(crate) age: Option<Duration>,
    /// By reason.
    pub(crate) relists: Vec<(&'static str, u64)>,
}

#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) cluster: ClusterId,
    pub(crate) own: bool,
    pub(crate) status: &'static str,
    pub(crate) drift: u64,
    pub(crate) kinds: Vec<MeasuredKind>,
}

impl ClusterSight {
    fn status(&self, sync: Duration) -> &'static str {
        match (&self.live, &self.next) {
            (Some(live), _) if matches!(live.state(), State::Stale(_)) => "timeout",
            (Some(_), _) => "synced",
            (None, Some(next)) if next.begun.elapsed() < sync => "syncing",
            (None, None) if self.refused.is_none() => "syncing",
            (None, _) => "timeout",
        }
    }

    fn state(&self, now: SystemTime) -> String {
        let current = self.live.as_ref().or(self.next.as_ref());
        match (current, &self.refused) {
            (Some(current), _) => current.state().shown(now),
            (None, Some(why)) => format!("refused because {why}"),
            (None, None) => "syncing".into(),
        }
    }
}
