//! What exists only while a stream needs it, and for a little longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use diolkos_topology::Tick;

use crate::cell::CatalogCell;

/// Audiences, or scopes, each with its id, its users and its published catalog.
#[derive(Debug)]
pub(crate) struct Leases<K> {
    ids: BTreeMap<K, u32>,
    leases: BTreeMap<u32, Lease<K>>,
    last: u32,
}

#[derive(Debug)]
struct Lease<K> {
    key: K,
    users: usize,
    /// While nobody uses it.
    ends: Option<Tick>,
    cell: Arc<CatalogCell>,
}

pub(crate) struct Taken {
    pub(crate) id: u32,
    pub(crate) cell: Arc<CatalogCell>,
    /// Nobody had it: the caller brings it up.
    pub(crate) fresh: bool,
}

impl<K: Clone + Ord> Leases<K> {
    pub(crate) fn new() -> Self {
        Self { ids: BTreeMap::new(), leases: BTreeMap::new(), last: 0 }
    }

    pub(crate) fn take(&mut self, key: &K, at: Instant) -> Taken {
        if let Some(&id) = self.ids.get(key) {
            let lease = self.leases.get_mut(&id).expect("ids and leases change together");
            lease.users += 1;
            lease.ends = None;
            return Taken { id, cell: lease.cell.clone(), fresh: false };
        }
        self.last += 1;
        let cell = CatalogCell::new(at);
        let lease = Lease { key: key.clone(), users: 1, ends: None, cell: cell.clone() };
        self.ids.insert(key.clone(), self.last);
        self.leases.insert(self.last, lease);
        Taken { id: self.last, cell, fresh: true }
    }

    pub(crate) fn give_back(&mut self, id: u32, ends: Tick) {
        let lease = self.leases.get_mut(&id).expect("given back once, by who took it");
        lease.users -= 1;
        if lease.users == 0 {
            lease.ends = Some(ends);
        }
    }

    /// Takes out what nobody came back for.
    pub(crate) fn expire(&mut self, now: Tick) -> Vec<u32> {
        let over: Vec<u32> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.ends.is_some_and(|ends| ends <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in &over {
            if let Some(lease) = self.leases.remove(id) {
                self.ids.remove(&lease.key);
            }
        }
        over
    }

    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        self.leases.values().filter_map(|lease| lease.ends).min()
    }

    pub(crate) fn cell(&self, id: u32) -> Option<&Arc<CatalogCell>> {
        self.leases.get(&id).map(|lease| &lease.cell)
    }

    /// Key and users, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &K, usize)> {
        self.leases.iter().map(|(id, lease)| (*id, &lease.key, lease.users))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_shared_lingers_and_is_then_taken_down_once() {
        let at = Instant::now();
        let mut leases: Leases<&str> = Leases::new();
        let first = leases.take(&"west", at);
        let second = leases.take(&"west", at);
        assert!(first.fresh && !second.fresh && first.id == second.id);
        assert!(Arc::ptr_eq(&first.cell, &second.cell));

        leases.give_back(first.id, Tick(10));
        assert_eq!(leases.next_deadline(), None, "one still uses it");
        leases.give_back(second.id, Tick(20));
        assert_eq!(leases.next_deadline(), Some(Tick(20)));
        assert!(leases.expire(Tick(19)).is_empty());

        let back = leases.take(&"west", at);
        assert!(!back.fresh, "it came back within the linger");
        assert!(leases.expire(Tick(99)).is_empty());
        leases.give_back(back.id, Tick(30));
        assert_eq!(leases.expire(Tick(30)), [back.id]);
        assert!(leases.expire(Tick(31)).is_empty());
        assert!(leases.take(&"west", at).fresh);
    }
}
