//! Queries to key-value stores.

use std::marker::PhantomData;

use millstream_topology::{
    Data, Error, ValueAndTimestamp,
    store::{AnyStore, KeyValueStore, TimestampedKeyValueStore},
};

use super::{DEFAULT_LIMIT, Listing, Query, listed};

macro_rules! key_query {
    ($(#[$doc:meta])* $name:ident, $row:ty, |$store:ident, $key:ident| $answer:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name<K, V> {
            /// The key.
            pub key: K,
            value: PhantomData<fn() -> V>,
        }

        impl<K, V> $name<K, V> {
            /// The row of this key.
            pub fn with_key(key: K) -> Self {
                Self { key, value: PhantomData }
            }
        }

        impl<K: Data + Send, V: Data + Send> Query for $name<K, V> {
            type Result = Option<$row>;

            fn answer(&self, $store: &(dyn AnyStore + 'static)) -> Option<Result<Self::Result, Error>> {
                let $key = &self.key;
                $answer
            }
        }
    };
}

key_query!(
    /// The value of a key, in a key-value store with or without timestamps.
    ///
    /// ```
    /// use millstream::{Materialized, StreamsBuilder, TopologyTestDriver, query::{KeyQuery, StateQueryRequest}};
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, String>("in").group_by_key().count_with::<i64>(Materialized::store("counts"));
    /// let driver = TopologyTestDriver::new(&builder.build().unwrap(), Default::default()).unwrap();
    /// driver.input_topic::<String, String>("in").pipe("be".into(), "".into(), 0).unwrap();
    ///
    /// let request = StateQueryRequest::in_store("counts").with_query(KeyQuery::<String, i64>::with_key("be".into()));
    /// assert_eq!(driver.query(&request).unwrap().found().unwrap(), Some(1));
    /// ```
    KeyQuery, V, |store, key| match (store.typed::<KeyValueStore<K, V>>(), store.typed::<TimestampedKeyValueStore<K, V>>()) {
        (Some(store), _) => Some(store.get(key)),
        (_, Some(store)) => Some(store.get(key).map(|row| row.map(|row| row.value))),
        _ => None,
    }
);

key_query!(
    /// The value of a key and its timestamp (KIP-992).
    TimestampedKeyQuery, ValueAndTimestamp<V>, |store, key| Some(store.typed::<TimestampedKeyValueStore<K, V>>()?.get(key))
);

/// Which rows a range has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bounds<K> {
    from: Option<K>,
    to: Option<K>,
    prefix: Option<bytes::Bytes>,
    descending: bool,
    limit: usize,
}

macro_rules! range_query {
    ($(#[$doc:meta])* $name:ident, $row:ty, |$store:ident, $bounds:ident| $answer:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name<K, V> {
            bounds: Bounds<K>,
            value: PhantomData<fn() -> V>,
        }

        impl<K, V> $name<K, V> {
            /// The rows from one key to another, both included; `None` is open (KIP-805).
            pub fn with_range(from: Option<K>, to: Option<K>) -> Self {
                Self { bounds: Bounds { from, to, prefix: None, descending: false, limit: DEFAULT_LIMIT }, value: PhantomData }
            }

            /// All rows.
            pub fn with_no_bounds() -> Self {
                Self::with_range(None, None)
            }

            /// The rows from this key on.
            pub fn with_lower_bound(from: K) -> Self {
                Self::with_range(Some(from), None)
            }

            /// The rows up to this key.
            pub fn with_upper_bound(to: K) -> Self {
                Self::with_range(None, Some(to))
            }

            /// The rows whose key's bytes begin with these; always ascending.
            pub fn with_prefix(prefix: impl Into<bytes::Bytes>) -> Self {
                let mut query = Self::with_no_bounds();
                query.bounds.prefix = Some(prefix.into());
                query
            }

            /// By the bytes of the keys (KIP-985). This is the default.
            pub fn with_ascending_keys(mut self) -> Self {
                self.bounds.descending = false;
                self
            }

            /// By the bytes of the keys, last first.
            pub fn with_descending_keys(mut self) -> Self {
                self.bounds.descending = true;
                self
            }

            /// At most so many rows of each partition. Default: [`DEFAULT_LIMIT`].
            pub fn with_limit(mut self, limit: usize) -> Self {
                self.bounds.limit = limit;
                self
            }
        }

        impl<K: Data + Send, V: Data + Send> Query for $name<K, V> {
            type Result = Listing<(K, $row)>;

            fn answer(&self, $store: &(dyn AnyStore + 'static)) -> Option<Result<Self::Result, Error>> {
                let $bounds = &self.bounds;
                $answer
            }
        }
    };
}

/// The rows of a store that a range has.
macro_rules! rows {
    ($store:expr, $bounds:expr) => {
        match $bounds {
            Bounds { prefix: Some(prefix), .. } => Ok($store.prefix_scan(prefix)),
            Bounds { from, to, descending: true, .. } => $store.reverse_range(from.as_ref(), to.as_ref()),
            Bounds { from, to, .. } => $store.range(from.as_ref(), to.as_ref()),
        }
    };
}

range_query!(
    /// Rows of a key-value store with or without timestamps: a range, a prefix, or all.
    RangeQuery, V, |store, bounds| match (store.typed::<KeyValueStore<K, V>>(), store.typed::<TimestampedKeyValueStore<K, V>>()) {
        (Some(store), _) => Some(rows!(store, bounds).and_then(|rows| listed(rows, bounds.limit))),
        (_, Some(store)) => {
            let plain = |row: Result<(K, ValueAndTimestamp<V>), Error>| row.map(|(key, row)| (key, row.value));
            Some(rows!(store, bounds).and_then(|rows| listed(rows.map(plain), bounds.limit)))
        }
        _ => None,
    }
);

range_query!(
    /// Rows of a key-value store with their timestamps (KIP-992).
    TimestampedRangeQuery, ValueAndTimestamp<V>, |store, bounds| {
        let store = store.typed::<TimestampedKeyValueStore<K, V>>()?;
        Some(rows!(store, bounds).and_then(|rows| listed(rows, bounds.limit)))
    }
);
