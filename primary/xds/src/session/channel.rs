//! One type on one stream: what is asked for, what the client has, what has to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::sync::Arc;

use super::request::Asked;
use super::response::Batch;
use super::{Nack, Progress, Refusal};
use crate::catalog::{Catalog, Changed};
use crate::limit;
use crate::resource::{Resource, ResourceType};

const WILDCARD: &str = "*";

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) kind: ResourceType,
    phase: Phase,
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    /// What the client was told last, of what it subscribes to.
    held: BTreeMap<Arc<str>, Held>,
    /// State of the world: what it was sent, to send again what may not be dropped yet.
    kept: BTreeMap<Arc<str>, Arc<Resource>>,
    /// Subscribed names whose state may differ from what is held.
    dirty: BTreeSet<Arc<str>>,
    /// Followers to be sent whatever is held: a leader was sent that waits for them.
    owed: BTreeSet<Arc<str>>,
    /// The catalog's serial up to which changes are in `dirty`.
    seen: u64,
    in_flight: Option<InFlight>,
    last_nonce: String,
    /// A response is expected even if it is empty: the client waits for the first.
    awaited: bool,
    /// A client that comes back asks for its types one by one. What its routes name may not go
    /// before they were heard of; its first answer comes after all of that.
    coming_back: bool,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody asked for the type.
    Closed,
    /// Nobody has named a resource yet: no names means all (clusters and listeners).
    Unnamed,
    Named,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Told that there is no such resource.
    Absent,
    /// By the hash of its body.
    Content(u128),
    /// Something of an earlier stream, of another version than ours.
    Other,
}

#[derive(Debug)]
struct InFlight {
    nonce: String,
    names: Vec<Arc<str>>,
    brings_new: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sent: u64,
    accepted: u64,
    refused: u64,
}

/// What a request says of the response in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    /// It answers none.
    None,
    Refused(Nack),
    /// It answers an earlier one.
    Stale,
}

#[derive(Clone, Copy, Debug)]
enum Need<'a> {
    Nothing,
    Remove,
    Upsert(&'a Arc<Resource>),
}

impl Channel {
    pub(super) fn new(kind: ResourceType) -> Self {
        Self {
            kind,
            phase: Phase::Closed,
            wildcard: false,
            names: BTreeSet::new(),
            held: BTreeMap::new(),
            kept: BTreeMap::new(),
            dirty: BTreeSet::new(),
            owed: BTreeSet::new(),
            seen: 0,
            in_flight: None,
            last_nonce: String::new(),
            awaited: false,
            coming_back: false,
            counts: Counts::default(),
        }
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> Answer {
        // Without a nonce it comes from before the first response was heard of.
        let unheard = asked.nonce.is_empty() && self.in_flight.is_none();
        if unheard || self.phase == Phase::Closed {
            return Answer::None;
        }
        let Some(in_flight) = self.in_flight.take_if(|sent| sent.nonce == asked.nonce) else {
            let repeated = self.in_flight.is_none() && asked.nonce == self.last_nonce;
            return if repeated { Answer::None } else { Answer::Stale };
        };
        self.coming_back = false;
        let Some(reason) = &asked.refusal else {
            self.counts.accepted += 1;
            return Answer::Accepted;
        };
        self.counts.refused += 1;
        Answer::Refused(Nack {
            kind: self.kind,
            nonce: in_flight.nonce,
            names: in_flight.names,
            reason: reason.clone(),
        })
    }

    /// Not when the leader is answered for: Envoy answers for clusters after all of them have
    /// warmed.
    pub(super) fn owe(&mut self, followers: &[Arc<str>]) {
        for name in followers {
            if self.subscribed(name) {
                self.dirty.insert(Arc::clone(name));
            }
            self.owed.insert(Arc::clone(name));
        }
    }

    /// A delta request's changes to the subscription.
    pub(super) fn subscribe(&mut self, asked: &Asked, catalog: &Catalog) -> Result<(), Refusal> {
        asked.check(self.kind, self.names.len())?;
        let first = self.phase == Phase::Closed;
        for name in &asked.unsubscribe {
            self.unsubscribe(name);
        }
        if first {
            self.phase = Phase::Named;
            self.seen = catalog.serial();
            for (name, version) in &asked.kept {
                let held = match catalog.get(self.kind, name) {
                    Some(ours) if *ours.version == **version => Held::Content(ours.content),
                    _ => Held::Other,
                };
                let name: Arc<str> = name.as_str().into();
                self.held.insert(Arc::clone(&name), held);
                self.dirty.insert(name);
            }
            self.coming_back = self.kind == ResourceType::Cluster && !asked.kept.is_empty();
            self.awaited = self.coming_back;
            if asked.names.is_empty() && self.empty_means_all() {
                self.subscribe_all(catalog);
            }
        }
        for name in &asked.names {
            if name == WILDCARD {
                self.subscribe_all(catalog);
                continue;
            }
            let name: Arc<str> = name.as_str().into();
            // Asking again means that the client has forgotten it.
            if !first {
                self.held.remove(&name);
            }
            self.dirty.insert(Arc::clone(&name));
            self.names.insert(name);
        }
        if first {
            let subscribed = |name: &Arc<str>| self.wildcard || self.names.contains(name);
            self.held.retain(|name, _| subscribed(name));
        }
        Ok(())
    }

    /// A state-of-the-world request's whole subscription.
    pub(super) fn replace(&mut self, asked: &Asked, catalog: &Catalog) -> Result<(), Refusal> {
        asked.check(self.kind, 0)?;
        if self.phase == Phase::Closed {
            self.phase = Phase::Unnamed;
            self.seen = catalog.serial();
            self.awaited = self.sends_all();
            self.coming_back = self.kind == ResourceType::Cluster && !asked.accepted.is_empty();
        }
        if !asked.names.is_empty() {
            self.phase = Phase::Named;
        }
        let wildcard = asked.names.iter().any(|name| name == WILDCARD)
            || (self.phase == Phase::Unnamed && self.empty_means_all());
        if wildcard && !self.wildcard {
            self.subscribe_all(catalog);
        }
        self.wildcard = wildcard;
        let names: BTreeSet<Arc<str>> = asked
            .names
            .iter()
            .filter(|name| *name != WILDCARD)
            .map(|name| Arc::from(name.as_str()))
            .collect();
        for name in names.difference(&self.names) {
            self.dirty.insert(Arc::clone(name));
        }
        self.names = names;
        let subscribed = |name: &Arc<str>| self.wildcard || self.names.contains(name);
        self.held.retain(|name, _| subscribed(name));
        self.kept.retain(|name, _| subscribed(name));
        self.dirty.retain(|name| subscribed(name));
        Ok(())
    }

    /// A state-of-the-world request that crossed a response. The client will answer that one, and
    /// name then what it wants; but what it does not name here it has dropped, and a response that
    /// does not list everything may not bring it back.
    pub(super) fn overtaken(&mut self, asked: &Asked) {
        if self.sends_all() {
            return;
        }
        let named: BTreeSet<&str> = asked.names.iter().map(String::as_str).collect();
        for name in self.names.iter().filter(|name| !named.contains(&***name)) {
            self.held.remove(name);
            self.dirty.insert(Arc::clone(name));
        }
    }

    fn unsubscribe(&mut self, name: &str) {
        if name == WILDCARD {
            self.wildcard = false;
            self.held.retain(|name, _| self.names.contains(name));
            self.dirty.retain(|name| self.names.contains(name));
            return;
        }
        self.names.remove(name);
        // The client has dropped it; under a wildcard it is told again whether it exists.
        if self.held.remove(name).is_some() && self.wildcard {
            self.dirty.insert(name.into());
        }
        if !self.wildcard {
            self.dirty.remove(name);
        }
    }

    fn subscribe_all(&mut self, catalog: &Catalog) {
        self.wildcard = true;
        self.awaited = true;
        let there = catalog.resources(self.kind).map(|resource| Arc::clone(&resource.name));
        self.dirty.extend(there);
    }

    fn empty_means_all(&self) -> bool {
        matches!(self.kind, ResourceType::Cluster | ResourceType::Listener)
    }

    /// State of the world: whether what a response does not list is gone.
    fn sends_all(&self) -> bool {
        self.empty_means_all()
    }

    /// Learns what changed; costs what changed.
    pub(super) fn catch_up(&mut self, catalog: &Catalog) {
        if self.phase == Phase::Closed || self.seen == catalog.serial() {
            return;
        }
        match catalog.changed_since(self.kind, self.seen) {
            Changed::Names(names) => {
                let subscribed = |name: &Arc<str>| self.wildcard || self.names.contains(name);
                self.dirty.extend(names.into_iter().filter(subscribed));
                self.seen = catalog.serial();
            }
            Changed::Unknown => self.compare_all(catalog),
        }
    }

    /// Its catalog is another one from here on, or has forgotten what changed.
    pub(super) fn compare_all(&mut self, catalog: &Catalog) {
        if self.phase == Phase::Closed {
            return;
        }
        self.dirty.extend(self.held.keys().cloned());
        self.dirty.extend(self.names.iter().cloned());
        if self.wildcard {
            let there = catalog.resources(self.kind);
            self.dirty.extend(there.map(|resource| Arc::clone(&resource.name)));
        }
        self.seen = catalog.serial();
    }

    /// Whether something may be sent now.
    pub(super) fn ready(&self) -> bool {
        self.phase != Phase::Closed && self.in_flight.is_none()
    }

    pub(super) fn answered(&self) -> bool {
        self.in_flight.is_none()
    }

    /// Whether names the client does not have are on their way or wait to be sent.
    pub(super) fn brings_new(&self, catalog: &Catalog) -> bool {
        if self.in_flight.as_ref().is_some_and(|sent| sent.brings_new) {
            return true;
        }
        self.upserts(catalog).any(|resource| self.is_new(&resource.name))
    }

    /// State of the world: whether the first answer to a client that comes back would take from it
    /// what it may still use. Unlike later ones it cannot list what is gone.
    pub(super) fn takes_away(&self, catalog: &Catalog) -> bool {
        self.coming_back
            && self.in_flight.is_none()
            && self.names.iter().any(|name| catalog.get(self.kind, name).is_none())
    }

    /// Whether anything waits to be sent.
    pub(super) fn behind(&self, catalog: &Catalog) -> bool {
        self.upserts(catalog).next().is_some() || self.keeps_gone(catalog)
    }

    /// Whether a removal waits to be sent.
    pub(super) fn keeps_gone(&self, catalog: &Catalog) -> bool {
        self.dirty.iter().any(|name| matches!(self.need(name, catalog), Need::Remove))
    }

    /// Followers whose leader, as it is now, the client has not been sent. They do not wait for it,
    /// because their leader as it was may wait for them; they are sent again after it.
    pub(super) fn unsent_followers(&self, catalog: &Catalog) -> BTreeSet<Arc<str>> {
        self.upserts(catalog).filter_map(|resource| resource.warmed_by.clone()).collect()
    }

    fn upserts<'a>(&'a self, catalog: &'a Catalog) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.dirty.iter().filter_map(|name| match self.need(name, catalog) {
            Need::Upsert(resource) => Some(resource),
            Need::Nothing | Need::Remove => None,
        })
    }

    fn is_new(&self, name: &str) -> bool {
        matches!(self.held.get(name), None | Some(Held::Absent))
    }

    fn need<'a>(&self, name: &str, catalog: &'a Catalog) -> Need<'a> {
        if !self.subscribed(name) {
            return Need::Nothing;
        }
        match (catalog.get(self.kind, name), self.held.get(name)) {
            (Some(ours), Some(Held::Content(held)))
                if *held == ours.content && !self.owed.contains(name) =>
            {
                Need::Nothing
            }
            (Some(ours), _) => Need::Upsert(ours),
            (None, Some(Held::Content(_) | Held::Other)) => Need::Remove,
            // It asked by name and waits for an answer.
            (None, None) if self.names.contains(name) => Need::Remove,
            // It was told so before its leader came that waits for an answer now.
            (None, Some(Held::Absent)) if self.owed.contains(name) => Need::Remove,
            (None, None | Some(Held::Absent)) => Need::Nothing,
        }
    }

    fn subscribed(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    pub(super) fn delta_upserts(
        &mut self,
        catalog: &Catalog,
        unled: &BTreeSet<Arc<str>>,
    ) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut later = BTreeSet::new();
        for name in take(&mut self.dirty) {
            match self.need(&name, catalog) {
                Need::Nothing => {}
                Need::Remove => {
                    later.insert(name);
                }
                Need::Upsert(resource) => {
                    let full = bytes + resource.delta.len() > limit::RESPONSE_BYTES_MAX;
                    if full && !batch.upserts.is_empty() {
                        later.insert(name);
                        continue;
                    }
                    bytes += resource.delta.len();
                    batch.followers.extend(resource.warmed_by.clone());
                    batch.brings_new |= self.is_new(&name);
                    batch.upserts.push(match unled.contains(&name) {
                        true => Arc::new(resource.unled()),
                        false => Arc::clone(resource),
                    });
                    self.owed.remove(&name);
                    self.held.insert(name, Held::Content(resource.content));
                }
            }
        }
        self.dirty = later;
        (self.awaited || !batch.upserts.is_empty()).then_some(batch)
    }

    pub(super) fn delta_removes(&mut self, catalog: &Catalog) -> Option<Batch> {
        if self.coming_back {
            return None;
        }
        let mut batch = Batch::default();
        let mut later = BTreeSet::new();
        for name in take(&mut self.dirty) {
            match self.need(&name, catalog) {
                Need::Nothing => {}
                Need::Upsert(_) => {
                    later.insert(name);
                }
                Need::Remove => {
                    self.forget(&name);
                    batch.removes.push(name);
                }
            }
        }
        self.dirty = later;
        (!batch.removes.is_empty()).then_some(batch)
    }

    pub(super) fn sotw_upserts(
        &mut self,
        catalog: &Catalog,
        unled: &BTreeSet<Arc<str>>,
    ) -> Option<Batch> {
        if !self.sends_all() {
            return self.delta_upserts(catalog, unled);
        }
        let changed = self.upserts(catalog).next().is_some();
        if !changed && !self.awaited {
            return None;
        }
        let brings_new = self.upserts(catalog).any(|resource| self.is_new(&resource.name));
        // What is gone stays listed until nothing names it any more.
        let mut all = take(&mut self.kept);
        all.extend(self.listed(catalog).map(|one| (Arc::clone(&one.name), Arc::clone(one))));
        let batch = self.state_of_the_world(all, brings_new);
        let mut dirty = take(&mut self.dirty);
        dirty.retain(|name| !matches!(self.need(name, catalog), Need::Nothing));
        self.dirty = dirty;
        Some(batch)
    }

    pub(super) fn sotw_removes(&mut self, catalog: &Catalog) -> Option<Batch> {
        let gone: Vec<Arc<str>> = self
            .dirty
            .iter()
            .filter(|name| matches!(self.need(name, catalog), Need::Remove))
            .cloned()
            .collect();
        let mut listed = false;
        for name in &gone {
            listed |= !self.is_new(name);
            self.dirty.remove(name);
            if self.sends_all() || !matches!(self.held.get(name), Some(Held::Content(_))) {
                self.forget(name);
            }
            // Else nobody says that it went: the client has it, until it asks for it no more or
            // what named it goes.
        }
        if !self.sends_all() || !listed {
            return None;
        }
        self.kept.clear();
        let all = self.listed(catalog).map(|one| (Arc::clone(&one.name), Arc::clone(one)));
        let all = all.collect();
        Some(self.state_of_the_world(all, false))
    }

    fn state_of_the_world(
        &mut self,
        all: BTreeMap<Arc<str>, Arc<Resource>>,
        brings_new: bool,
    ) -> Batch {
        let mut followers = Vec::new();
        for (name, resource) in &all {
            let now = Held::Content(resource.content);
            if self.held.insert(Arc::clone(name), now) != Some(now) {
                followers.extend(resource.warmed_by.clone());
            }
        }
        self.kept = all;
        let upserts = self.kept.values().cloned().collect();
        Batch { upserts, removes: Vec::new(), followers, brings_new }
    }

    fn listed<'a>(&'a self, catalog: &'a Catalog) -> impl Iterator<Item = &'a Arc<Resource>> {
        let named = self.names.iter().filter_map(|name| catalog.get(self.kind, name));
        let all = self.wildcard.then(|| catalog.resources(self.kind)).into_iter().flatten();
        named.chain(all)
    }

    fn forget(&mut self, name: &Arc<str>) {
        self.owed.remove(name);
        if self.names.contains(name) {
            self.held.insert(Arc::clone(name), Held::Absent);
        } else {
            self.held.remove(name);
        }
    }

    pub(super) fn sent(&mut self, nonce: &str, batch: &Batch) {
        self.awaited = false;
        self.counts.sent += 1;
        self.last_nonce = nonce.into();
        let upserts = batch.upserts.iter().map(|resource| &resource.name);
        let names = upserts.chain(&batch.removes).take(limit::NACK_NAMES_MAX).cloned().collect();
        let brings_new = batch.brings_new;
        self.in_flight = Some(InFlight { nonce: nonce.into(), names, brings_new });
    }

    pub(super) fn progress(&self) -> Progress {
        let has = |held: &&Held| !matches!(held, Held::Absent);
        Progress {
            kind: self.kind,
            wildcard: self.wildcard,
            named: self.names.len(),
            held: self.held.values().filter(has).count(),
            sent: self.counts.sent,
            accepted: self.counts.accepted,
            refused: self.counts.refused,
        }
    }
}
