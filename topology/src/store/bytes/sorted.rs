//! A small ordered map for what comes in the order of time.

use std::{collections::VecDeque, ops::RangeInclusive};

/// Entries in the order of their keys.
///
/// **Law.** Adding at the end and removing at the front cost nothing that grows; elsewhere they move the entries on the shorter side. One
/// allocation holds all, so that many such maps of a few entries each are cheap: what windows of one key are.
#[derive(Debug)]
pub(crate) struct Sorted<K, V>(VecDeque<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: Ord, V> Sorted<K, V> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.place(key).ok().map(|at| &self.0[at].1)
    }

    /// Returns what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.place(key).ok()?;
        self.0.remove(at).map(|(_, value)| value)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The entries from one key to another; none if they are crossed.
    pub fn range(&self, keys: RangeInclusive<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let from = self.0.partition_point(|(key, _)| key < keys.start());
        let to = self.0.partition_point(|(key, _)| key <= keys.end()).max(from);
        self.0.range(from..to).map(|(key, value)| (key, value))
    }

    fn place(&self, key: &K) -> Result<usize, usize> {
        match (self.0.front(), self.0.back()) {
            (_, Some((last, _))) if key > last => Err(self.0.len()),
            (Some((first, _)), _) if key == first => Ok(0),
            _ => self.0.binary_search_by(|(other, _)| other.cmp(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Sorted;

    proptest! {
        #[test]
        fn it_is_a_map_in_order(steps in prop::collection::vec((0..3, 0..20i64, 0..20i64), 0..200)) {
            let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
            for (number, (kind, key, other)) in steps.into_iter().enumerate() {
                match kind {
                    0 => prop_assert_eq!(sorted.insert(key, number), model.insert(key, number)),
                    1 => prop_assert_eq!(sorted.remove(&key), model.remove(&key)),
                    _ if key <= other => prop_assert!(sorted.range(key..=other).rev().eq(model.range(key..=other).rev())),
                    _ => prop_assert_eq!(sorted.range(key..=other).count(), 0),
                }
                prop_assert_eq!(sorted.get(&key), model.get(&key));
                prop_assert_eq!(sorted.is_empty(), model.is_empty());
                prop_assert!(sorted.values().eq(model.values()));
            }
        }
    }
}
