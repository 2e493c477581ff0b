//! Window stores by bytes.

mod layout;
mod memory;
mod segmented;

use bytes::Bytes;

use memory::MemoryWindows;
use segmented::SegmentedWindows;

use super::{
    super::{StoreEnv, StoreType},
    Map, Put, RocksHandle, StoreError, WindowKey,
};

/// Windows of a scan.
pub type WindowRows<'a> = Box<dyn Iterator<Item = Result<(WindowKey, Bytes), StoreError>> + 'a>;

/// In which order a store on disk keeps and hands out its windows. In memory the order is always time, then key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowOrder {
    /// Segment by segment; in a segment by key, then time.
    #[default]
    Key,
    /// By time, then key: for windows that are emitted when they close.
    Time,
    /// By time, then key, and scans by key are quick; scans of several keys go by key, then time, in each segment.
    TimeIndexed,
}

/// How a window store is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowOptions {
    /// How long windows are kept after their start, in milliseconds of stream time.
    pub retention: i64,
    /// How long a segment on disk is; at least 1. [`default_segment_interval`] unless the user says otherwise.
    pub segment_interval: i64,
    /// Whether a window may have several values for a key, each put adding one.
    pub retain_duplicates: bool,
    /// The order on disk.
    pub order: WindowOrder,
}

/// The segment interval of window and session stores.
pub fn default_segment_interval(retention: i64) -> i64 {
    (retention / 2).max(60_000)
}

/// A window store by bytes.
///
/// **Law.** Stream time is the latest window start that was put. A window is hidden from every read once its start is not after stream time
/// minus retention; in the time orders on disk, once it is before. In memory a put of a hidden window is dropped; on disk a put is dropped
/// only if its segment has expired, and otherwise stored and not seen.
///
/// A store that retains duplicates gives each put the next number; a put of null does nothing (in memory it moves stream time), and
/// [`fetch`](Self::fetch) finds nothing in memory, and on disk only the last put.
pub struct WindowBytes(Kind);

enum Kind {
    Memory(MemoryWindows),
    Segmented(SegmentedWindows),
}

impl WindowBytes {
    /// In memory or on disk.
    pub fn open(env: &StoreEnv<'_>, store_type: StoreType, options: WindowOptions) -> Result<Self, StoreError> {
        match store_type {
            StoreType::InMemory => Ok(Self::memory(options)),
            StoreType::RocksDb => Self::segmented(Map::open(env, store_type)?, options),
        }
    }

    /// Answers as Kafka Streams' store in memory.
    pub fn memory(options: WindowOptions) -> Self {
        Self(Kind::Memory(MemoryWindows::new(options)))
    }

    /// Answers as Kafka Streams' stores on RocksDB, wherever the map is.
    pub fn segmented(map: Map, options: WindowOptions) -> Result<Self, StoreError> {
        Ok(Self(Kind::Segmented(SegmentedWindows::new(map, options)?)))
    }

    /// The map whose epochs are to be committed, if it is on disk.
    pub fn rocks(&self) -> Option<RocksHandle> {
        match &self.0 {
            Kind::Memory(_) => None,
            Kind::Segmented(windows) => windows.rocks(),
        }
    }

    /// The latest window start that was put; −1 before the first.
    pub fn observed_stream_time(&self) -> i64 {
        match &self.0 {
            Kind::Memory(windows) => windows.observed(),
            Kind::Segmented(windows) => windows.observed(),
        }
    }

    /// Writes or, with `None`, deletes the value of a key in the window that starts then.
    pub fn put(&mut self, key: Bytes, value: Option<Bytes>, start: i64) -> Put {
        match &mut self.0 {
            Kind::Memory(windows) => windows.put(key, value, start),
            Kind::Segmented(windows) => windows.put(&key, value, start),
        }
    }

    /// Applies a record of the changelog; its key is as [`window_to_bytes`](super::window_to_bytes) writes it.
    pub fn restore(&mut self, key: &Bytes, value: Option<Bytes>) -> Result<(), StoreError> {
        let (WindowKey { key, start }, seq) = super::window_from_bytes(key)?;
        match &mut self.0 {
            Kind::Memory(windows) => drop(windows.put(key, value, start)),
            Kind::Segmented(windows) => windows.restore(&key, start, seq, value),
        }
        Ok(())
    }

    /// The value of a key in the window that starts then.
    pub fn fetch(&self, key: &[u8], start: i64) -> Result<Option<Bytes>, StoreError> {
        match &self.0 {
            Kind::Memory(windows) => Ok(windows.fetch(key, start)),
            Kind::Segmented(windows) => windows.fetch(key, start),
        }
    }

    /// The windows of a key that start from `from` to `to`, both included, by time; descending if `reverse`.
    pub fn fetch_key(&self, key: &[u8], from: i64, to: i64, reverse: bool) -> WindowRows<'_> {
        match &self.0 {
            Kind::Memory(windows) => windows.fetch_key(key, from, to, reverse),
            Kind::Segmented(windows) => windows.fetch_key(key, from, to, reverse),
        }
    }

    /// The windows of the keys from `key_from` to `key_to` that start from `from` to `to`, all included; `None` is no bound. For one key it
    /// is [`fetch_key`](Self::fetch_key).
    pub fn fetch_keys(&self, key_from: Option<&[u8]>, key_to: Option<&[u8]>, from: i64, to: i64, reverse: bool) -> WindowRows<'_> {
        match &self.0 {
            Kind::Memory(windows) => windows.fetch_keys(key_from, key_to, from, to, reverse),
            Kind::Segmented(windows) => windows.fetch_keys(key_from, key_to, from, to, reverse),
        }
    }

    /// The windows of all keys that start from `from` to `to`, both included.
    pub fn fetch_all(&self, from: i64, to: i64, reverse: bool) -> WindowRows<'_> {
        match &self.0 {
            Kind::Memory(windows) => windows.fetch_keys(None, None, from, to, reverse),
            Kind::Segmented(windows) => windows.fetch_all(from, to, reverse),
        }
    }

    /// All windows.
    pub fn all(&self, reverse: bool) -> WindowRows<'_> {
        match &self.0 {
            Kind::Memory(windows) => windows.fetch_keys(None, None, i64::MIN, i64::MAX, reverse),
            Kind::Segmented(windows) => windows.all(reverse),
        }
    }
}
