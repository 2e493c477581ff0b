//! **Law.** A side of a stream-stream join keeps its records in a window store by the time at which they were, each with its headers
//! where stores have the headers format (KIP-1271). The join itself never reads those.

use millstream_topology::{
    Assembly, Data, Error, Record, SerdeRef, TaskContext,
    store::{StoreDef, TimestampedWindowStoreWithHeaders, WindowStore, WindowStoreOptions},
};

/// The records of one side.
pub(crate) enum JoinRows<K, V> {
    Plain(WindowStore<K, V>),
    WithHeaders(TimestampedWindowStoreWithHeaders<K, V>),
}

impl<K: Data, V: Data> JoinRows<K, V> {
    pub fn def(name: &str, key: SerdeRef<K>, value: SerdeRef<V>, options: WindowStoreOptions, has_headers: bool) -> StoreDef {
        match has_headers {
            true => TimestampedWindowStoreWithHeaders::def(name, key, value, options),
            false => WindowStore::def(name, key, value, options),
        }
    }

    pub fn open(name: &str, assembly: &Assembly<'_>) -> Result<Self, Error> {
        match assembly.reachable_stores().get(name).and_then(|store| store.typed()) {
            Some(store) => Ok(Self::WithHeaders(store)),
            None => Ok(Self::Plain(assembly.store(name)?)),
        }
    }

    pub fn put(&self, context: &mut TaskContext, record: Record<&K, Option<&V>>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record;
        match self {
            Self::Plain(store) => store.put(context, key, value, timestamp),
            Self::WithHeaders(store) => store.put(context, key, value.map(|value| (value, timestamp, &headers)), timestamp),
        }
    }

    /// Calls `visit` with the time and the value of each record of the key from `from` to `to`, both included, by time.
    pub fn visit(&self, key: &K, (from, to): (i64, i64), mut visit: impl FnMut(i64, V) -> Result<(), Error>) -> Result<(), Error> {
        match self {
            Self::Plain(store) => store.fetch_range(key, from, to)?.try_for_each(|row| row.and_then(|(at, value)| visit(at, value))),
            Self::WithHeaders(store) => {
                store.fetch_range(key, from, to)?.try_for_each(|row| row.and_then(|(at, row)| visit(at, row.value)))
            }
        }
    }
}
