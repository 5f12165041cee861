//! Slices as facts: joined with their pods, and said again when what they are joined with changes.

use diolkos_topology::{Fact, FactKey, SliceFact};

use super::{Changes, ClusterIndex, ObjectId, Of, SliceKey};
use crate::finding::Findings;
use crate::pod::{PodEntry, PodKey};
use crate::slice::SliceParts;

/// What a slice was, to be compared with what it becomes.
pub(super) type Before = (SliceKey, Vec<SliceFact>);

impl ClusterIndex {
    pub(super) fn take_slice(&mut self, slice: SliceParts, out: &mut Changes) {
        let key = (slice.service.namespace.clone(), slice.name.clone());
        if self.slices.get(&key) == Some(&slice) {
            return;
        }
        let before = self.slices.get(&key).map(|before| self.joined(before)).unwrap_or_default();
        self.unname(&key);
        self.endpoints += slice.endpoints.len();
        let mut pods: Vec<&PodKey> = slice.endpoints.iter().flat_map(|one| &one.pod).collect();
        pods.sort_unstable();
        pods.dedup();
        for pod in pods {
            self.named_by.entry(pod.clone()).or_default().push(key.clone());
        }
        self.slice_changed(&slice.service);
        let replaced = self.slices.insert(key.clone(), slice);
        if let Some(replaced) = replaced {
            self.endpoints -= replaced.endpoints.len();
            self.slice_changed(&replaced.service);
        }
        self.say_slice(&key, &before, out);
    }

    pub(super) fn forget_slice(&mut self, id: &ObjectId, key: &SliceKey, out: &mut Changes) {
        let Some(slice) = self.slices.get(key) else { return };
        let facts = self.joined(slice);
        self.endpoints -= slice.endpoints.len();
        self.unname(key);
        if let Some(slice) = self.slices.remove(key) {
            self.slice_changed(&slice.service);
        }
        out.unsay(facts.iter().map(fact_key));
        self.tell(id, Of::Others, Findings::default(), out);
    }

    /// Joins the slices that name these pods again.
    pub(super) fn change_pods(&mut self, pods: Vec<(PodKey, Option<PodEntry>)>, out: &mut Changes) {
        let naming = pods.iter().filter_map(|(key, _)| self.named_by.get(key));
        let mut naming: Vec<SliceKey> = naming.flatten().cloned().collect();
        naming.sort_unstable();
        naming.dedup();
        let before = naming.into_iter().map(|slice| {
            let facts = self.joined(&self.slices[&slice]);
            (slice, facts)
        });
        let before: Vec<Before> = before.collect();
        out.work.slices_joined += before.len() as u64;
        for (key, entry) in pods {
            match &entry {
                Some(entry) => drop(self.pods.insert(key.clone(), entry.clone())),
                None => {
                    self.pods.remove(&key);
                    self.labels.remove(&key);
                }
            }
            out.pods.insert(key, entry);
        }
        self.rejoin(before, out);
    }

    /// As things stand, to be compared with what comes of a change.
    pub(super) fn slice_facts(&self, all: bool) -> Vec<Before> {
        let slices = self.slices.iter().filter(|_| all);
        slices.map(|(key, slice)| (key.clone(), self.joined(slice))).collect()
    }

    pub(super) fn rejoin(&mut self, before: Vec<Before>, out: &mut Changes) {
        for (key, before) in before {
            self.say_slice(&key, &before, out);
        }
    }

    pub(super) fn joined(&self, slice: &SliceParts) -> Vec<SliceFact> {
        slice.join_by_port(self, &mut Findings::default())
    }

    fn say_slice(&mut self, key: &SliceKey, before: &[SliceFact], out: &mut Changes) {
        let mut findings = Findings::default();
        let facts = self.slices[key].join_by_port(self, &mut findings);
        out.work.slices_joined += 1;
        let same_key = |a: &SliceFact, b: &SliceFact| fact_key(a) == fact_key(b);
        let gone = before.iter().filter(|was| !facts.iter().any(|is| same_key(was, is)));
        out.unsay(gone.map(fact_key));
        for fact in facts {
            if !before.contains(&fact) {
                out.say(Fact::Slice(fact));
            }
        }
        self.tell(&ObjectId::of_slice(key), Of::Others, findings, out);
    }

    fn unname(&mut self, key: &SliceKey) {
        let Some(slice) = self.slices.get(key) else { return };
        for pod in slice.endpoints.iter().filter_map(|one| one.pod.as_ref()) {
            if let Some(naming) = self.named_by.get_mut(pod) {
                naming.retain(|other| other != key);
                if naming.is_empty() {
                    self.named_by.remove(pod);
                }
            }
        }
    }
}

fn fact_key(fact: &SliceFact) -> FactKey {
    FactKey::Slice(fact.service.namespace.clone(), fact.name.clone())
}
