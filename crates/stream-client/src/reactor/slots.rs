//! Values that are named by a place and the place's generation, so that a name outlives its value without harm.

/// The name of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotKey {
    index: u32,
    generation: u32,
}

impl SlotKey {
    pub(super) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_u64(number: u64) -> Self {
        Self {
            index: number as u32,
            generation: (number >> 32) as u32,
        }
    }

    pub(super) fn index(self) -> usize {
        self.index as usize
    }
}

/// The values. Each lies in a box, so that a growing table moves none.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<(u32, Option<Box<T>>)>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: T) -> SlotKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.1 = Some(Box::new(value));
        SlotKey {
            index,
            generation: slot.0,
        }
    }

    pub(super) fn get(&mut self, key: SlotKey) -> Option<&mut T> {
        match self.slots.get_mut(key.index()) {
            Some((generation, value)) if *generation == key.generation => value.as_deref_mut(),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: SlotKey) -> Option<Box<T>> {
        let (generation, value) = self.slots.get_mut(key.index())?;
        if *generation != key.generation {
            return None;
        }
        let value = value.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// The name of what lies at this place.
    pub(super) fn key_at(&self, index: usize) -> Option<SlotKey> {
        let (generation, value) = self.slots.get(index)?;
        value.as_ref().map(|_| SlotKey {
            index: index as u32,
            generation: *generation,
        })
    }

    /// All names.
    pub(super) fn keys(&self) -> Vec<SlotKey> {
        (0..self.slots.len())
            .filter_map(|index| self.key_at(index))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outlives_its_value() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        let second = slots.insert('b');
        assert_eq!(slots.remove(first).as_deref(), Some(&'a'));
        let third = slots.insert('c');
        assert_eq!(third.index(), first.index(), "the place is used again");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(third), Some(&mut 'c'));
        assert_eq!(SlotKey::from_u64(third.to_u64()), third);
        assert_eq!((slots.len(), slots.keys()), (2, vec![third, second]));
        assert_eq!(slots.key_at(7), None);
    }
}
