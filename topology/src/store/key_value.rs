//! Key-value stores: plain, and with a timestamp beside each value (what the DSL uses).

use std::{cell::RefCell, collections::VecDeque, rc::Rc, sync::Arc};

use bytes::Bytes;

use super::{
    AnyStore, StoreDef, StoreEnv, StoreMaker, StoreType,
    buffer::Buffer,
    bytes::{KeyValueBytes, RocksHandle},
    cache::{Cache, FlushListener},
    changelog::Changelog,
    row::{RowFormat, row_into, split_row},
};
use crate::{
    Data, DefaultSerde, Serde, SerdeRef,
    context::TaskContext,
    error::Error,
    record::{Headers, RawRecord, ValueAndTimestamp},
};

/// What both kinds share: bytes below a cache, above a changelog.
struct Core {
    name: Arc<str>,
    bytes: RefCell<KeyValueBytes>,
    cache: Option<RefCell<Cache>>,
    cache_limit: usize,
    changelog: Changelog,
    format: RowFormat,
    global: bool,
    listener: RefCell<Option<(FlushListener, bool)>>,
    key: Buffer,
    row: Buffer,
}

impl Core {
    fn new(env: &StoreEnv<'_>, bytes: KeyValueBytes, format: RowFormat) -> Self {
        Self {
            name: env.name.clone(),
            bytes: RefCell::new(bytes),
            cache: env.caching.then(RefCell::default),
            cache_limit: env.config.cache_max_bytes,
            changelog: Changelog::of(env),
            format,
            global: env.global,
            listener: RefCell::default(),
            key: Buffer::default(),
            row: Buffer::default(),
        }
    }

    /// What `read` makes of the row of a key.
    fn read<K, R>(&self, serde: &dyn Serde<K>, key: &K, read: impl FnOnce(Option<&[u8]>) -> Result<R, Error>) -> Result<R, Error> {
        self.key.with_key(serde, key, |key| {
            if let Some(cache) = &self.cache
                && let Some(entry) = cache.borrow().get(key)
            {
                return read(entry.value.as_deref());
            }
            self.bytes.borrow().with(key, read)?
        })
    }

    fn put<K>(
        &self,
        context: &mut TaskContext,
        serde: &dyn Serde<K>,
        key: &K,
        row: Option<impl FnOnce(&mut Vec<u8>) -> Result<(), Error>>,
    ) -> Result<(), Error> {
        let is_full = self.key.with_key(serde, key, |key| {
            self.row.with_row(row, |row| {
                let Some(cache) = &self.cache else { return self.write(context, key, row).map(|()| false) };
                let mut cache = cache.borrow_mut();
                cache.put(key, row, &context.record);
                Ok(cache.bytes() > self.cache_limit)
            })
        })?;
        if is_full { self.flush(context) } else { Ok(()) }
    }

    /// Writes below the cache, and to the changelog.
    fn write(&self, context: &mut TaskContext, key: &[u8], row: Option<&[u8]>) -> Result<(), Error> {
        let parts = row.map(|row| self.format.parts(row)).transpose()?;
        let forgotten = self.bytes.borrow_mut().put_copies(key, row);
        let timestamp = parts.as_ref().and_then(|parts| parts.timestamp).unwrap_or(context.record.timestamp);
        self.changelog.log_copies(context, key, parts.map(|parts| parts.value), timestamp, Headers::empty());
        if let Some(forgotten) = forgotten {
            self.changelog.log(context, forgotten, None, context.record.timestamp, Headers::empty());
        }
        Ok(())
    }

    fn flush(&self, context: &mut TaskContext) -> Result<(), Error> {
        let Some(cache) = &self.cache else { return Ok(()) };
        loop {
            let Some((key, value, written_by)) = cache.borrow_mut().pop() else { return Ok(()) };
            let value = value.as_deref();
            let mut listener = self.listener.borrow_mut().take();
            let send_old = listener.as_ref().is_some_and(|(_, send_old)| *send_old);
            let old = match listener.is_some() && (value.is_none() || send_old) {
                true => self.bytes.borrow().get(&key)?,
                false => None,
            };
            let current = std::mem::replace(&mut context.record, written_by);
            let mut outcome = Ok(());
            if listener.is_none() || value.is_some() || old.is_some() {
                outcome = self.write(context, &key, value);
                if let (Ok(()), Some((listener, _))) = (&outcome, &mut listener) {
                    outcome = listener(context, &key, value, old.as_deref().filter(|_| send_old));
                }
            }
            *self.listener.borrow_mut() = listener;
            context.record = current;
            outcome?;
        }
    }

    /// The entries of the next `size` rows below, as the cache has them, and the last row's key if there are more.
    fn page(&self, from: Option<&[u8]>, to: Option<&[u8]>, reverse: bool, size: usize) -> Result<Page, Error> {
        let below = self.bytes.borrow();
        let rows: Vec<(Bytes, Bytes)> = below.range(from, to, reverse).take(size).collect::<Result<_, _>>()?;
        let edge = rows.last().filter(|_| rows.len() == size).map(|(key, _)| key.clone());
        let Some(cache) = &self.cache else { return Ok((rows, edge)) };
        let mut merged: std::collections::BTreeMap<Bytes, Option<Bytes>> =
            rows.into_iter().map(|(key, value)| (key, Some(value))).collect();
        for (key, entry) in cache.borrow().range(from, to) {
            // Past the last row that was read, the cache alone does not know what comes next.
            if edge.as_ref().is_none_or(|edge| if reverse { key >= edge } else { key <= edge }) {
                merged.insert(key.clone(), entry.value.as_deref().map(Bytes::copy_from_slice));
            }
        }
        let rows = merged.into_iter().filter_map(|(key, value)| Some((key, value?)));
        Ok((if reverse { rows.rev().collect() } else { rows.collect() }, edge))
    }
}

/// How many rows an iterator reads at first; then twice as many, and so on. A prefix often has few.
const FIRST_PAGE: usize = 16;
const LARGEST_PAGE: usize = 256;
type Page = (Vec<(Bytes, Bytes)>, Option<Bytes>);

macro_rules! any_store {
    ($store:ident) => {
        impl<K: Data, V: Data> AnyStore for $store<K, V> {
            fn name(&self) -> &Arc<str> {
                &self.core.name
            }
            fn is_global(&self) -> bool {
                self.core.global
            }
            fn handle(&self) -> &dyn std::any::Any {
                self
            }
            fn flush(&self, context: &mut TaskContext) -> Result<(), Error> {
                self.core.flush(context)
            }
            fn restore(&self, record: RawRecord) -> Result<(), Error> {
                let Some(key) = record.key else { return Ok(()) };
                let value = record.value.map(|value| self.core.format.row(value, record.timestamp, &record.headers));
                self.core.bytes.borrow_mut().put(key, value);
                Ok(())
            }
            fn detach(&self) {
                self.core.listener.take();
            }
            fn rocks(&self) -> Option<RocksHandle> {
                self.core.bytes.borrow().rocks()
            }
        }
        impl<K, V> Clone for $store<K, V> {
            fn clone(&self) -> Self {
                Self { core: self.core.clone(), key: self.key.clone(), value: self.value.clone() }
            }
        }
        impl<K: DefaultSerde<Present = K>, V: DefaultSerde<Present = V>> $store<K, V> {
            /// The definition of such a store in memory, with the serdes of the types: logged, not cached.
            ///
            /// ```
            /// # use millstream_topology::{*, store::*};
            /// let def = KeyValueStore::<String, i64>::in_memory("prices");
            /// assert_eq!(def.store_type, StoreType::InMemory);
            /// ```
            pub fn in_memory(name: impl Into<Arc<str>>) -> StoreDef {
                Self::def(name, K::default_serde(), V::default_serde(), StoreType::InMemory)
            }

            /// The same on disk.
            ///
            /// ```
            /// # use millstream_topology::{*, store::*};
            /// let def = TimestampedKeyValueStore::<String, i64>::persistent("prices").caching(true);
            /// assert_eq!(def.store_type, StoreType::RocksDb);
            /// ```
            pub fn persistent(name: impl Into<Arc<str>>) -> StoreDef {
                Self::def(name, K::default_serde(), V::default_serde(), StoreType::RocksDb)
            }
        }
        impl<K: Data, V: Data> $store<K, V> {
            /// The definition of such a store: logged, not cached.
            ///
            /// ```
            /// # use millstream_topology::{*, store::*};
            /// let (key, value) = (String::default_serde(), i64::default_serde());
            /// let def = KeyValueStore::def("prices", key, value, StoreType::InMemory);
            /// ```
            pub fn def(name: impl Into<Arc<str>>, key: SerdeRef<K>, value: SerdeRef<V>, store_type: StoreType) -> StoreDef {
                StoreDef { store_type, ..StoreDef::new(name, Self::maker(key, value, store_type)) }
            }

            /// Its name.
            pub fn name(&self) -> &Arc<str> {
                &self.core.name
            }

            /// Whether writes wait in the record cache until a flush.
            pub fn is_cached(&self) -> bool {
                self.core.cache.is_some()
            }

            /// About how many entries there are.
            pub fn approximate_num_entries(&self) -> u64 {
                self.core.bytes.borrow().approximate_num_entries()
            }

            /// Entries from `from` to `to`, both included, in the order of the keys' bytes; `None` is open.
            ///
            /// ```
            /// # use millstream_topology::{*, store::*};
            /// fn sum(prices: &KeyValueStore<String, i64>, from: &String) -> Result<i64, Error> {
            ///     prices.range(Some(from), None)?.map(|row| row.map(|(_, price)| price)).sum()
            /// }
            /// ```
            pub fn range(&self, from: Option<&K>, to: Option<&K>) -> Result<KeyValueIterator<Self>, Error> {
                self.scan(from, to, false)
            }

            /// The same, last first.
            pub fn reverse_range(&self, from: Option<&K>, to: Option<&K>) -> Result<KeyValueIterator<Self>, Error> {
                self.scan(from, to, true)
            }

            /// All entries, in the order of the keys' bytes.
            pub fn all(&self) -> Result<KeyValueIterator<Self>, Error> {
                self.scan(None, None, false)
            }

            /// All entries, last first.
            pub fn reverse_all(&self) -> Result<KeyValueIterator<Self>, Error> {
                self.scan(None, None, true)
            }

            /// Entries whose key's bytes begin with `prefix`.
            ///
            /// ```
            /// # use millstream_topology::{*, store::*};
            /// fn of_customer(orders: &KeyValueStore<String, i64>, customer: &str) -> Result<Vec<(String, i64)>, Error> {
            ///     orders.prefix_scan(customer.as_bytes()).collect()
            /// }
            /// ```
            pub fn prefix_scan(&self, prefix: &[u8]) -> KeyValueIterator<Self> {
                let from = Bytes::copy_from_slice(prefix);
                let prefix = Some(from.clone());
                KeyValueIterator {
                    store: self.clone(),
                    from: Some(from),
                    to: None,
                    reverse: false,
                    prefix,
                    page: VecDeque::new(),
                    size: FIRST_PAGE,
                    seen: None,
                    done: false,
                }
            }

            fn scan(&self, from: Option<&K>, to: Option<&K>, reverse: bool) -> Result<KeyValueIterator<Self>, Error> {
                let from = from.map(|key| self.key.serialize(key)).transpose()?;
                let to = to.map(|key| self.key.serialize(key)).transpose()?;
                Ok(KeyValueIterator {
                    store: self.clone(),
                    from,
                    to,
                    reverse,
                    prefix: None,
                    page: VecDeque::new(),
                    size: FIRST_PAGE,
                    seen: None,
                    done: false,
                })
            }

            /// Has the cache call `listener` with what leaves it; `send_old` also with what was there before.
            pub fn set_flush_listener(&self, listener: FlushListener, send_old: bool) {
                *self.core.listener.borrow_mut() = Some((listener, send_old));
            }
        }
    };
}

/// A key-value store. Handles are cheap to clone and belong to one task.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// type Prices = KeyValueStore<String, i64>;
///
/// /// Adds to what is there.
/// fn add(prices: &Prices, context: &mut TaskContext, key: &String, more: i64) -> Result<i64, Error> {
///     let sum = prices.get(key)?.unwrap_or(0) + more;
///     prices.put(context, key, Some(&sum))?;
///     Ok(sum)
/// }
/// let def = Prices::in_memory("prices");
/// ```
pub struct KeyValueStore<K, V> {
    core: Rc<Core>,
    key: SerdeRef<K>,
    value: SerdeRef<V>,
}
any_store!(KeyValueStore);

impl<K: Data, V: Data> KeyValueStore<K, V> {
    /// Makes such a store on `store_type`.
    pub fn maker(key: SerdeRef<K>, value: SerdeRef<V>, store_type: StoreType) -> StoreMaker {
        Arc::new(move |env| {
            let bytes = KeyValueBytes::open(env, store_type)?;
            Ok(Rc::new(Self { core: Rc::new(Core::new(env, bytes, RowFormat::Value)), key: key.clone(), value: value.clone() }))
        })
    }

    /// Makes such a store that keeps the `max_entries` that were used last, in memory.
    ///
    /// ```
    /// # use millstream_topology::{*, store::*};
    /// let (key, value) = (String::default_serde(), i64::default_serde());
    /// let def = StoreDef::new("newest", KeyValueStore::lru_maker(key, value, 1_000));
    /// ```
    pub fn lru_maker(key: SerdeRef<K>, value: SerdeRef<V>, max_entries: usize) -> StoreMaker {
        Arc::new(move |env| {
            let bytes = KeyValueBytes::lru(max_entries);
            Ok(Rc::new(Self { core: Rc::new(Core::new(env, bytes, RowFormat::Value)), key: key.clone(), value: value.clone() }))
        })
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        self.core.read(&*self.key, key, |value| Ok(value.map(|value| self.value.deserialize_slice(value)).transpose()?))
    }

    /// Sets or deletes the value of a key.
    pub fn put(&self, context: &mut TaskContext, key: &K, value: Option<&V>) -> Result<(), Error> {
        let value = value.map(|value| |row: &mut Vec<u8>| Ok(self.value.serialize_into(value, row)?));
        self.core.put(context, &*self.key, key, value)
    }

    /// Sets the value of a key that has none; returns what was there.
    pub fn put_if_absent(&self, context: &mut TaskContext, key: &K, value: &V) -> Result<Option<V>, Error> {
        let old = self.get(key)?;
        if old.is_none() {
            self.put(context, key, Some(value))?;
        }
        Ok(old)
    }

    /// Deletes a key; returns what was there.
    pub fn delete(&self, context: &mut TaskContext, key: &K) -> Result<Option<V>, Error> {
        let old = self.get(key)?;
        self.put(context, key, None)?;
        Ok(old)
    }
}

/// A key-value store with a timestamp beside each value: what the DSL keeps tables in.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// fn since(prices: &TimestampedKeyValueStore<String, i64>, key: &String) -> Result<Option<i64>, Error> {
///     Ok(prices.get(key)?.map(|row| row.timestamp))
/// }
/// ```
pub struct TimestampedKeyValueStore<K, V> {
    core: Rc<Core>,
    key: SerdeRef<K>,
    value: SerdeRef<V>,
}
any_store!(TimestampedKeyValueStore);

impl<K: Data, V: Data> TimestampedKeyValueStore<K, V> {
    /// Makes such a store on `store_type`.
    pub fn maker(key: SerdeRef<K>, value: SerdeRef<V>, store_type: StoreType) -> StoreMaker {
        Arc::new(move |env| {
            let bytes = KeyValueBytes::open(env, store_type)?;
            Ok(Rc::new(Self { core: Rc::new(Core::new(env, bytes, RowFormat::Timestamp)), key: key.clone(), value: value.clone() }))
        })
    }

    /// The row of a key.
    pub fn get(&self, key: &K) -> Result<Option<ValueAndTimestamp<V>>, Error> {
        self.core.read(&*self.key, key, |row| row.map(|row| self.read(row)).transpose())
    }

    /// Sets the row of a key, or deletes it.
    pub fn put(&self, context: &mut TaskContext, key: &K, row: Option<(&V, i64)>) -> Result<(), Error> {
        let row = row.map(|(value, timestamp)| move |row: &mut Vec<u8>| row_into(row, &*self.value, value, timestamp));
        self.core.put(context, &*self.key, key, row)
    }

    /// Reads a row as the cache hands it to its listener.
    pub fn read(&self, row: &[u8]) -> Result<ValueAndTimestamp<V>, Error> {
        let (timestamp, value) = split_row(row);
        Ok(ValueAndTimestamp { value: self.value.deserialize_slice(value)?, timestamp })
    }

    /// Reads a key as the cache hands it to its listener.
    pub fn read_key(&self, key: &[u8]) -> Result<K, Error> {
        Ok(self.key.deserialize_slice(key)?)
    }
}

/// What an iterator needs of its store.
pub trait Rows {
    /// An entry.
    type Row;
    #[doc(hidden)]
    fn page(&self, from: Option<&[u8]>, to: Option<&[u8]>, reverse: bool, size: usize) -> Result<Page, Error>;
    #[doc(hidden)]
    fn row(&self, key: &Bytes, value: &Bytes) -> Result<Self::Row, Error>;
}

impl<K: Data, V: Data> Rows for KeyValueStore<K, V> {
    type Row = (K, V);
    fn page(&self, from: Option<&[u8]>, to: Option<&[u8]>, reverse: bool, size: usize) -> Result<Page, Error> {
        self.core.page(from, to, reverse, size)
    }
    fn row(&self, key: &Bytes, value: &Bytes) -> Result<(K, V), Error> {
        Ok((self.key.deserialize(key)?, self.value.deserialize(value)?))
    }
}

impl<K: Data, V: Data> Rows for TimestampedKeyValueStore<K, V> {
    type Row = (K, ValueAndTimestamp<V>);
    fn page(&self, from: Option<&[u8]>, to: Option<&[u8]>, reverse: bool, size: usize) -> Result<Page, Error> {
        self.core.page(from, to, reverse, size)
    }
    fn row(&self, key: &Bytes, value: &Bytes) -> Result<Self::Row, Error> {
        Ok((self.key.deserialize(key)?, self.read(value)?))
    }
}

/// Entries of a key-value store.
///
/// **Law.** It borrows nothing: it reads a page at a time and continues behind the last key, so the store may be written meanwhile,
/// and a forgotten iterator holds no resources.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// /// Borrows nothing: it may be kept, forgotten, and the store written meanwhile.
/// fn sum(prices: &KeyValueStore<String, i64>) -> Result<i64, Error> {
///     prices.all()?.map(|row| row.map(|(_, price)| price)).sum()
/// }
/// ```
pub struct KeyValueIterator<S> {
    store: S,
    from: Option<Bytes>,
    to: Option<Bytes>,
    reverse: bool,
    prefix: Option<Bytes>,
    page: VecDeque<(Bytes, Bytes)>,
    size: usize,
    seen: Option<Bytes>,
    done: bool,
}

impl<S: Rows> KeyValueIterator<S> {
    fn fill(&mut self) -> Result<(), Error> {
        while self.page.is_empty() && !self.done {
            let (rows, edge) = self.store.page(self.from.as_deref(), self.to.as_deref(), self.reverse, self.size)?;
            self.size = (self.size * 2).min(LARGEST_PAGE);
            self.page = rows.into();
            // The greatest key below another cannot be written down: going backwards, the edge is read twice and skipped once.
            if self.page.front().is_some_and(|(key, _)| Some(key) == self.seen.as_ref()) {
                self.page.pop_front();
            }
            self.done = edge.is_none();
            match (edge, self.reverse) {
                (Some(edge), true) => (self.to, self.seen) = (Some(edge.clone()), Some(edge)),
                (Some(edge), false) => self.from = Some([&edge[..], &[0]].concat().into()),
                (None, _) => {}
            }
        }
        Ok(())
    }
}

impl<S: Rows> Iterator for KeyValueIterator<S> {
    type Item = Result<S::Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            self.done = true;
            return Some(Err(error));
        }
        let (key, value) = self.page.pop_front()?;
        if self.prefix.as_ref().is_some_and(|prefix| !key.starts_with(prefix)) {
            self.done = true;
            self.page.clear();
            return None;
        }
        Some(self.store.row(&key, &value))
    }
}
