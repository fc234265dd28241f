//! A sorted map whose copies share what they have in common.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Entries of one chunk: small enough to copy for a change, large enough that the list of chunks
/// stays short (10,000 topics are about 200 chunks).
const CHUNK_MAX: usize = 64;

/// A sorted map. A copy costs a list of chunks; a change to a copy costs one chunk more.
///
/// Images follow one another all the time and differ in a row or two: with a plain map, creating
/// 10,000 topics would copy 50 million rows.
#[derive(Clone)]
pub struct SortedMap<K, V> {
    /// None is empty; keys ascend within and across.
    chunks: Vec<Arc<Vec<(K, V)>>>,
    len: usize,
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> SortedMap<K, V> {
    /// No entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk.binary_search_by(|(found, _)| found.borrow().cmp(key)).ok()?;
        Some(&chunk[at].1)
    }

    /// Whether there is an entry of this key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Sets the value of a key; returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.chunks.is_empty() {
            self.chunks.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return None;
        }
        let place = self.chunk_of(&key);
        let chunk = Arc::make_mut(&mut self.chunks[place]);
        match chunk.binary_search_by(|(found, _)| found.cmp(&key)) {
            Ok(at) => Some(std::mem::replace(&mut chunk[at].1, value)),
            Err(at) => {
                chunk.insert(at, (key, value));
                self.len += 1;
                if chunk.len() > CHUNK_MAX {
                    // In ascending order chunks would stay half empty; so cut near the end.
                    let cut = if at == CHUNK_MAX { CHUNK_MAX } else { CHUNK_MAX / 2 };
                    let rest = chunk.split_off(cut);
                    self.chunks.insert(place + 1, Arc::new(rest));
                }
                None
            }
        }
    }

    /// Removes a key; returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.chunk_of(key);
        let at = self.chunks.get(place)?.binary_search_by(|(found, _)| found.borrow().cmp(key));
        let chunk = Arc::make_mut(&mut self.chunks[place]);
        let (_, value) = chunk.remove(at.ok()?);
        self.len -= 1;
        self.shrink(place);
        Some(value)
    }

    /// Removes an empty chunk, and joins a small one with the next.
    fn shrink(&mut self, place: usize) {
        if self.chunks[place].is_empty() {
            self.chunks.remove(place);
            return;
        }
        let Some(next) = self.chunks.get(place + 1) else { return };
        if self.chunks[place].len() + next.len() <= CHUNK_MAX / 2 {
            let next = self.chunks.remove(place + 1);
            Arc::make_mut(&mut self.chunks[place]).extend(next.iter().cloned());
        }
    }

    /// The chunk that holds the key, if any does.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let behind = self.chunks.partition_point(|chunk| chunk[0].0.borrow() <= key);
        behind.saturating_sub(1)
    }
}

impl<K, V> SortedMap<K, V> {
    /// All entries in order of key.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { chunks: self.chunks.iter(), chunk: [].iter() }
    }

    /// All keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// All values in order of key.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }
}

/// The entries of a [`SortedMap`] in order of key.
#[derive(Debug)]
pub struct Iter<'a, K, V> {
    chunks: std::slice::Iter<'a, Arc<Vec<(K, V)>>>,
    chunk: std::slice::Iter<'a, (K, V)>,
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), chunk: self.chunk.clone() }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.chunk.next() {
                return Some((key, value));
            }
            self.chunk = self.chunks.next()?.iter();
        }
    }
}

impl<'a, K, V> IntoIterator for &'a SortedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SortedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for SortedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SortedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain map; and a copy taken before stays what it was.
        #[test]
        fn behaves_like_a_map_and_copies_stand_still(
            steps in prop::collection::vec((any::<bool>(), 0..400_u32, any::<u8>()), 1..1200),
            copied_at in 0..1200_usize,
        ) {
            let (mut map, mut model) = (SortedMap::new(), BTreeMap::new());
            let mut copy = None;
            for (at, (is_removal, key, value)) in steps.into_iter().enumerate() {
                if at == copied_at {
                    copy = Some((map.clone(), model.clone()));
                }
                if is_removal {
                    prop_assert_eq!(map.remove(&key), model.remove(&key));
                } else {
                    prop_assert_eq!(map.insert(key, value), model.insert(key, value));
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.get(&key), model.get(&key));
            }
            prop_assert!(map.iter().eq(model.iter()));
            if let Some((map, model)) = copy {
                prop_assert!(map.iter().eq(model.iter()));
            }
        }
    }

    #[test]
    fn a_change_copies_one_chunk_and_no_more() {
        let before: SortedMap<u32, u32> = (0..10_000).map(|key| (key, key)).collect();
        let mut after = before.clone();
        after.insert(5_000, 0);
        let shared = before
            .chunks
            .iter()
            .filter(|chunk| after.chunks.iter().any(|other| Arc::ptr_eq(chunk, other)));
        assert_eq!(shared.count(), before.chunks.len() - 1);
        assert!(before.chunks.len() < 200, "{}", before.chunks.len());
    }
}
