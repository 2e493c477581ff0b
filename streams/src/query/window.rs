//! Queries to window and session stores (KIP-806).

use std::marker::PhantomData;

use millstream_topology::{
    Data, Error, ValueAndTimestamp, Windowed,
    store::{AnyStore, SessionStore, TimestampedWindowStore, WindowStore},
};

use super::{DEFAULT_LIMIT, Listing, Query, listed};

/// Calls a method of a window store, or the one that goes backwards.
macro_rules! fetch {
    ($descending:expr, $store:expr, $forward:ident, $backward:ident, $($argument:expr),*) => {
        if $descending { $store.$backward($($argument),*) } else { $store.$forward($($argument),*) }
    };
}

macro_rules! window_key_query {
    ($(#[$doc:meta])* $name:ident, $row:ty, |$store:ident, $query:ident| $answer:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name<K, V> {
            key: K,
            from: i64,
            to: i64,
            descending: bool,
            limit: usize,
            value: PhantomData<fn() -> V>,
        }

        impl<K, V> $name<K, V> {
            /// The windows of this key that start from `from` to `to`, both included, in milliseconds since the epoch.
            pub fn with_key_and_window_start_range(key: K, from: i64, to: i64) -> Self {
                Self { key, from, to, descending: false, limit: DEFAULT_LIMIT, value: PhantomData }
            }

            /// Last windows first.
            pub fn descending(self) -> Self {
                Self { descending: true, ..self }
            }

            /// At most so many windows. Default: [`DEFAULT_LIMIT`].
            pub fn with_limit(self, limit: usize) -> Self {
                Self { limit, ..self }
            }
        }

        impl<K: Data + Send, V: Data + Send> Query for $name<K, V> {
            type Result = Listing<(i64, $row)>;

            fn answer(&self, $store: &(dyn AnyStore + 'static)) -> Option<Result<Self::Result, Error>> {
                let $query = self;
                $answer
            }
        }
    };
}

/// The windows of one key.
macro_rules! of_key {
    ($store:expr, $query:expr) => {
        fetch!($query.descending, $store, fetch_range, backward_fetch_range, &$query.key, $query.from, $query.to)
    };
}

window_key_query!(
    /// The windows of a key, by their start.
    WindowKeyQuery, V, |store, query| match (store.typed::<WindowStore<K, V>>(), store.typed::<TimestampedWindowStore<K, V>>()) {
        (Some(store), _) => Some(of_key!(store, query).and_then(|rows| listed(rows, query.limit))),
        (_, Some(store)) => {
            let plain = |row: Result<(i64, ValueAndTimestamp<V>), Error>| row.map(|(start, row)| (start, row.value));
            Some(of_key!(store, query).and_then(|rows| listed(rows.map(plain), query.limit)))
        }
        _ => None,
    }
);

window_key_query!(
    /// The windows of a key, by their start, with the timestamps of their values.
    TimestampedWindowKeyQuery, ValueAndTimestamp<V>, |store, query| {
        let store = store.typed::<TimestampedWindowStore<K, V>>()?;
        Some(of_key!(store, query).and_then(|rows| listed(rows, query.limit)))
    }
);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which<K> {
    Key(K),
    WindowStart(i64, i64),
}

macro_rules! window_range_query {
    ($(#[$doc:meta])* $name:ident, $row:ty, |$store:ident, $query:ident| $answer:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name<K, V> {
            which: Which<K>,
            descending: bool,
            limit: usize,
            value: PhantomData<fn() -> V>,
        }

        impl<K, V> $name<K, V> {
            /// The sessions of this key.
            pub fn with_key(key: K) -> Self {
                Self { which: Which::Key(key), descending: false, limit: DEFAULT_LIMIT, value: PhantomData }
            }

            /// The windows of all keys that start from `from` to `to`, both included, in milliseconds since the epoch.
            pub fn with_window_start_range(from: i64, to: i64) -> Self {
                Self { which: Which::WindowStart(from, to), descending: false, limit: DEFAULT_LIMIT, value: PhantomData }
            }

            /// Last windows first.
            pub fn descending(self) -> Self {
                Self { descending: true, ..self }
            }

            /// At most so many windows of each partition. Default: [`DEFAULT_LIMIT`].
            pub fn with_limit(self, limit: usize) -> Self {
                Self { limit, ..self }
            }
        }

        impl<K: Data + Send, V: Data + Send> Query for $name<K, V> {
            type Result = Listing<(Windowed<K>, $row)>;

            fn answer(&self, $store: &(dyn AnyStore + 'static)) -> Option<Result<Self::Result, Error>> {
                let $query = self;
                $answer
            }
        }
    };
}

window_range_query!(
    /// The windows of all keys in a window store, or the sessions of a key in a session store.
    WindowRangeQuery, V, |store, query| match &query.which {
        Which::Key(key) => {
            let sessions = store.typed::<SessionStore<K, V>>()?;
            let rows = fetch!(query.descending, sessions, fetch, backward_fetch, key);
            Some(rows.and_then(|rows| listed(rows, query.limit)))
        }
        Which::WindowStart(from, to) => {
            if let Some(store) = store.typed::<WindowStore<K, V>>() {
                let rows = fetch!(query.descending, store, fetch_all, backward_fetch_all, *from, *to);
                return Some(rows.and_then(|rows| listed(rows, query.limit)));
            }
            let store = store.typed::<TimestampedWindowStore<K, V>>()?;
            let plain = |row: Result<(Windowed<K>, ValueAndTimestamp<V>), Error>| row.map(|(key, row)| (key, row.value));
            let rows = fetch!(query.descending, store, fetch_all, backward_fetch_all, *from, *to);
            Some(rows.and_then(|rows| listed(rows.map(plain), query.limit)))
        }
    }
);

window_range_query!(
    /// The windows of all keys in a window store, with the timestamps of their values.
    TimestampedWindowRangeQuery, ValueAndTimestamp<V>, |store, query| {
        let Which::WindowStart(from, to) = &query.which else { return None };
        let store = store.typed::<TimestampedWindowStore<K, V>>()?;
        let rows = fetch!(query.descending, store, fetch_all, backward_fetch_all, *from, *to);
        Some(rows.and_then(|rows| listed(rows, query.limit)))
    }
);
