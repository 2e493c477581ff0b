//! The rows that are read again and again.

use bytes::Bytes;
use hashbrown::HashMap;

/// What a row costs beyond its bytes.
const OVERHEAD: usize = 96;

/// Clean rows in memory, absent ones too.
///
/// **Law.** It holds at most as many bytes as its caller allows at the time. Rows live in two generations: a hit or a new row goes to the
/// young one, and when that holds half of the limit, it becomes the old one and what was old is forgotten.
#[derive(Debug, Default)]
pub(super) struct ObjectCache {
    young: HashMap<Bytes, Option<Bytes>>,
    old: HashMap<Bytes, Option<Bytes>>,
    young_bytes: usize,
}

impl ObjectCache {
    pub fn get(&mut self, key: &[u8], limit: usize) -> Option<Option<Bytes>> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert_young(key, value.clone(), limit);
        Some(value)
    }

    pub fn insert(&mut self, key: Bytes, value: Option<Bytes>, limit: usize) {
        self.old.remove(&key);
        self.insert_young(key, value, limit);
    }

    fn insert_young(&mut self, key: Bytes, value: Option<Bytes>, limit: usize) {
        let size = key.len() + value.as_ref().map_or(0, Bytes::len) + OVERHEAD;
        if self.young_bytes + size > limit / 2 {
            if size > limit / 2 {
                self.young.remove(&key);
                return;
            }
            self.old = std::mem::take(&mut self.young);
            self.old.remove(&key);
            self.young_bytes = 0;
        }
        self.young_bytes += size;
        self.young.insert(key, value);
    }
}
