//! Where a lane's connections are, by a key that fits into an event of the system.

/// Names one connection for as long as it lives, and nothing afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) index: u32,
    generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Client(Key),
    Target(Key),
    /// A listening socket, by its number.
    Door(u32),
    /// Somebody has a command.
    Wake,
}

const KIND_SHIFT: u32 = 62;
const GENERATION_MASK: u32 = (1 << 30) - 1;

impl Token {
    pub(super) fn to_u64(self) -> u64 {
        let (kind, generation, index) = match self {
            Self::Client(key) => (0, key.generation, key.index),
            Self::Target(key) => (1, key.generation, key.index),
            Self::Door(number) => (2, 0, number),
            Self::Wake => (3, 0, 0),
        };
        kind << KIND_SHIFT | u64::from(generation) << 32 | u64::from(index)
    }

    pub(super) fn from_u64(number: u64) -> Self {
        let index = number as u32;
        let key = Key { index, generation: (number >> 32) as u32 & GENERATION_MASK };
        match number >> KIND_SHIFT {
            0 => Self::Client(key),
            1 => Self::Target(key),
            2 => Self::Door(index),
            _ => Self::Wake,
        }
    }
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<Box<T>>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// A key for a value that is put in with [`Slab::put`], or a key that is freed.
    pub(super) fn reserve(&mut self) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            (self.slots.len() - 1) as u32
        });
        Key { index, generation: self.slots[index as usize].generation }
    }

    pub(super) fn put(&mut self, key: Key, value: Box<T>) {
        self.slots[key.index as usize].value = Some(value);
    }

    /// Takes the value out to work on it; to be put back, or its key freed.
    pub(super) fn take(&mut self, key: Key) -> Option<Box<T>> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.value.take() } else { None }
    }

    pub(super) fn free(&mut self, key: Key) {
        let slot = &mut self.slots[key.index as usize];
        slot.generation = slot.generation.wrapping_add(1) & GENERATION_MASK;
        slot.value = None;
        self.free.push(key.index);
    }

    /// The key of whoever is at this index now.
    pub(super) fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().map(|_| Key { index, generation: slot.generation })
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        (0..self.slots.len() as u32).filter_map(|index| self.key_at(index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_nobody_after_its_connection_is_gone() {
        let mut slab = Slab::new();
        let first = slab.reserve();
        slab.put(first, Box::new("first"));
        assert_eq!(slab.take(first).as_deref(), Some(&"first"));
        slab.free(first);
        let second = slab.reserve();
        slab.put(second, Box::new("second"));
        assert_eq!(second.index, first.index, "the place is used again");
        assert!(slab.take(first).is_none());
        assert_eq!(slab.keys(), [second]);
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let key = Key { index: 0xffff_fffe, generation: GENERATION_MASK };
        for token in [
            Token::Client(key),
            Token::Target(key),
            Token::Door(3),
            Token::Wake,
            Token::Client(Key { index: 0, generation: 0 }),
        ] {
            assert_eq!(Token::from_u64(token.to_u64()), token);
        }
    }
}
