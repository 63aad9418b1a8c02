//! What there is of each call, by its id: a ring of those that were made last, and a map of those that outlived them.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Ids that are skipped at most before the ring begins anew.
const LARGEST_GAP: u64 = 64;

/// The ring may have so many more places than calls.
const MOST_EMPTY: usize = 256;

/// Hashes ids, which are distinct numbers already.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    #[inline]
    fn write_u64(&mut self, id: u64) {
        // Fibonacci hashing: the table looks at the upper bits and at the lower ones.
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// What there is of each of some calls, by its id.
pub type ById<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;

/// What there is of each call of one side, whose ids ascend by two.
///
/// Most calls end soon after they were made, so that they stand in a ring where each has its place. Those that last are
/// moved to a map, and the ring stays short.
pub struct CallTable<T> {
    /// The id of the first place.
    first: u64,
    ring: VecDeque<Option<T>>,
    /// How many places are taken.
    taken: usize,
    lasting: ById<T>,
}

impl<T> Default for CallTable<T> {
    fn default() -> Self {
        CallTable { first: 0, ring: VecDeque::new(), taken: 0, lasting: ById::default() }
    }
}

impl<T> CallTable<T> {
    #[inline]
    fn place(&self, id: u64) -> Option<usize> {
        let distance = id.checked_sub(self.first)?;
        let place = usize::try_from(distance / 2).ok()?;
        (distance.is_multiple_of(2) && place < self.ring.len()).then_some(place)
    }

    /// How many calls there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.taken + self.lasting.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a call, whose id is not here.
    #[inline]
    pub fn insert(&mut self, id: u64, call: T) {
        if self.ring.is_empty() {
            self.first = id;
        }
        let distance = id.wrapping_sub(self.first);
        let place = distance / 2;
        let end = self.ring.len() as u64;
        let fits = id >= self.first && distance.is_multiple_of(2) && place <= end + LARGEST_GAP;
        // An old id that is not in the ring any more is in the map, or is to be.
        if !fits {
            return self.insert_apart(id, call);
        }
        while (self.ring.len() as u64) < place {
            self.ring.push_back(None);
        }
        if place < end {
            self.ring[place as usize] = Some(call);
            self.taken += 1;
            return;
        }
        self.ring.push_back(Some(call));
        self.taken += 1;
        if self.ring.len() > 2 * self.taken + MOST_EMPTY {
            self.shorten();
        }
    }

    #[cold]
    fn insert_apart(&mut self, id: u64, call: T) {
        if id > self.first && (id - self.first).is_multiple_of(2) {
            self.move_out(self.ring.len());
            self.first = id;
            self.ring.push_back(Some(call));
            self.taken += 1;
        } else {
            self.lasting.insert(id, call);
        }
    }

    /// Moves calls that last out of the ring, until most of its places are taken or it has few.
    #[cold]
    fn shorten(&mut self) {
        while self.ring.len() > self.taken + MOST_EMPTY / 2 && !self.ring.is_empty() {
            self.move_out(1);
        }
    }

    fn move_out(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(Some(call)) = self.ring.pop_front() {
                self.lasting.insert(self.first, call);
                self.taken -= 1;
            }
            self.first += 2;
        }
    }

    /// Whether there is this call.
    #[inline]
    pub fn contains(&self, id: u64) -> bool {
        self.get(id).is_some()
    }

    /// The place of a call that stands in the ring; one that lasts may be older than the ring, or beside its places.
    #[inline]
    fn taken_place(&self, id: u64) -> Option<usize> {
        self.place(id).filter(|&place| self.ring[place].is_some())
    }

    /// A call.
    #[inline]
    pub fn get(&self, id: u64) -> Option<&T> {
        match self.taken_place(id) {
            Some(place) => self.ring[place].as_ref(),
            None if self.lasting.is_empty() => None,
            None => self.lasting.get(&id),
        }
    }

    /// A call, to be changed.
    #[inline]
    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        match self.taken_place(id) {
            Some(place) => self.ring[place].as_mut(),
            None if self.lasting.is_empty() => None,
            None => self.lasting.get_mut(&id),
        }
    }

    /// Takes a call out.
    #[inline]
    pub fn remove(&mut self, id: u64) -> Option<T> {
        let Some(place) = self.taken_place(id) else {
            return if self.lasting.is_empty() { None } else { self.lasting.remove(&id) };
        };
        let call = self.ring[place].take()?;
        self.taken -= 1;
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.first += 2;
        }
        Some(call)
    }

    /// The ids of all calls, from the first.
    pub fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.lasting.keys().copied().collect();
        let taken = self.ring.iter().enumerate().filter(|(_, call)| call.is_some());
        ids.extend(taken.map(|(place, _)| self.first + 2 * place as u64));
        // A call that is made again may stand in the ring behind later ones in the map.
        ids.sort_unstable();
        ids
    }

    /// Takes all calls out, from the first.
    pub fn drain(&mut self) -> Vec<(u64, T)> {
        self.ids().into_iter().filter_map(|id| Some((id, self.remove(id)?))).collect()
    }

    /// All calls, in no order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        let first = self.first;
        let ring = self.ring.iter_mut().enumerate();
        let ring = ring.filter_map(move |(place, call)| call.as_mut().map(|call| (first + 2 * place as u64, call)));
        self.lasting.iter_mut().map(|(id, call)| (*id, call)).chain(ring)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::btree_map::{BTreeMap, Entry};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_map(steps in prop::collection::vec((0u64..4, 0u64..400, 1u64..6), 1..400)) {
            let (mut table, mut map, mut next) = (CallTable::default(), BTreeMap::new(), 1u64);
            for (what, pick, step) in steps {
                match what {
                    // Ids ascend, with gaps small and large.
                    0 | 1 => {
                        next += 2 * if pick == 0 { 1 << 40 } else { step };
                        table.insert(next, pick);
                        map.insert(next, pick);
                    }
                    2 if !map.is_empty() => {
                        let id = *map.keys().nth(pick as usize % map.len()).unwrap();
                        prop_assert_eq!(table.remove(id), map.remove(&id));
                        prop_assert_eq!(table.remove(id), None);
                    }
                    // One that ended comes back, as a call that is made again.
                    _ => {
                        let id = (next.saturating_sub(2 * pick)) | 1;
                        if let Entry::Vacant(place) = map.entry(id) {
                            table.insert(id, step);
                            place.insert(step);
                        }
                    }
                }
                prop_assert_eq!(table.len(), map.len());
                prop_assert_eq!(table.ids(), map.keys().copied().collect::<Vec<_>>());
                for (id, call) in &map {
                    prop_assert_eq!(table.get(*id), Some(call));
                }
            }
            prop_assert!(table.ring.len() <= 2 * table.taken + 2 * MOST_EMPTY);
            let mut seen: Vec<_> = table.iter_mut().map(|(id, call)| (id, *call)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, map.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_call_that_lasts_does_not_keep_the_others_places() {
        let mut table = CallTable::default();
        table.insert(1, "subscription");
        for id in (3..2_000_001).step_by(2) {
            table.insert(id, "call");
            table.remove(id);
        }
        assert!(table.ring.len() <= 2 * MOST_EMPTY);
        assert_eq!((table.get(1), table.len()), (Some(&"subscription"), 1));
    }
}
