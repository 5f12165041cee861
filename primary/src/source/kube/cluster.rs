//! One generation of one cluster: its feeds, its index, and what it says.
//!
//! ```text
//!  Filling ── every kind was listed, or is not to be had ──> Full ── go ──> Live
//! ```
//!
//! Until it is told to go, it says nothing: the generation before it still speaks. Dropping its
//! tasks ends it, feeds and connections included.

mod liveness;
mod probe;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use diolkos_facts::{
    Changes, ClusterIndex, Findings, MeshNetworks, ObjectId, ObjectKind, Said, UnknownPods,
};
use diolkos_topology::{ClusterSettings, FactKind, Generation, Source};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::liveness::Liveness;
use self::probe::Probed;
use super::client::ApiClient;
use super::feed::{Bell, Feed, Listed, Relist, Word};
use super::guard::{Signs, Verdict, Watchman};
use super::kinds::{self, Told};
use super::limit::{self, Pace};
use super::names::{Answer, Names};
use super::plan::Name;
use super::review::Clients;
use super::scope::{Scope, Sieve};
use super::sight::{GenerationSight, State};
use super::speech::{Speech, fact_kind};
use crate::source::SourceEvent;
use crate::store::Keeper;

/// What a generation needs of the rest.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) out: mpsc::Sender<SourceEvent>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) names: Names,
    pub(super) keeper: Keeper,
    pub(super) epoch: u64,
    /// Whatever vanishes is meant to.
    pub(super) accept_removal: bool,
    pub(super) scope: Scope,
    /// Told which namespaces of each cluster are of the mesh.
    pub(super) clients: Clients,
}

/// What a generation says to whoever registered it.
#[derive(Clone, Debug)]
pub(super) enum Report {
    /// It could speak for its cluster now.
    Full { source: Source },
}

#[derive(Debug)]
pub(super) enum Control {
    Configure(Box<(ClusterSettings, MeshNetworks)>),
    Go,
}

/// A running generation; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) sight: Arc<GenerationSight>,
    control: mpsc::Sender<Control>,
    tasks: JoinSet<()>,
}

impl Running {
    pub(super) fn start(
        client: &ApiClient,
        settings: &ClusterSettings,
        networks: &MeshNetworks,
        sight: Arc<GenerationSight>,
        around: Surroundings,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let (words, heard) = mpsc::channel(limit::WORDS_MAX);
        let mut bells = BTreeMap::new();
        for kind in ObjectKind::ALL {
            let bell = Arc::new(Bell::default());
            bells.insert(kind, bell.clone());
            let feed = Feed {
                client: client.clone(),
                plan: kinds::plan(kind),
                tag: kind,
                words: words.clone(),
                sight: sight.feeds[&kind].clone(),
                bell,
            };
            tasks.spawn(feed.run());
        }
        let (probes, probed) = mpsc::channel(1);
        tasks.spawn(probe::run(client.clone(), sight.clone(), probes));
        let (control, orders) = mpsc::channel(limit::WORDS_MAX);
        let (answers, answered) = mpsc::channel(2 * limit::HOSTS_PER_CLUSTER_MAX);
        let source =
            Source { cluster: settings.cluster.clone(), generation: Generation(sight.generation) };
        let task = ClusterTask {
            pace: client.pace(),
            speech: Speech::new(source.clone(), around.epoch),
            source,
            sieve: Sieve::new(around.scope.clone()),
            index: ClusterIndex::new(settings, networks, UnknownPods::Wait),
            stage: Stage::Filling(BTreeSet::new()),
            guards: BTreeMap::new(),
            uid: None,
            liveness: Liveness::default(),
            tell_at: None,
            over: false,
            sight: sight.clone(),
            bells,
            answers,
            around,
        };
        task.tell_own();
        tasks.spawn(task.run(heard, probed, orders, answered));
        Self { sight, control, tasks }
    }

    pub(super) async fn tell(&self, control: Control) {
        // A generation that ended badly is seen by its silence.
        let _ = self.control.send(control).await;
    }

    /// Returns once nothing of it can speak any more.
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

enum Stage {
    /// Which kinds are complete.
    Filling(BTreeSet<ObjectKind>),
    Full,
    Live,
}

struct ClusterTask {
    pace: Pace,
    source: Source,
    sieve: Sieve,
    index: ClusterIndex,
    speech: Speech,
    stage: Stage,
    guards: BTreeMap<ObjectKind, Watchman>,
    /// Of the namespace kube-system: it stands for the cluster.
    uid: Option<String>,
    liveness: Liveness,
    tell_at: Option<Instant>,
    /// It says more than is kept, and that was told.
    over: bool,
    sight: Arc<GenerationSight>,
    bells: BTreeMap<ObjectKind, Arc<Bell>>,
    answers: mpsc::Sender<Answer>,
    around: Surroundings,
}

impl ClusterTask {
    async fn run(
        mut self,
        mut heard: mpsc::Receiver<(ObjectKind, Word<Told>)>,
        mut probed: mpsc::Receiver<Probed>,
        mut orders: mpsc::Receiver<Control>,
        mut answered: mpsc::Receiver<Answer>,
    ) {
        let out = self.around.out.clone();
        let mut look = tokio::time::interval(self.pace.stale / 20);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let may_speak = matches!(self.stage, Stage::Live) && !self.speech.is_silent();
            tokio::select! {
                biased;
                Some(order) = orders.recv() => self.obey(order).await,
                permit = out.reserve(), if may_speak => {
                    let Ok(permit) = permit else { return };
                    let (keeper, source) = (&self.around.keeper, &self.source);
                    let note = |facts: &_| keeper.note(&source.cluster, facts);
                    if let Some(event) = self.speech.next(&self.index, note) {
                        permit.send(event);
                    }
                }
                Some((kind, word)) = heard.recv() => self.hear(kind, word).await,
                Some(probed) = probed.recv() => self.probed(probed),
                Some((host, answer)) = answered.recv() => {
                    let mut changes = Changes::default();
                    self.index.resolve(&host, answer, &mut changes);
                    self.changed(changes).await;
                }
                _ = look.tick() => self.look().await,
            }
        }
    }

    async fn obey(&mut self, order: Control) {
        match order {
            Control::Configure(told) => {
                let mut changes = Changes::default();
                self.index.configure(&told.0, &told.1, &mut changes);
                self.changed(changes).await;
            }
            Control::Go => {
                if !matches!(self.stage, Stage::Live) {
                    self.stage = Stage::Live;
                    self.speech.begin(&self.index);
                    self.around.keeper.replace(&self.source.cluster, &self.index);
                    self.liveness.fresh();
                    self.sight.set(State::Synced);
                    tracing::info!(
                        cluster = %self.source.cluster,
                        generation = self.source.generation.0,
                        "synced"
                    );
                }
            }
        }
    }

    async fn hear(&mut self, kind: ObjectKind, word: Word<Told>) {
        if self.sieve.note(kind, &word) {
            self.tell_own();
            self.bells.values().for_each(|bell| bell.relist.notify_one());
        }
        let Some(word) = self.sieve.sift(kind, word) else { return };
        let mut changes = Changes::default();
        match word {
            Word::Put(name, None) | Word::Removed(name) => {
                self.index.remove(&id(kind, name), &mut changes);
            }
            // The next audit looks whether there is room again.
            Word::Put(name, Some(_)) if self.is_over(kind) => self.too_much(kind, &name),
            Word::Put(name, Some(told)) => {
                self.index.put(&id(kind, name), told.said, told.findings, &mut changes);
            }
            Word::Listed(how, items) => self.listed(kind, how, items, &mut changes),
            // What was installed once and is not any more has no objects.
            Word::Missing if self.is_optional(kind) => {
                let how = Listed { why: Relist::Found, rewound: false };
                self.listed(kind, how, Vec::new(), &mut changes);
            }
            Word::Missing => {}
        }
        self.changed(changes).await;
        self.check_full().await;
    }

    /// For whom certificates may be asked.
    fn tell_own(&self) {
        self.around.clients.narrow(&self.source.cluster, self.sieve.own());
    }

    fn is_over(&self, kind: ObjectKind) -> bool {
        self.index.count(kind) >= limit::OBJECTS_PER_KIND_MAX
            || kind == ObjectKind::Slice && self.index.endpoints() >= limit::ENDPOINTS_MAX
    }

    fn too_much(&mut self, kind: ObjectKind, name: &Name) {
        if !std::mem::replace(&mut self.over, true) {
            tracing::warn!(
                cluster = %self.source.cluster,
                first = %id(kind, name.clone()),
                "says more than is kept; the rest is left out"
            );
        }
    }

    /// What is beyond the limit is left out, the last by name.
    fn cut(&mut self, items: &mut Vec<(Name, Told)>) {
        items.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut endpoints = 0;
        let room = items.iter().position(|(_, told)| {
            endpoints += weight(told);
            endpoints > limit::ENDPOINTS_MAX
        });
        if let Some(at) = room {
            let name = items[at].0.clone();
            self.too_much(ObjectKind::Slice, &name);
            items.truncate(at);
        }
    }

    /// Only what is not installed is gone; what is not allowed any more is merely out of sight.
    fn is_optional(&self, kind: ObjectKind) -> bool {
        match self.stage {
            Stage::Filling(_) => true,
            _ => kinds::plan(kind).need == super::plan::Need::IfInstalled,
        }
    }

    fn listed(
        &mut self,
        kind: ObjectKind,
        how: Listed,
        mut items: Vec<(Name, Told)>,
        changes: &mut Changes,
    ) {
        if kind == ObjectKind::Slice {
            self.cut(&mut items);
        }
        let all = items.into_iter().map(|(name, told)| (id(kind, name), told.said, told.findings));
        let all: Vec<_> = all.collect();
        if let Stage::Filling(complete) = &mut self.stage {
            complete.insert(kind);
        } else if let Verdict::Hold(why) = self.judge(kind, how.rewound, &all) {
            if self.sight.set(State::Held(why.clone())) {
                tracing::warn!(cluster = %self.source.cluster, %kind, "removal held: {why}");
            }
            return;
        }
        self.index.replace(kind, all, changes);
        if !matches!(self.stage, Stage::Live) {
            return;
        }
        let changed: BTreeSet<FactKind> = changes.facts.keys().map(|key| key.kind()).collect();
        if how.why == Relist::Audit && !changes.facts.is_empty() {
            self.sight.drifted(changes.facts.len() as u64);
        }
        if let Some(kind) = fact_kind(kind).filter(|kind| changed.contains(kind)) {
            self.speech.whole(kind);
        }
    }

    fn judge(
        &mut self,
        kind: ObjectKind,
        rewound: bool,
        all: &[(ObjectId, Said, Findings)],
    ) -> Verdict {
        let loss = self.index.loss(kind, all);
        let (accept, hold) = (self.around.accept_removal, self.pace.hold);
        let guard = self.guards.entry(kind).or_insert_with(|| Watchman::new(accept, hold));
        let held = guard.holds();
        let verdict = guard.judge(loss, Signs { uid: self.uid.as_deref(), rewound });
        if held && verdict == Verdict::Pass {
            self.liveness.fresh();
        }
        verdict
    }

    async fn changed(&mut self, changes: Changes) {
        if changes.names {
            let wanted = self.index.wanted().clone();
            let (names, answers) = (self.around.names.clone(), self.answers.clone());
            names.want(self.sight.generation, wanted, answers).await;
        }
        if matches!(self.stage, Stage::Live) {
            self.speech.add(changes);
        } else {
            // Nobody was told the former, so nobody needs the difference.
            self.check_full().await;
        }
    }

    async fn check_full(&mut self) {
        let Stage::Filling(complete) = &self.stage else { return };
        let complete = ObjectKind::ALL.iter().all(|kind| complete.contains(kind));
        if !complete || self.uid.is_none() || self.index.unresolved().next().is_some() {
            return;
        }
        self.stage = Stage::Full;
        self.sight.note(self.index.endpoints(), self.uid.as_deref());
        let report = Report::Full { source: self.source.clone() };
        // The registry outlives its clusters.
        let _ = self.around.reports.send(report).await;
    }

    fn probed(&mut self, probed: Probed) {
        let was_failing = self.liveness.probed(probed.error.clone());
        if was_failing && probed.error.is_none() {
            // It is back: nobody has to wait for its backoff.
            self.bells.values().for_each(|bell| bell.wake.notify_one());
        }
        if let Some(uid) = probed.uid {
            if self.uid.as_ref().is_some_and(|known| *known != uid) {
                tracing::warn!(cluster = %self.source.cluster, "another cluster answers");
            }
            self.uid = Some(uid);
        }
        if !probed.rewound.is_empty() {
            tracing::warn!(
                cluster = %self.source.cluster,
                "the server's versions went back; what it may have missed is listed again"
            );
        }
        for kind in probed.rewound {
            self.bells[&kind].rewound.notify_one();
        }
    }
}

fn id(kind: ObjectKind, name: Name) -> ObjectId {
    ObjectId { kind, namespace: name.namespace, name: name.name }
}

fn weight(told: &Told) -> usize {
    match &told.said {
        diolkos_facts::Said::Taken(object) => match &**object {
            diolkos_facts::Object::Slice(slice) => slice.endpoints.len(),
            _ => 1,
        },
        // It stays as it was.
        diolkos_facts::Said::Refused => 1,
        diolkos_facts::Said::Skipped => 0,
    }
}
