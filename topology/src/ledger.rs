//! The order of one source: who wrote last, what was removed, what a reset holds back.
//!
//! ```text
//!   floor                    open
//!  ---|------------------------|-------------------------> stamp
//!  deleted unless said since   | held back until the end
//! ```
//!
//! All of it follows from stamps alone, so duplicates and late events end in the same facts.

use std::collections::{BTreeMap, BTreeSet};

use crate::fact::{Fact, FactKey, FactKind};
use crate::limit;
use crate::name::{Epoch, Stamp};

/// Where the facts of a source are kept: on a shelf, or live in the index.
pub(crate) trait Keeper {
    fn stamp_of(&self, key: &FactKey) -> Option<Stamp>;
    /// Keys of a kind last said before the stamp, in order.
    fn said_before(&self, kind: FactKind, stamp: Stamp) -> Vec<FactKey>;
    fn put(&mut self, stamp: Stamp, fact: Fact);
    fn drop_key(&mut self, key: &FactKey);
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    epoch: Epoch,
    kinds: BTreeMap<FactKind, KindLedger>,
}

#[derive(Debug, Default)]
struct KindLedger {
    /// Keys never heard of count as deleted at this stamp.
    floor: Stamp,
    /// The begin of the last reset that ended.
    ended: Option<Stamp>,
    /// The begin of a reset that has not.
    open: Option<Stamp>,
    held: BTreeMap<FactKey, (Stamp, Option<Fact>)>,
    tombstones: BTreeMap<FactKey, Stamp>,
    tombstones_by_age: BTreeSet<(Stamp, FactKey)>,
}

impl Ledger {
    /// `None` removes.
    pub(crate) fn write(
        &mut self,
        keeper: &mut dyn Keeper,
        stamp: Stamp,
        key: FactKey,
        fact: Option<Fact>,
    ) {
        if !self.admit(stamp) {
            return;
        }
        let kind = self.kinds.entry(key.kind()).or_default();
        if kind.open.is_some_and(|open| stamp >= open) {
            let room = kind.held.len() < limit::held_max(key.kind());
            let newer = match kind.held.get(&key) {
                Some((known, _)) => *known < stamp,
                None => room,
            };
            if newer {
                kind.held.insert(key, (stamp, fact));
            }
            return;
        }
        kind.write(keeper, stamp, key, fact);
    }

    pub(crate) fn begin(&mut self, kind: FactKind, begin: Stamp) {
        if !self.admit(begin) {
            return;
        }
        let kind = self.kinds.entry(kind).or_default();
        if kind.ended.is_none_or(|ended| ended < begin) {
            kind.open = kind.open.max(Some(begin));
        }
    }

    pub(crate) fn end(&mut self, keeper: &mut dyn Keeper, kind: FactKind, begin: Stamp) {
        if !self.admit(begin) {
            return;
        }
        let ledger = self.kinds.entry(kind).or_default();
        if ledger.ended.is_some_and(|ended| ended >= begin) {
            return;
        }
        ledger.ended = Some(begin);
        ledger.floor = ledger.floor.max(begin);
        ledger.forget_below_floor();
        let mut held = BTreeMap::new();
        if ledger.open.is_some_and(|open| open <= begin) {
            ledger.open = None;
            held = std::mem::take(&mut ledger.held);
        }
        for key in keeper.said_before(kind, begin) {
            let said_again = matches!(held.get(&key), Some((stamp, Some(_))) if *stamp >= begin);
            if !said_again {
                keeper.drop_key(&key);
            }
        }
        for (key, (stamp, fact)) in held {
            ledger.write(keeper, stamp, key, fact);
        }
    }

    /// Once a source has started over, nothing of its earlier streams lands.
    fn admit(&mut self, stamp: Stamp) -> bool {
        self.epoch = self.epoch.max(stamp.epoch);
        stamp.epoch == self.epoch
    }
}

impl KindLedger {
    fn write(&mut self, keeper: &mut dyn Keeper, stamp: Stamp, key: FactKey, fact: Option<Fact>) {
        let present = keeper.stamp_of(&key);
        let known = present.max(self.tombstones.get(&key).copied());
        let deleted = present.is_none() && stamp < self.floor;
        if deleted || known.is_some_and(|known| known >= stamp) {
            return;
        }
        if let Some(removed) = self.tombstones.remove(&key) {
            self.tombstones_by_age.remove(&(removed, key.clone()));
        }
        match fact {
            Some(fact) => keeper.put(stamp, fact),
            None => {
                if present.is_some() {
                    keeper.drop_key(&key);
                }
                self.bury(stamp, key);
            }
        }
    }

    fn bury(&mut self, stamp: Stamp, key: FactKey) {
        self.tombstones_by_age.insert((stamp, key.clone()));
        self.tombstones.insert(key, stamp);
        if self.tombstones.len() > limit::TOMBSTONES_PER_KIND_MAX
            && let Some((oldest, key)) = self.tombstones_by_age.pop_first()
        {
            self.tombstones.remove(&key);
            // What is present keeps its own stamp; a floor speaks only of keys unheard of.
            self.floor = self.floor.max(oldest);
        }
    }

    fn forget_below_floor(&mut self) {
        while let Some((stamp, key)) = self.tombstones_by_age.first()
            && *stamp < self.floor
        {
            self.tombstones.remove(key);
            self.tombstones_by_age.pop_first();
        }
    }
}

/// Facts of a generation that is not active yet: kept, not derived from.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) facts: BTreeMap<FactKey, (Stamp, Fact)>,
    counts: BTreeMap<FactKind, usize>,
}

impl Keeper for Shelf {
    fn stamp_of(&self, key: &FactKey) -> Option<Stamp> {
        self.facts.get(key).map(|(stamp, _)| *stamp)
    }

    fn said_before(&self, kind: FactKind, stamp: Stamp) -> Vec<FactKey> {
        let old = self.facts.iter().filter(|(key, (said, _))| key.kind() == kind && *said < stamp);
        old.map(|(key, _)| key.clone()).collect()
    }

    fn put(&mut self, stamp: Stamp, fact: Fact) {
        let key = fact.key();
        let kind = key.kind();
        if let Some(known) = self.facts.get_mut(&key) {
            *known = (stamp, fact);
            return;
        }
        let count = self.counts.entry(kind).or_default();
        if *count < limit::held_max(kind) {
            *count += 1;
            self.facts.insert(key, (stamp, fact));
        }
    }

    fn drop_key(&mut self, key: &FactKey) {
        if self.facts.remove(key).is_some()
            && let Some(count) = self.counts.get_mut(&key.kind())
        {
            *count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::NodeFact;
    use crate::name::{Locality, NodeName};

    #[derive(Default)]
    struct Desk {
        ledger: Ledger,
        shelf: Shelf,
    }

    impl Desk {
        fn put(&mut self, seq: u64, name: &str, zone: &str) {
            let name = NodeName::new(name).unwrap();
            let fact = Fact::Node(NodeFact { name, locality: Locality::new("r", zone) });
            self.ledger.write(&mut self.shelf, Stamp::new(1, seq), fact.key(), Some(fact));
        }

        fn remove(&mut self, seq: u64, name: &str) {
            let key = FactKey::Node(NodeName::new(name).unwrap());
            self.ledger.write(&mut self.shelf, Stamp::new(1, seq), key, None);
        }

        fn begin(&mut self, seq: u64) {
            self.ledger.begin(FactKind::Node, Stamp::new(1, seq));
        }

        fn end(&mut self, begin: u64) {
            self.ledger.end(&mut self.shelf, FactKind::Node, Stamp::new(1, begin));
        }

        fn text(&self) -> String {
            let zones = self.shelf.facts.values().map(|(_, fact)| match fact {
                Fact::Node(node) => format!("{}={}", node.name, node.locality.zone),
                other => panic!("{other:?}"),
            });
            zones.collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn the_last_writer_wins_in_any_order() {
        let mut desk = Desk::default();
        desk.put(3, "a", "new");
        desk.put(2, "a", "old");
        desk.remove(5, "b");
        desk.put(4, "b", "late");
        assert_eq!(desk.text(), "a=new");
        desk.put(6, "b", "back");
        assert_eq!(desk.text(), "a=new b=back");
    }

    #[test]
    fn a_reset_holds_back_until_its_end_and_drops_what_was_not_said_again() {
        let mut desk = Desk::default();
        desk.put(1, "a", "1");
        desk.put(2, "b", "1");
        desk.begin(10);
        desk.put(11, "a", "2");
        assert_eq!(desk.text(), "a=1 b=1");
        desk.end(10);
        assert_eq!(desk.text(), "a=2");
        desk.begin(10);
        desk.put(12, "c", "3");
        assert_eq!(desk.text(), "a=2 c=3", "a begin after its end holds nothing back");
        desk.put(9, "d", "0");
        assert_eq!(desk.text(), "a=2 c=3", "said before the reset, so deleted by it");
    }

    #[test]
    fn an_end_without_its_begin_drops_too() {
        let mut desk = Desk::default();
        desk.put(1, "a", "1");
        desk.put(11, "b", "1");
        desk.end(10);
        assert_eq!(desk.text(), "b=1");
    }

    #[test]
    fn r8_nothing_of_an_older_epoch_lands() {
        let mut desk = Desk::default();
        desk.put(1, "a", "1");
        desk.ledger.begin(FactKind::Slice, Stamp::new(2, 0));
        desk.put(2, "a", "2");
        assert_eq!(desk.text(), "a=1");
    }

    #[test]
    fn tombstones_are_kept_to_the_limit_and_then_the_oldest_becomes_a_floor() {
        let limit = limit::TOMBSTONES_PER_KIND_MAX as u64;
        let mut desk = Desk::default();
        for seq in 0..limit {
            desk.remove(10 + seq, &format!("n{seq}"));
        }
        desk.put(5, "unheard-of", "1");
        assert_eq!(desk.text(), "unheard-of=1", "at the limit nothing is forgotten");
        desk.put(9, "n0", "late");
        desk.remove(10 + limit, "one-more");
        desk.put(9, "also-unheard-of", "1");
        desk.put(9, "n0", "late");
        assert_eq!(desk.text(), "unheard-of=1", "past it, what is older counts as deleted");
    }
}
