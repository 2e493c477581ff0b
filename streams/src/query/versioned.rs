//! Queries to versioned stores (KIP-960, KIP-968, KIP-969).

use std::marker::PhantomData;

use millstream_topology::{
    Data, Error,
    store::{AnyStore, VersionedKeyValueStore, VersionedRecord},
};

use super::Query;

/// The version of a key: the latest, or the one that was valid at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedKeyQuery<K, V> {
    key: K,
    as_of: Option<i64>,
    value: PhantomData<fn() -> V>,
}

impl<K, V> VersionedKeyQuery<K, V> {
    /// The latest version of this key.
    pub fn with_key(key: K) -> Self {
        Self { key, as_of: None, value: PhantomData }
    }

    /// The version that was valid then, in milliseconds since the epoch; none if that is older than the store's history.
    pub fn as_of(self, timestamp: i64) -> Self {
        Self { as_of: Some(timestamp), ..self }
    }
}

impl<K: Data + Send, V: Data + Send> Query for VersionedKeyQuery<K, V> {
    type Result = Option<VersionedRecord<V>>;

    fn answer(&self, store: &(dyn AnyStore + 'static)) -> Option<Result<Self::Result, Error>> {
        let store = store.typed::<VersionedKeyValueStore<K, V>>()?;
        let at = self.as_of.unwrap_or(i64::MAX);
        // A version says until when it is valid only where versions are listed.
        let version = store.get_as_of(&self.key, at).and_then(|found| match found {
            Some(found) => Ok(store.versions(&self.key, found.timestamp, at, true)?.into_iter().next()),
            None => Ok(None),
        });
        Some(version)
    }
}

/// The versions of a key that were valid at some time of a span; the latest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiVersionedKeyQuery<K, V> {
    key: K,
    from: i64,
    to: i64,
    ascending: bool,
    value: PhantomData<fn() -> V>,
}

impl<K, V> MultiVersionedKeyQuery<K, V> {
    /// All versions of this key that the store's history has.
    pub fn with_key(key: K) -> Self {
        Self { key, from: 0, to: i64::MAX, ascending: false, value: PhantomData }
    }

    /// Those that were valid then or later, in milliseconds since the epoch.
    pub fn from_time(self, from: i64) -> Self {
        Self { from, ..self }
    }

    /// Those that were valid then or earlier.
    pub fn to_time(self, to: i64) -> Self {
        Self { to, ..self }
    }

    /// The oldest first.
    pub fn with_ascending_timestamps(self) -> Self {
        Self { ascending: true, ..self }
    }

    /// The latest first. This is the default.
    pub fn with_descending_timestamps(self) -> Self {
        Self { ascending: false, ..self }
    }
}

impl<K: Data + Send, V: Data + Send> Query for MultiVersionedKeyQuery<K, V> {
    type Result = Vec<VersionedRecord<V>>;

    fn answer(&self, store: &(dyn AnyStore + 'static)) -> Option<Result<Self::Result, Error>> {
        Some(store.typed::<VersionedKeyValueStore<K, V>>()?.versions(&self.key, self.from, self.to, !self.ascending))
    }
}
