//! A cluster's source and the network between it and the primary.

use std::collections::{BTreeMap, VecDeque};

use diolkos_topology::{
    ClusterId, Epoch, Event, Fact, FactKey, FactKind, Generation, Source, Stamp,
};

use crate::truth::Changes;

/// What is under way to the primary, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) cluster: ClusterId,
    pub(crate) queue: VecDeque<Event>,
    pub(crate) state: Link,
    /// Generations that are read, and what each said last.
    feeds: BTreeMap<Generation, Stamp>,
    epochs: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    Partitioned,
}

impl Wire {
    pub(crate) fn new(cluster: ClusterId) -> Self {
        let feeds = [(Generation(1), Stamp::default())].into();
        Self { cluster, queue: VecDeque::new(), state: Link::Up, feeds, epochs: 0 }
    }

    fn source(&self, generation: Generation) -> Source {
        Source { cluster: self.cluster.clone(), generation }
    }

    /// Nothing leaves a partitioned cluster; when it heals, everything is said anyway.
    pub(crate) fn say(&mut self, changes: &Changes) {
        if self.state == Link::Partitioned {
            return;
        }
        for generation in self.feeds.keys().copied().collect::<Vec<_>>() {
            for (key, fact) in changes {
                let (source, stamp) = (self.source(generation), self.next(generation));
                self.queue.push_back(match fact {
                    Some(fact) => Event::Upsert { source, stamp, fact: fact.clone() },
                    None => Event::Remove { source, stamp, key: key.clone() },
                });
            }
        }
    }

    /// Every feed starts a new epoch and says everything.
    pub(crate) fn start_over(&mut self, facts: &BTreeMap<FactKey, Fact>) {
        for generation in self.feeds.keys().copied().collect::<Vec<_>>() {
            self.begin(generation, facts);
        }
    }

    pub(crate) fn rotate(&mut self, facts: &BTreeMap<FactKey, Fact>) {
        let newest = self.feeds.keys().next_back().map_or(0, |newest| newest.0);
        // A credential that is itself replaced before it was used is no longer read.
        while self.feeds.len() > 1 {
            self.feeds.pop_last();
        }
        let generation = Generation(newest + 1);
        self.feeds.insert(generation, Stamp::default());
        self.begin(generation, facts);
    }

    /// The generation is in use: older ones are no longer read.
    pub(crate) fn activated(&mut self, generation: Generation) {
        self.feeds = self.feeds.split_off(&generation);
    }

    pub(crate) fn relist(&mut self, kind: FactKind, facts: &BTreeMap<FactKey, Fact>) {
        for generation in self.feeds.keys().copied().collect::<Vec<_>>() {
            self.reset(generation, kind, facts);
        }
    }

    fn begin(&mut self, generation: Generation, facts: &BTreeMap<FactKey, Fact>) {
        self.epochs += 1;
        self.feeds.insert(generation, Stamp::new(self.epochs, 0));
        for kind in FactKind::ALL {
            self.reset(generation, kind, facts);
        }
    }

    fn reset(&mut self, of: Generation, kind: FactKind, facts: &BTreeMap<FactKey, Fact>) {
        if self.state == Link::Partitioned {
            return;
        }
        let (source, begin) = (self.source(of), self.next(of));
        self.queue.push_back(Event::ResetBegin { source: source.clone(), kind, stamp: begin });
        for fact in facts.values().filter(|fact| fact.key().kind() == kind) {
            let (source, stamp) = (source.clone(), self.next(of));
            self.queue.push_back(Event::Upsert { source, stamp, fact: fact.clone() });
        }
        self.queue.push_back(Event::ResetEnd { source, kind, begin });
    }

    fn next(&mut self, generation: Generation) -> Stamp {
        let epoch = Epoch(self.epochs);
        let stamp = self.feeds.entry(generation).or_insert(Stamp { epoch, ..Stamp::default() });
        stamp.seq.0 += 1;
        *stamp
    }

    /// A message and all behind it are lost.
    pub(crate) fn lose_from(&mut self, index: usize) -> usize {
        let from = index % (self.queue.len() + 1);
        let lost = self.queue.len() - from;
        self.queue.truncate(from);
        lost
    }

    /// A copy comes later.
    pub(crate) fn duplicate(&mut self, index: usize, later: usize) {
        if let Some(copy) = self.pick(index).and_then(|index| self.queue.get(index).cloned()) {
            let index = index % self.queue.len();
            let behind = self.queue.len() - index;
            self.queue.insert(index + 1 + later % behind, copy);
        }
    }

    /// What was overtaken, if anything was.
    pub(crate) fn reorder(&mut self, from: usize, to: usize) -> bool {
        let (Some(from), Some(to)) = (self.pick(from), self.pick(to)) else { return false };
        let Some(message) = self.queue.remove(from) else { return false };
        self.queue.insert(to, message);
        from != to
    }

    pub(crate) fn lose_one(&mut self, index: usize) {
        if let Some(index) = self.pick(index) {
            self.queue.remove(index);
        }
    }

    fn pick(&self, index: usize) -> Option<usize> {
        (!self.queue.is_empty()).then(|| index % self.queue.len())
    }
}

/// Who says an event, and in which epoch.
pub(crate) fn said_by(event: &Event) -> Option<(&Source, Epoch)> {
    match event {
        Event::Upsert { source, stamp, .. }
        | Event::Remove { source, stamp, .. }
        | Event::ResetBegin { source, stamp, .. }
        | Event::ResetEnd { source, begin: stamp, .. } => Some((source, stamp.epoch)),
        _ => None,
    }
}

/// For event logs.
pub(crate) fn in_words(event: &Event) -> String {
    let (who, stamp) = match event {
        Event::Upsert { source, stamp, .. }
        | Event::Remove { source, stamp, .. }
        | Event::ResetBegin { source, stamp, .. }
        | Event::ResetEnd { source, begin: stamp, .. } => (source, stamp),
        other => return format!("{other:?}"),
    };
    let what = match event {
        Event::Upsert { fact: Fact::Slice(slice), .. } => {
            let all: Vec<String> = slice
                .endpoints
                .iter()
                .map(|one| format!("{}({:?},{:?})", one.address, one.health, one.mtls))
                .collect();
            format!("upsert slice {} of {}: {}", slice.name, slice.service, all.join(" "))
        }
        Event::Upsert { fact, .. } => format!("upsert {fact:?}"),
        Event::Remove { key, .. } => format!("remove {key:?}"),
        Event::ResetBegin { kind, .. } => format!("reset begin {kind:?}"),
        _ => "reset end".into(),
    };
    let at = format!("{}.{}", stamp.epoch.0, stamp.seq.0);
    format!("{} generation {} at {at}: {what}", who.cluster, who.generation.0)
}
