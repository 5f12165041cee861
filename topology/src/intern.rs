//! Values stored once and named by a small number; and slots with such numbers.
//!
//! A value without users keeps its number until `settle`, so that what was derived before a change
//! can still be compared with what is derived after it.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use hashbrown::HashTable;

/// The number of a `T`.
pub(crate) struct Id<T> {
    raw: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    fn new(index: usize) -> Self {
        let raw = u32::try_from(index).expect("limits keep every table below 2^32");
        Self { raw, of: PhantomData }
    }

    pub(crate) fn index(self) -> usize {
        self.raw as usize
    }

    /// So many numbers further on.
    pub(crate) fn after(self, count: u8) -> Self {
        Self { raw: self.raw.saturating_add(count.into()), of: PhantomData }
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.raw.cmp(&other.raw)
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.raw)
    }
}

/// Without random keys: the core is deterministic, and quotas bound its tables.
pub(crate) fn hash_of<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Counted values.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    slots: Vec<Slot<T>>,
    free: Vec<Id<T>>,
    /// Had no users at some point since the last `settle`.
    idle: Vec<Id<T>>,
    /// By the hash of the value, which only its slot has.
    ids: HashTable<Id<T>>,
}

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    uses: u32,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), idle: Vec::new(), ids: HashTable::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    /// One more user. The flag says whether the value was not here before.
    pub(crate) fn acquire(&mut self, value: &T) -> (Id<T>, bool) {
        let hash = hash_of(value);
        if let Some(id) = self.find_hashed(hash, value) {
            self.slots[id.index()].uses += 1;
            return (id, false);
        }
        let slot = Slot { value: Some(value.clone()), uses: 1 };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id.index()] = slot;
                id
            }
            None => {
                push_tight(&mut self.slots, slot);
                Id::new(self.slots.len() - 1)
            }
        };
        let slots = &self.slots;
        self.ids.insert_unique(hash, id, |id| slots[id.index()].value.as_ref().map_or(0, hash_of));
        (id, true)
    }

    pub(crate) fn retain(&mut self, id: Id<T>) {
        self.slots[id.index()].uses += 1;
    }

    pub(crate) fn release(&mut self, id: Id<T>) {
        let slot = &mut self.slots[id.index()];
        debug_assert!(slot.uses > 0, "released more often than acquired");
        slot.uses -= 1;
        if slot.uses == 0 {
            self.idle.push(id);
        }
    }

    pub(crate) fn find(&self, value: &T) -> Option<Id<T>> {
        self.find_hashed(hash_of(value), value)
    }

    fn find_hashed(&self, hash: u64, value: &T) -> Option<Id<T>> {
        let is = |id: &Id<T>| self.slots[id.index()].value.as_ref() == Some(value);
        self.ids.find(hash, is).copied()
    }

    pub(crate) fn get(&self, id: Id<T>) -> &T {
        self.slots[id.index()].value.as_ref().expect("a number in use has its value")
    }

    /// In the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(index, slot)| Some((Id::new(index), slot.value.as_ref()?)))
    }

    /// Forgets what has no users and yields it, so that what it holds can be released in turn.
    pub(crate) fn settle(&mut self) -> Vec<(Id<T>, T)> {
        let mut gone = Vec::new();
        for id in std::mem::take(&mut self.idle) {
            let slot = &mut self.slots[id.index()];
            if slot.uses > 0 {
                continue;
            }
            if let Some(value) = slot.value.take() {
                if let Ok(entry) = self.ids.find_entry(hash_of(&value), |other| *other == id) {
                    entry.remove();
                }
                self.free.push(id);
                gone.push((id, value));
            }
        }
        gone
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }
}

/// Slots that are filled and emptied.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<Id<T>>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> Id<T> {
        if let Some(id) = self.free.pop() {
            self.slots[id.index()] = Some(value);
            return id;
        }
        push_tight(&mut self.slots, Some(value));
        Id::new(self.slots.len() - 1)
    }

    pub(crate) fn remove(&mut self, id: Id<T>) -> T {
        self.free.push(id);
        self.slots[id.index()].take().expect("a slot is emptied once")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(index, slot)| Some((Id::new(index), slot.as_ref()?)))
    }
}

impl<T> std::ops::Index<Id<T>> for Slab<T> {
    type Output = T;

    fn index(&self, id: Id<T>) -> &T {
        self.slots[id.index()].as_ref().expect("a number in use has its slot filled")
    }
}

impl<T> std::ops::IndexMut<Id<T>> for Slab<T> {
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        self.slots[id.index()].as_mut().expect("a number in use has its slot filled")
    }
}

/// Grows by an eighth: tables of a million entries must not be half empty.
pub(crate) fn push_tight<T>(entries: &mut Vec<T>, entry: T) {
    if entries.len() == entries.capacity() {
        entries.reserve_exact((entries.len() / 8).max(1));
    }
    entries.push(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_without_users_keeps_its_number_until_settled() {
        let mut names = Interner::default();
        let (first, fresh) = names.acquire(&"a");
        assert!(fresh);
        names.release(first);
        let (second, _) = names.acquire(&"b");
        assert_ne!(first, second, "the number is not given away yet");
        assert_eq!(names.settle(), [(first, "a")]);
        assert_eq!(names.acquire(&"c"), (first, true));
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn a_value_used_again_before_settling_stays() {
        let mut names = Interner::default();
        let (id, _) = names.acquire(&"a");
        names.release(id);
        assert_eq!(names.acquire(&"a"), (id, false));
        assert_eq!(names.settle(), []);
        assert_eq!(names.find(&"a"), Some(id));
    }
}
