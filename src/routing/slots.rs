//! A map from handles to values. Its keys are given out one after the other, so each has a slot of its own by the low
//! bits of its number, and a look-up computes no hash. No I/O.

use crate::sys::hash::HashMap;
use crate::wire::message::Handle;

/// The slots of a map that has its first value.
const FEWEST: usize = 16;

/// Values by handle.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    /// None, or a power of two of them. A handle's slot is given by the low bits of its number.
    slots: Vec<Option<(Handle, T)>>,
    /// The values whose slots hold another handle: that of a receiver which is older than all calls, for example.
    displaced: HashMap<Handle, T>,
    len: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), displaced: HashMap::default(), len: 0 }
    }
}

impl<T> Slots<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, handle: Handle) -> Option<&T> {
        match self.slots.get(self.slot(handle))? {
            Some((holder, value)) if *holder == handle => Some(value),
            _ if !self.displaced.is_empty() => self.displaced.get(&handle),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let slot = self.slot(handle);
        match self.slots.get_mut(slot)? {
            Some((holder, value)) if *holder == handle => Some(value),
            _ if !self.displaced.is_empty() => self.displaced.get_mut(&handle),
            _ => None,
        }
    }

    /// Adds a value. Its handle must have none yet.
    pub(crate) fn insert(&mut self, handle: Handle, value: T) {
        debug_assert!(self.get(handle).is_none(), "{handle} has a value");
        self.len += 1;
        if self.is_taken(handle) && 2 * self.len > self.slots.len() {
            self.grow();
        }
        self.put(handle, value);
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Option<T> {
        let slot = self.slot(handle);
        let place = self.slots.get_mut(slot)?;
        let value = match place.take_if(|(holder, _)| *holder == handle) {
            Some((_, value)) => value,
            None if self.displaced.is_empty() => return None,
            None => self.displaced.remove(&handle)?,
        };
        self.len -= 1;
        Some(value)
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        let Self { slots, displaced, .. } = std::mem::take(self);
        slots.into_iter().flatten().map(|(_, value)| value).chain(displaced.into_values())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        let in_slots = self.slots.iter().flatten().map(|(handle, value)| (*handle, value));
        in_slots.chain(self.displaced.iter().map(|(handle, value)| (*handle, value)))
    }

    fn slot(&self, handle: Handle) -> usize {
        handle.0 as usize & self.slots.len().wrapping_sub(1)
    }

    /// Whether a handle that has no value finds no slot.
    fn is_taken(&self, handle: Handle) -> bool {
        self.slots.get(self.slot(handle)).is_none_or(Option::is_some)
    }

    fn put(&mut self, handle: Handle, value: T) {
        let slot = self.slot(handle);
        match self.slots.get_mut(slot) {
            Some(free @ None) => *free = Some((handle, value)),
            _ => drop(self.displaced.insert(handle, value)),
        }
    }

    /// Doubles the number of slots.
    fn grow(&mut self) {
        let twice = FEWEST.max(2 * self.slots.len());
        let fewer = std::mem::replace(&mut self.slots, std::iter::repeat_with(|| None).take(twice).collect());
        let displaced = std::mem::take(&mut self.displaced);
        fewer.into_iter().flatten().chain(displaced).for_each(|(handle, value)| self.put(handle, value));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Insert(u32),
        Remove(u32),
    }

    /// Handles of calls, which follow each other, and some that share the low bits.
    fn handle() -> impl Strategy<Value = u32> {
        prop_oneof![1000..1100u32, (0..8u32).prop_map(|high| high << 16 | 1000), Just(u32::MAX)]
    }

    proptest! {
        #[test]
        fn the_map_does_what_a_tree_does(
            steps in proptest::collection::vec(
                prop_oneof![handle().prop_map(Step::Insert), handle().prop_map(Step::Remove)],
                0..400,
            ),
        ) {
            let (mut slots, mut model) = (Slots::default(), BTreeMap::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(handle) if model.contains_key(&handle) => {
                        *slots.get_mut(Handle(handle)).unwrap() = number;
                        model.insert(handle, number);
                    }
                    Step::Insert(handle) => {
                        slots.insert(Handle(handle), number);
                        model.insert(handle, number);
                    }
                    Step::Remove(handle) => prop_assert_eq!(slots.remove(Handle(handle)), model.remove(&handle)),
                }
                prop_assert_eq!(slots.len(), model.len());
                let all: BTreeMap<_, _> = slots.iter().map(|(handle, value)| (handle.0, *value)).collect();
                prop_assert_eq!(&all, &model);
                for handle in [1000, 1050, 1 << 16 | 1000, u32::MAX, 5] {
                    prop_assert_eq!(slots.get(Handle(handle)), model.get(&handle));
                    prop_assert_eq!(slots.get_mut(Handle(handle)), model.get_mut(&handle));
                }
                prop_assert!(slots.slots.len() <= FEWEST.max(4 * 108), "{} slots", slots.slots.len());
            }
            prop_assert_eq!(slots.drain().count(), model.len());
            prop_assert_eq!(slots.len(), 0);
        }
    }

    #[test]
    fn calls_that_follow_each_other_displace_nothing() {
        let mut slots = Slots::default();
        slots.insert(Handle(1000), ());
        for call in 1001..100_000 {
            slots.insert(Handle(call), ());
            if call > 1100 {
                assert_eq!(slots.remove(Handle(call - 100)), Some(()));
            }
            assert!(slots.displaced.len() <= 1, "only the one whose slot the oldest handle holds");
        }
        assert!(slots.slots.len() <= 256, "{} slots for 100 values", slots.slots.len());
    }
}
