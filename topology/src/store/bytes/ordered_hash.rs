//! A hash map that learns to be ordered when somebody asks for a range.

use std::{collections::BTreeSet, ops::Bound, sync::OnceLock};

use bytes::Bytes;
use hashbrown::{HashMap, hash_map::Entry};

/// A range of keys, unsigned lexicographic.
pub(crate) type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Whether no key can be in the range. (`BTreeSet::range` panics on such ranges.)
pub(crate) fn is_empty((from, to): Range<'_>) -> bool {
    use Bound::{Excluded, Included, Unbounded};
    match (from, to) {
        (Unbounded, _) | (_, Unbounded) => false,
        (Included(from), Included(to)) => from > to,
        (Included(from) | Excluded(from), Included(to) | Excluded(to)) => from >= to,
    }
}

/// A map by bytes.
///
/// **Law.** A map that is never scanned costs what a hash map costs. The first scan sorts the keys, and from then on they stay sorted:
/// updates of rows that exist cost nothing more, new and deleted rows pay for the order.
#[derive(Debug)]
pub(crate) struct OrderedHash<V> {
    rows: HashMap<Bytes, V>,
    order: OnceLock<BTreeSet<Bytes>>,
}

impl<V> Default for OrderedHash<V> {
    fn default() -> Self {
        Self { rows: HashMap::new(), order: OnceLock::new() }
    }
}

impl<V> OrderedHash<V> {
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        self.rows.get(key)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn insert(&mut self, key: Bytes, value: V) -> Option<V> {
        match self.rows.entry(key) {
            Entry::Occupied(mut row) => Some(row.insert(value)),
            Entry::Vacant(row) => {
                if let Some(order) = self.order.get_mut() {
                    order.insert(row.key().clone());
                }
                row.insert(value);
                None
            }
        }
    }

    /// The same; the key is copied only if it is new.
    pub fn insert_as(&mut self, key: &[u8], value: V) {
        match self.rows.get_mut(key) {
            Some(row) => *row = value,
            None => drop(self.insert(Bytes::copy_from_slice(key), value)),
        }
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        let removed = self.rows.remove(key)?;
        if let Some(order) = self.order.get_mut() {
            order.remove(key);
        }
        Some(removed)
    }

    /// Removes the keys in `[from, to)`; no `to` means all that follow. It costs what it removes, once the keys are sorted.
    pub fn remove_range(&mut self, from: &[u8], to: Option<&[u8]>) {
        if self.rows.is_empty() || to.is_some_and(|to| to <= from) {
            return;
        }
        let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        let gone: Vec<Bytes> = self.order().range::<[u8], _>(range).cloned().collect();
        gone.iter().for_each(|key| drop(self.remove(key)));
    }

    /// The rows in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &V)> {
        self.rows.iter()
    }

    /// The rows of the range, ascending or descending.
    pub fn range<'a>(&'a self, range: Range<'_>, reverse: bool) -> Box<dyn Iterator<Item = (&'a Bytes, &'a V)> + 'a> {
        if self.rows.is_empty() || is_empty(range) {
            return Box::new(std::iter::empty());
        }
        let keys = self.order().range::<[u8], _>(range);
        let row = |key: &'a Bytes| self.rows.get_key_value(key).expect("the order holds the keys of the rows");
        if reverse { Box::new(keys.rev().map(row)) } else { Box::new(keys.map(row)) }
    }

    /// The first row of the range, or the last.
    pub fn first(&self, range: Range<'_>, reverse: bool) -> Option<(&Bytes, &V)> {
        if self.rows.is_empty() || is_empty(range) {
            return None;
        }
        let mut keys = self.order().range::<[u8], _>(range);
        self.rows.get_key_value(if reverse { keys.next_back() } else { keys.next() }?)
    }

    fn order(&self) -> &BTreeSet<Bytes> {
        self.order.get_or_init(|| self.rows.keys().cloned().collect())
    }
}

impl<V> IntoIterator for OrderedHash<V> {
    type Item = (Bytes, V);
    type IntoIter = hashbrown::hash_map::IntoIter<Bytes, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

/// Whether the key is in `[from, to)`.
pub(crate) fn within(key: &[u8], from: &[u8], to: Option<&[u8]>) -> bool {
    key >= from && to.is_none_or(|to| key < to)
}
