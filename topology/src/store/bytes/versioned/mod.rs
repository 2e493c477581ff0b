//! Versioned key-value stores by bytes.

mod history;

use bytes::Bytes;

use history::{History, Version};

use super::{
    super::{StoreEnv, StoreType},
    Map, RocksHandle, StoreError,
    keys::{join, long},
    segments::{RESERVED, Segments},
};

/// What became of a put into a versioned store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionedPut {
    /// It is the latest version.
    Latest,
    /// It is valid until then.
    ValidTo(i64),
    /// It came too late; `dropped` if the store counts it as dropped.
    NotPut {
        /// Whether the store counts it.
        dropped: bool,
    },
}

impl VersionedPut {
    /// What Kafka Streams returns: until when the version is valid, −1 for the latest, the least number if it was not put.
    pub fn code(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::ValidTo(time) => time,
            Self::NotPut { .. } => i64::MIN,
        }
    }
}

/// A version of a key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedValue {
    /// The value.
    pub value: Bytes,
    /// From when it is valid.
    pub timestamp: i64,
    /// Until when it is valid, exclusive; `None` for the latest.
    pub valid_to: Option<i64>,
}

/// How a versioned store is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionedOptions {
    /// How long versions are kept after they were replaced, in milliseconds of stream time; also how late a put may come.
    pub history_retention: i64,
    /// How long a segment is; at least 1. [`default_version_interval`] unless the user says otherwise.
    pub segment_interval: i64,
}

/// The segment interval of versioned stores.
pub fn default_version_interval(history_retention: i64) -> i64 {
    match history_retention {
        ..=60_000 => (history_retention / 3).max(2_000),
        60_001..=300_000 => (history_retention / 5).max(20_000),
        300_001..=3_600_000 => (history_retention / 12).max(60_000),
        _ => (history_retention / 24).max(300_000),
    }
}

/// A versioned key-value store by bytes.
///
/// **Law.** The latest version of a key is kept for ever, in a segment of its own. A version that was replaced is kept in the segment of
/// the time at which it was replaced, and goes with it. What is found follows from the segments, as in Kafka Streams: [`range`](Self::range)
/// finds no version that was replaced in a segment after that of its upper end; and a delete at the very time of the latest version
/// leaves no trace, so that an earlier version that comes later becomes the latest.
pub struct VersionedBytes {
    segments: Segments,
    history_retention: i64,
}

impl VersionedBytes {
    /// In memory or on disk; both answer the same.
    pub fn open(env: &StoreEnv<'_>, store_type: StoreType, options: VersionedOptions) -> Result<Self, StoreError> {
        Self::new(Map::open(env, store_type)?, options)
    }

    /// On that map.
    pub fn new(map: Map, VersionedOptions { history_retention, segment_interval }: VersionedOptions) -> Result<Self, StoreError> {
        Ok(Self { segments: Segments::new(map, history_retention, segment_interval)?, history_retention })
    }

    /// The map whose epochs are to be committed, if it is on disk.
    pub fn rocks(&self) -> Option<RocksHandle> {
        self.segments.rocks()
    }

    /// The latest timestamp that was put; −1 before the first.
    pub fn observed_stream_time(&self) -> i64 {
        self.segments.observed()
    }

    /// Writes a version or, with `None`, that there is no value from then on.
    pub fn put(&mut self, key: &[u8], value: Option<Bytes>, timestamp: i64) -> Result<VersionedPut, StoreError> {
        if timestamp < self.segments.edge() {
            return Ok(VersionedPut::NotPut { dropped: true });
        }
        self.segments.observe(timestamp);
        self.segments.expire();
        let put = self.insert(key, value, timestamp)?;
        Ok(put.map_or(VersionedPut::NotPut { dropped: false }, |valid_to| valid_to.map_or(VersionedPut::Latest, VersionedPut::ValidTo)))
    }

    /// Deletes from then on; says what was valid then, and whether the delete was put.
    pub fn delete(&mut self, key: &[u8], timestamp: i64) -> Result<(Option<VersionedValue>, VersionedPut), StoreError> {
        if timestamp < self.segments.edge() {
            return Ok((None, VersionedPut::NotPut { dropped: true }));
        }
        let before = self.get_as_of(key, timestamp)?;
        Ok((before, self.put(key, None, timestamp)?))
    }

    /// The latest version.
    pub fn get(&self, key: &[u8]) -> Result<Option<VersionedValue>, StoreError> {
        let Some(row) = self.segments.get(RESERVED, key)? else { return Ok(None) };
        if row.len() < 8 {
            return Err(StoreError::Corrupt(row.len(), "a version"));
        }
        Ok(Some(VersionedValue { timestamp: long(&row), value: row.slice(8..), valid_to: None }))
    }

    /// The version that was valid then.
    pub fn get_as_of(&self, key: &[u8], timestamp: i64) -> Result<Option<VersionedValue>, StoreError> {
        if let Some(latest) = self.get(key)?.filter(|latest| latest.timestamp <= timestamp) {
            return Ok(Some(latest));
        }
        if timestamp < self.segments.observed() - self.history_retention {
            return Ok(None);
        }
        for id in self.segments.ids(self.segments.id(timestamp), i64::MAX, true) {
            let Some(history) = self.history(id, key)? else { continue };
            if history.next <= timestamp {
                return Ok(None);
            }
            if history.first() <= timestamp {
                let (_, Version { from, value }, valid_to) = history.at(timestamp);
                return Ok(value.clone().map(|value| VersionedValue { value, timestamp: *from, valid_to: Some(valid_to) }));
            }
        }
        Ok(None)
    }

    /// The versions that were valid at some time from `from` to `to`, both included; the latest first if `reverse`.
    pub fn range(&self, key: &[u8], from: i64, to: i64, reverse: bool) -> Result<Vec<VersionedValue>, StoreError> {
        let mut found: Vec<_> = self.get(key)?.into_iter().filter(|latest| latest.timestamp <= to).collect();
        if to >= self.segments.observed() - self.history_retention {
            for id in self.segments.ids(self.segments.id(i64::MIN), self.segments.id(to), true) {
                let Some(history) = self.history(id, key)? else { continue };
                for (Version { from: timestamp, value }, valid_to) in history.versions() {
                    if let Some(value) = value.clone().filter(|_| *timestamp <= to && valid_to > from) {
                        found.push(VersionedValue { value, timestamp: *timestamp, valid_to: Some(valid_to) });
                    }
                }
            }
        }
        if !reverse {
            found.reverse();
        }
        Ok(found)
    }

    /// Puts; until when the version is valid, `Some(None)` for ever, `None` if it was not put.
    fn insert(&mut self, key: &[u8], value: Option<Bytes>, timestamp: i64) -> Result<Option<Option<i64>>, StoreError> {
        let mut next = None;
        if let Some(latest) = self.get(key)? {
            if timestamp >= latest.timestamp {
                self.replace_latest(key, latest, value, timestamp)?;
                return Ok(Some(None));
            }
            next = Some(latest.timestamp);
        }
        for id in self.segments.ids(self.segments.id(timestamp), i64::MAX, true) {
            let Some(history) = self.history(id, key)? else { continue };
            if history.next <= timestamp {
                break;
            }
            if history.first() <= timestamp {
                return self.insert_into(id, history, key, value, timestamp).map(|valid_to| Some(Some(valid_to)));
            }
            if history.first() < self.segments.observed() - self.history_retention {
                return Ok(None);
            }
            next = Some(history.first());
        }
        match next {
            Some(next) => self.insert_before(next, key, value, timestamp),
            None => self.insert_first(key, value, timestamp),
        }
    }

    /// The latest version moves to the history, if it has a time.
    fn replace_latest(&mut self, key: &[u8], latest: VersionedValue, value: Option<Bytes>, timestamp: i64) -> Result<(), StoreError> {
        if timestamp > latest.timestamp {
            self.append(key, Some(latest.value), latest.timestamp, timestamp)?;
        }
        self.put_latest(key, value, timestamp);
        Ok(())
    }

    /// Among the versions of a segment.
    fn insert_into(&mut self, id: i64, mut history: History, key: &[u8], value: Option<Bytes>, timestamp: i64) -> Result<i64, StoreError> {
        let (index, before, valid_to) = history.at(timestamp);
        let before = before.clone();
        let older = self.segments.id(timestamp) != id;
        let version = Version { from: timestamp, value };
        if before.from == timestamp || older {
            history.versions[index] = version;
        } else {
            history.versions.insert(index, version);
        }
        // The version that it replaces was replaced in an older segment's time.
        if before.from != timestamp && older {
            self.append(key, before.value, before.from, timestamp)?;
        }
        self.segments.put(id, key, Some(history.to_bytes()));
        Ok(valid_to)
    }

    /// Before all versions that are known, of which the first begins at `next`.
    fn insert_before(&mut self, next: i64, key: &[u8], value: Option<Bytes>, timestamp: i64) -> Result<Option<Option<i64>>, StoreError> {
        let id = self.segments.id(next);
        if !self.segments.enliven(id) {
            return Ok(None);
        }
        let history = match self.history(id, key)? {
            None => History::of(value, timestamp, next),
            Some(mut history) if history.next <= timestamp => {
                history.append(value, timestamp, next);
                history
            }
            Some(mut history) => {
                history.prepend(value, timestamp);
                history
            }
        };
        self.segments.put(id, key, Some(history.to_bytes()));
        Ok(Some(Some(next)))
    }

    /// After all versions that are known.
    fn insert_first(&mut self, key: &[u8], value: Option<Bytes>, timestamp: i64) -> Result<Option<Option<i64>>, StoreError> {
        if value.is_some() {
            self.put_latest(key, value, timestamp);
            return Ok(Some(None));
        }
        // A deletion that nothing follows is remembered as a history that ends there.
        let id = self.segments.id(timestamp);
        if !self.segments.enliven(id) {
            return Ok(None);
        }
        let history = match self.history(id, key)? {
            None => History::of(None, timestamp, timestamp),
            Some(history) if history.next == timestamp => return Ok(Some(None)),
            Some(mut history) => {
                history.append(None, history.next, timestamp);
                history
            }
        };
        self.segments.put(id, key, Some(history.to_bytes()));
        Ok(Some(None))
    }

    /// Puts a version that was replaced behind the others of that segment, if the segment has not expired.
    fn append(&mut self, key: &[u8], value: Option<Bytes>, from: i64, to: i64) -> Result<(), StoreError> {
        let id = self.segments.id(to);
        if !self.segments.enliven(id) {
            return Ok(());
        }
        let history = match self.history(id, key)? {
            None => History::of(value, from, to),
            Some(mut history) => {
                history.append(value, from, to);
                history
            }
        };
        self.segments.put(id, key, Some(history.to_bytes()));
        Ok(())
    }

    fn put_latest(&mut self, key: &[u8], value: Option<Bytes>, timestamp: i64) {
        self.segments.put(RESERVED, key, value.map(|value| join(&[&timestamp.to_be_bytes(), &value])));
    }

    fn history(&self, id: i64, key: &[u8]) -> Result<Option<History>, StoreError> {
        self.segments.get(id, key)?.map(|row| History::from_bytes(&row)).transpose()
    }
}
