//! Key-value stores by bytes.

use std::ops::Bound;

use bytes::Bytes;

use super::{
    super::{StoreEnv, StoreType},
    LruMap, Map, RocksHandle, Rows, StoreError,
    ordered_hash::Range,
};

/// A key-value store by bytes, ordered by unsigned lexicographic key.
///
/// **Law.** In memory and on disk it answers the same. The bounded kind forgets rows; [`put`](Self::put) names the row that it forgot, so
/// that the layer above can write a tombstone to the changelog.
pub enum KeyValueBytes {
    /// As many rows as there are.
    Map(Map),
    /// The rows that were used last, in memory.
    Lru(LruMap),
}

impl KeyValueBytes {
    /// In memory.
    pub fn memory() -> Self {
        Self::Map(Map::memory())
    }

    /// On disk, if that is asked for and there is a disk.
    pub fn open(env: &StoreEnv<'_>, store_type: StoreType) -> Result<Self, StoreError> {
        Ok(Self::Map(Map::open(env, store_type)?))
    }

    /// In memory, at most so many rows.
    pub fn lru(max_entries: usize) -> Self {
        Self::Lru(LruMap::new(max_entries))
    }

    /// The map whose epochs are to be committed, if it is on disk.
    pub fn rocks(&self) -> Option<RocksHandle> {
        match self {
            Self::Map(map) => map.rocks(),
            Self::Lru(_) => None,
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self {
            Self::Map(map) => map.get(key),
            Self::Lru(map) => Ok(map.get(key)),
        }
    }

    /// What `read` makes of the value of a key, which is not copied for it.
    pub fn with<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R, StoreError> {
        match self {
            Self::Map(map) => map.with(key, read),
            Self::Lru(map) => Ok(read(map.get(key).as_deref())),
        }
    }

    /// The same as [`put`](Self::put), from bytes that are copied.
    pub fn put_copies(&mut self, key: &[u8], value: Option<&[u8]>) -> Option<Bytes> {
        match self {
            Self::Map(map) => {
                map.put_copies(key, value);
                None
            }
            Self::Lru(map) => map.put(Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice)),
        }
    }

    /// Writes or, with `None`, deletes a row. The answer is the key of the row that was forgotten for it, which may be this one.
    pub fn put(&mut self, key: Bytes, value: Option<Bytes>) -> Option<Bytes> {
        match self {
            Self::Map(map) => {
                map.put(key, value);
                None
            }
            Self::Lru(map) => map.put(key, value),
        }
    }

    /// Writes the row unless the key has one, and says what was there and which key was forgotten.
    pub fn put_if_absent(&mut self, key: Bytes, value: Option<Bytes>) -> Result<(Option<Bytes>, Option<Bytes>), StoreError> {
        let before = self.get(&key)?;
        let forgotten = if before.is_none() && value.is_some() { self.put(key, value) } else { None };
        Ok((before, forgotten))
    }

    /// Deletes a row and says what it was.
    pub fn delete(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let before = self.get(key)?;
        if before.is_some() {
            self.put(Bytes::copy_from_slice(key), None);
        }
        Ok(before)
    }

    /// The rows from one key to another, both included, ascending or descending; `None` is no bound. Nothing if `from` is above `to`.
    pub fn range(&self, from: Option<&[u8]>, to: Option<&[u8]>, reverse: bool) -> Rows<'_> {
        self.scan((from.map_or(Bound::Unbounded, Bound::Included), to.map_or(Bound::Unbounded, Bound::Included)), reverse)
    }

    /// The rows whose key is at least `prefix` and below its successor: the prefix plus one as a number of the same length. If the prefix
    /// ends with `0xff`, a few keys that do not begin with it are below its successor, as in Kafka Streams.
    pub fn prefix_scan(&self, prefix: &[u8]) -> Rows<'_> {
        let successor = successor(prefix);
        self.scan((Bound::Included(prefix), successor.as_deref().map_or(Bound::Unbounded, Bound::Excluded)), false)
    }

    /// All rows, ascending or descending.
    pub fn all(&self, reverse: bool) -> Rows<'_> {
        self.range(None, None, reverse)
    }

    /// How many rows there are: exact in memory, RocksDB's guess on disk.
    pub fn approximate_num_entries(&self) -> u64 {
        match self {
            Self::Map(map) => map.approximate_count(),
            Self::Lru(map) => map.len() as u64,
        }
    }

    fn scan(&self, range: Range<'_>, reverse: bool) -> Rows<'_> {
        match self {
            Self::Map(map) => map.range(range, reverse),
            Self::Lru(map) => Box::new(map.range(range, reverse).into_iter().map(Ok)),
        }
    }
}

/// The bytes plus one, as a number of the same length; `None` if there is none.
fn successor(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut next = bytes.to_vec();
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(next);
        }
    }
    None
}
