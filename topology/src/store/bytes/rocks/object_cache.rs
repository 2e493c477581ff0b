//! The rows that are read again and again.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// What a row costs beyond its bytes: its pointer, its place in the table, its allocation.
const OVERHEAD: usize = 40;

/// Clean rows in memory, absent ones too.
///
/// **Law.** It holds at most as many bytes as its caller allows at the time. Rows live in two generations: a hit or a new row goes to the
/// young one, and when that holds half of the limit, it becomes the old one and what was old is forgotten.
#[derive(Debug, Default)]
pub(super) struct ObjectCache {
    young: HashTable<Row>,
    old: HashTable<Row>,
    young_bytes: usize,
    hasher: DefaultHashBuilder,
}

/// A key and what is known of it, in one allocation: many rows are small, and most of the memory would go to their bookkeeping.
#[derive(Debug)]
struct Row {
    bytes: Box<[u8]>,
    /// Where the value begins, with [`ABSENT`] set if there is none. Kafka's keys are shorter than 2 GiB.
    key: u32,
}

/// Set in [`Row::key`] of a row that is known to be absent.
const ABSENT: u32 = 1 << 31;

impl Row {
    fn new(key: &[u8], value: Option<&[u8]>) -> Self {
        let absent = if value.is_none() { ABSENT } else { 0 };
        Self { bytes: [key, value.unwrap_or_default()].concat().into(), key: key.len() as u32 | absent }
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..(self.key & !ABSENT) as usize]
    }

    fn value(&self) -> Option<&[u8]> {
        (self.key & ABSENT == 0).then(|| &self.bytes[self.key as usize..])
    }
}

impl ObjectCache {
    /// What is known of a key: nothing, that it is absent, or its value.
    pub fn get(&mut self, key: &[u8], limit: usize) -> Option<Option<&[u8]>> {
        let hash = self.hasher.hash_one(key);
        if let Ok(row) = self.old.find_entry(hash, |row| row.key() == key) {
            let (row, _) = row.remove();
            self.insert_young(hash, row, limit);
        }
        self.young.find(hash, |row| row.key() == key).map(Row::value)
    }

    /// Notes what is known of a key.
    pub fn insert(&mut self, key: &[u8], value: Option<&[u8]>, limit: usize) {
        let hash = self.hasher.hash_one(key);
        if let Ok(row) = self.old.find_entry(hash, |row| row.key() == key) {
            row.remove();
        }
        self.insert_young(hash, Row::new(key, value), limit);
    }

    fn insert_young(&mut self, hash: u64, row: Row, limit: usize) {
        let size = |row: &Row| row.bytes.len() + OVERHEAD;
        if let Ok(before) = self.young.find_entry(hash, |other| other.key() == row.key()) {
            self.young_bytes -= size(&before.remove().0);
        }
        if self.young_bytes + size(&row) > limit / 2 {
            if size(&row) > limit / 2 {
                return;
            }
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += size(&row);
        let hasher = &self.hasher;
        self.young.insert_unique(hash, row, |row| hasher.hash_one(row.key()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_is_known_and_the_rest_is_forgotten_within_the_limit() {
        const LIMIT: usize = 10_000;
        let mut cache = ObjectCache::default();
        for i in 0..10_000u32 {
            cache.insert(&i.to_be_bytes(), (i % 2 == 0).then_some(&[7; 8]), LIMIT);
            assert_eq!(cache.get(&0u32.to_be_bytes(), LIMIT), Some(Some(&[7u8; 8][..])), "used all the time");
        }
        assert_eq!(cache.get(&9_999u32.to_be_bytes(), LIMIT), Some(None), "known to be absent");
        assert_eq!(cache.get(&5_000u32.to_be_bytes(), LIMIT), None, "not used for long");
        let held: usize = cache.young.iter().chain(&cache.old).map(|row| row.bytes.len() + OVERHEAD).sum();
        assert!(held <= LIMIT, "{held} bytes");
        cache.insert(&9_999u32.to_be_bytes(), Some(b"new"), LIMIT);
        assert_eq!(cache.get(&9_999u32.to_be_bytes(), LIMIT), Some(Some(&b"new"[..])));
        cache.insert(b"large", Some(&[0; LIMIT]), LIMIT);
        assert_eq!(cache.get(b"large", LIMIT), None);
    }
}
