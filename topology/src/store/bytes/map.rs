//! An ordered map by bytes, in memory or on disk.

use bytes::Bytes;

use super::{
    super::{StoreEnv, StoreType},
    RocksHandle, StoreError,
    ordered_hash::{OrderedHash, Range},
};

/// Rows of a scan. It borrows its store, so nothing can change under it and nothing leaks when it is forgotten.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), StoreError>> + 'a>;

/// An ordered map by bytes. Both kinds answer the same; only [`approximate_count`](Self::approximate_count) is exact in memory alone.
pub enum Map {
    /// In memory, gone with the process.
    Memory(MemoryMap),
    /// On disk.
    Rocks(RocksHandle),
}

/// Rows in memory.
#[derive(Debug, Default)]
pub struct MemoryMap(OrderedHash<Bytes>);

impl Map {
    /// An empty map in memory.
    pub fn memory() -> Self {
        Self::Memory(MemoryMap::default())
    }

    /// On disk, if that is asked for and there is a disk.
    pub fn open(env: &StoreEnv<'_>, store_type: StoreType) -> Result<Self, StoreError> {
        match (store_type, env.rocks) {
            (StoreType::RocksDb, Some(state)) => Ok(Self::Rocks(state.store(env.name, env.partition)?)),
            _ => Ok(Self::memory()),
        }
    }

    /// The map whose epochs are to be committed, if it is on disk.
    pub fn rocks(&self) -> Option<RocksHandle> {
        match self {
            Self::Memory(_) => None,
            Self::Rocks(map) => Some(map.clone()),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self {
            Self::Memory(map) => Ok(map.0.get(key).cloned()),
            Self::Rocks(map) => map.get(key),
        }
    }

    /// What `read` makes of the value of a key, which is not copied for it.
    pub fn with<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R, StoreError> {
        match self {
            Self::Memory(map) => Ok(read(map.0.get(key).map(|value| &value[..]))),
            Self::Rocks(map) => map.with(key, read),
        }
    }

    /// The same as [`put`](Self::put), from bytes that are copied.
    pub fn put_copies(&mut self, key: &[u8], value: Option<&[u8]>) {
        let value = value.map(Bytes::copy_from_slice);
        match (self, value) {
            (Self::Memory(map), Some(value)) => map.0.insert_as(key, value),
            (Self::Memory(map), None) => drop(map.0.remove(key)),
            (Self::Rocks(map), value) => map.put_as(key, value),
        }
    }

    /// Writes or, with `None`, deletes a row.
    pub fn put(&mut self, key: Bytes, value: Option<Bytes>) {
        match (self, value) {
            (Self::Memory(map), Some(value)) => drop(map.0.insert(key, value)),
            (Self::Memory(map), None) => drop(map.0.remove(&key)),
            (Self::Rocks(map), value) => map.put(key, value),
        }
    }

    /// Deletes the keys in `[from, to)`; no `to` means all that follow.
    pub fn delete_range(&mut self, from: &[u8], to: Option<&[u8]>) {
        match self {
            Self::Memory(map) => map.0.remove_range(from, to),
            Self::Rocks(map) => map.delete_range(from, to),
        }
    }

    /// The rows of a range, ascending or descending.
    pub fn range(&self, range: Range<'_>, reverse: bool) -> Rows<'_> {
        match self {
            Self::Memory(map) => Box::new(map.0.range(range, reverse).map(|(key, value)| Ok((key.clone(), value.clone())))),
            Self::Rocks(map) => map.range(range, reverse),
        }
    }

    /// How many rows there are, roughly.
    pub fn approximate_count(&self) -> u64 {
        match self {
            Self::Memory(map) => map.0.len() as u64,
            Self::Rocks(map) => map.approximate_count(),
        }
    }
}
