//! Session stores by bytes.

mod layout;
mod memory;
mod segmented;

use bytes::Bytes;

use memory::MemorySessions;
use segmented::SegmentedSessions;

use super::{
    super::{StoreEnv, StoreType},
    Map, Put, RocksHandle, SessionKey, StoreError,
};

/// Sessions of a scan.
pub type SessionRows<'a> = Box<dyn Iterator<Item = Result<(SessionKey, Bytes), StoreError>> + 'a>;

/// In which order a store on disk keeps and hands out its sessions. In memory the order is always end, then key, then start with the
/// latest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionOrder {
    /// Segment by segment; in a segment by key, then end, then start.
    #[default]
    Key,
    /// The same, and sessions are also found by their end: for sessions that are emitted when they close.
    TimeIndexed,
}

/// How a session store is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// How long sessions are kept after their end, in milliseconds of stream time.
    pub retention: i64,
    /// How long a segment on disk is; at least 1. [`default_segment_interval`](super::default_segment_interval) in Kafka Streams.
    pub segment_interval: i64,
    /// The order on disk.
    pub order: SessionOrder,
}

/// A session store by bytes.
///
/// **Law.** Stream time is the latest session end that was put or, on disk, removed. A session is hidden once its end is not after stream
/// time minus retention, except that [`find_by_end`](Self::find_by_end) on disk finds it until its segment expires. In memory a put of a
/// hidden session is dropped; on disk a put is dropped only if its segment has expired, and otherwise stored and not seen.
pub struct SessionBytes(Kind);

enum Kind {
    Memory(MemorySessions),
    Segmented(SegmentedSessions),
}

impl SessionBytes {
    /// In memory or on disk.
    pub fn open(env: &StoreEnv<'_>, store_type: StoreType, options: SessionOptions) -> Result<Self, StoreError> {
        match store_type {
            StoreType::InMemory => Ok(Self::memory(options)),
            StoreType::RocksDb => Self::segmented(Map::open(env, store_type)?, options),
        }
    }

    /// Answers as Kafka Streams' store in memory.
    pub fn memory(options: SessionOptions) -> Self {
        Self(Kind::Memory(MemorySessions::new(options.retention)))
    }

    /// Answers as Kafka Streams' stores on RocksDB, wherever the map is.
    pub fn segmented(map: Map, options: SessionOptions) -> Result<Self, StoreError> {
        Ok(Self(Kind::Segmented(SegmentedSessions::new(map, options)?)))
    }

    /// The map whose epochs are to be committed, if it is on disk.
    pub fn rocks(&self) -> Option<RocksHandle> {
        match &self.0 {
            Kind::Memory(_) => None,
            Kind::Segmented(sessions) => sessions.rocks(),
        }
    }

    /// The latest session end that moved stream time; −1 before the first.
    pub fn observed_stream_time(&self) -> i64 {
        match &self.0 {
            Kind::Memory(sessions) => sessions.observed(),
            Kind::Segmented(sessions) => sessions.observed(),
        }
    }

    /// Writes or, with `None`, deletes a session.
    pub fn put(&mut self, session: &SessionKey, value: Option<Bytes>) -> Put {
        match &mut self.0 {
            Kind::Memory(sessions) => sessions.put(session, value),
            Kind::Segmented(sessions) => sessions.put(session, value),
        }
    }

    /// Deletes a session; never dropped.
    pub fn remove(&mut self, session: &SessionKey) {
        match &mut self.0 {
            Kind::Memory(sessions) => sessions.remove(session),
            Kind::Segmented(sessions) => sessions.remove(session),
        }
    }

    /// Applies a record of the changelog; its key is as [`session_to_bytes`](super::session_to_bytes) writes it.
    pub fn restore(&mut self, key: &Bytes, value: Option<Bytes>) -> Result<(), StoreError> {
        let session = super::session_from_bytes(key)?;
        self.put(&session, value);
        Ok(())
    }

    /// The value of one session.
    pub fn fetch_session(&self, key: &[u8], start: i64, end: i64) -> Result<Option<Bytes>, StoreError> {
        match &self.0 {
            Kind::Memory(sessions) => Ok(sessions.fetch(key, start, end)),
            Kind::Segmented(sessions) => sessions.fetch(key, start, end),
        }
    }

    /// The sessions of a key.
    pub fn fetch(&self, key: &[u8], reverse: bool) -> SessionRows<'_> {
        self.find(key, 0, i64::MAX, reverse)
    }

    /// The sessions of the keys from one to another, both included; `None` is no bound.
    pub fn fetch_keys(&self, key_from: Option<&[u8]>, key_to: Option<&[u8]>, reverse: bool) -> SessionRows<'_> {
        self.find_keys(key_from, key_to, 0, i64::MAX, reverse)
    }

    /// The sessions of a key that end at `earliest_end` or later and start at `latest_start` or earlier.
    pub fn find(&self, key: &[u8], earliest_end: i64, latest_start: i64, reverse: bool) -> SessionRows<'_> {
        match &self.0 {
            Kind::Memory(sessions) => sessions.find(key, earliest_end, latest_start, reverse),
            Kind::Segmented(sessions) => sessions.find(key, earliest_end, latest_start, reverse),
        }
    }

    /// The same for the keys from one to another, both included; `None` is no bound.
    pub fn find_keys(
        &self,
        key_from: Option<&[u8]>,
        key_to: Option<&[u8]>,
        earliest_end: i64,
        latest_start: i64,
        reverse: bool,
    ) -> SessionRows<'_> {
        match &self.0 {
            Kind::Memory(sessions) => sessions.find_keys(key_from, key_to, earliest_end, latest_start, reverse),
            Kind::Segmented(sessions) => sessions.find_keys(key_from, key_to, earliest_end, latest_start, reverse),
        }
    }

    /// The sessions of all keys that end from `from` to `to`, both included, by end. A store on disk must be in an order of time.
    pub fn find_by_end(&self, from: i64, to: i64) -> Result<SessionRows<'_>, StoreError> {
        match &self.0 {
            Kind::Memory(sessions) => Ok(sessions.find_by_end(from, to)),
            Kind::Segmented(sessions) => sessions.find_by_end(from, to),
        }
    }
}
