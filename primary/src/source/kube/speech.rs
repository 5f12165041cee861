//! From changes of an index to what the owner is told, in batches that are each applied at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use diolkos_facts::{Changes, ClusterIndex, ObjectKind, Rejection};
use diolkos_topology::{Event, Fact, FactKey, FactKind, Source, Stamp};

use super::limit;
use crate::source::{PodsChange, RejectionsChange, SourceEvent};

/// What one generation of one cluster still has to say. However long the owner takes, it holds
/// only the last word on each thing.
#[derive(Debug)]
pub(super) struct Speech {
    source: Source,
    epoch: u64,
    seq: u64,
    pending: Changes,
    /// Kinds that were listed anew: they are said whole.
    whole: BTreeSet<FactKind>,
    events: Vec<Event>,
    ready: VecDeque<SourceEvent>,
}

impl Speech {
    pub(super) fn new(source: Source, epoch: u64) -> Self {
        Self {
            source,
            epoch,
            seq: 0,
            pending: Changes::default(),
            whole: BTreeSet::new(),
            events: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, changes: Changes) {
        self.pending.facts.extend(changes.facts);
        self.pending.pods.extend(changes.pods);
        self.pending.rejected.extend(changes.rejected);
    }

    /// The kind was listed anew, and something of it is another.
    pub(super) fn whole(&mut self, kind: FactKind) {
        self.whole.insert(kind);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Everything, and from then on this generation is the truth.
    pub(super) fn begin(&mut self, index: &ClusterIndex) {
        let cluster = self.source.cluster.clone();
        let pods = index.pods().iter().map(|(key, entry)| (key.clone(), Some(entry.clone())));
        let change = PodsChange { all: true, pods: pods.collect() };
        self.ready.push_back(SourceEvent::Pods { cluster: cluster.clone(), change });
        let mut facts = index.facts(None).into_values();
        loop {
            let batch: Vec<Event> =
                facts.by_ref().take(limit::FACTS_PER_BATCH).map(|fact| self.upsert(fact)).collect();
            if batch.is_empty() {
                break;
            }
            self.ready.push_back(SourceEvent::Events(batch));
        }
        let source = self.source.clone();
        let fresh = Event::ClusterFresh { cluster: cluster.clone() };
        self.ready.push_back(SourceEvent::Events(vec![Event::Activate { source }, fresh]));
        let list = index.rejections().into_values().flatten().collect();
        let change = RejectionsChange::All(list);
        self.ready.push_back(SourceEvent::Rejections { cluster: Some(cluster), change });
        self.pending = Changes::default();
        self.whole.clear();
    }

    /// Rejections that have lasted long enough to be told.
    pub(super) fn tell(&mut self) {
        let changed: Vec<(String, Vec<Rejection>)> =
            std::mem::take(&mut self.pending.rejected).into_iter().collect();
        if !changed.is_empty() {
            let cluster = Some(self.source.cluster.clone());
            let change = RejectionsChange::Of(changed);
            self.ready.push_back(SourceEvent::Rejections { cluster, change });
        }
    }

    pub(super) fn has_rejections(&self) -> bool {
        !self.pending.rejected.is_empty()
    }

    pub(super) fn is_silent(&self) -> bool {
        self.ready.is_empty()
            && self.events.is_empty()
            && self.pending.facts.is_empty()
            && self.pending.pods.is_empty()
    }

    /// The next thing to say. `changed` is told of the facts in it.
    pub(super) fn next(
        &mut self,
        index: &ClusterIndex,
        changed: impl FnOnce(&BTreeMap<FactKey, Option<Fact>>),
    ) -> Option<SourceEvent> {
        if self.ready.is_empty() {
            self.compose(index, changed);
        }
        self.ready.pop_front()
    }

    fn compose(
        &mut self,
        index: &ClusterIndex,
        changed: impl FnOnce(&BTreeMap<FactKey, Option<Fact>>),
    ) {
        let pods: Vec<_> = std::mem::take(&mut self.pending.pods).into_iter().collect();
        if !pods.is_empty() {
            let cluster = self.source.cluster.clone();
            let change = PodsChange { all: false, pods };
            self.ready.push_back(SourceEvent::Pods { cluster, change });
        }
        let facts = std::mem::take(&mut self.pending.facts);
        let whole = std::mem::take(&mut self.whole);
        if !facts.is_empty() {
            changed(&facts);
        }
        let mut events = Vec::new();
        for (key, fact) in facts {
            if whole.contains(&key.kind()) {
                continue;
            }
            events.push(match fact {
                Some(fact) => self.upsert(fact),
                None => {
                    let (source, stamp) = (self.source.clone(), self.stamp());
                    Event::Remove { source, stamp, key }
                }
            });
        }
        for kind in whole {
            let begin = self.stamp();
            let source = self.source.clone();
            events.push(Event::ResetBegin { source, kind, stamp: begin });
            let all = index.facts(Some(kind)).into_values();
            events.extend(all.map(|fact| self.upsert(fact)));
            events.push(Event::ResetEnd { source: self.source.clone(), kind, begin });
        }
        events.append(&mut self.events);
        if !events.is_empty() {
            self.ready.push_back(SourceEvent::Events(events));
        }
    }

    fn upsert(&mut self, fact: Fact) -> Event {
        Event::Upsert { source: self.source.clone(), stamp: self.stamp(), fact }
    }

    fn stamp(&mut self) -> Stamp {
        self.seq += 1;
        Stamp::new(self.epoch, self.seq)
    }
}

/// The facts that a list of a kind can say whole. Pods are parts of other facts.
pub(super) fn fact_kind(kind: ObjectKind) -> Option<FactKind> {
    Some(match kind {
        ObjectKind::Export => FactKind::Export,
        ObjectKind::Gateway => FactKind::Gateway,
        ObjectKind::Namespace => FactKind::Namespace,
        ObjectKind::Node => FactKind::Node,
        ObjectKind::Pod => return None,
        ObjectKind::Service => FactKind::Service,
        ObjectKind::Slice => FactKind::Slice,
    })
}
