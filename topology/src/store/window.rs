//! Window stores: plain, with a timestamp beside each value (what the DSL uses), and with its record's headers, too.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    AnyStore, ChangelogConfig, StoreDef, StoreEnv, StoreMaker, StoreType,
    buffer::Buffer,
    bytes::{Put, RocksHandle, StoreError, WindowBytes, WindowKey, WindowOptions, WindowOrder, default_segment_interval, window_to_bytes},
    changelog::Changelog,
    row::{Parts, RowFormat, headers_into, row_into, split_row},
    windowed_cache::{Below, WindowedCache, between, merged},
};
use crate::{
    Data, Serde, SerdeRef,
    context::TaskContext,
    error::{Error, ErrorKind},
    record::{Headers, RawRecord, ValueAndTimestamp, ValueTimestampHeaders},
    windowed::{Windowed, window_of_size},
};

/// How much longer than its store a windowed changelog is kept (`windowstore.changelog.additional.retention.ms`).
const ADDITIONAL_RETENTION_MS: i64 = 24 * 60 * 60 * 1000;

/// How a windowed store's changelog topic is kept.
pub(crate) fn windowed_changelog(retention_ms: i64, compact: bool) -> ChangelogConfig {
    ChangelogConfig { compact, retention_ms: Some(retention_ms.saturating_add(ADDITIONAL_RETENTION_MS)), ..ChangelogConfig::default() }
}

/// Fails if a store is to be kept for less than no time, which is what becomes of sizes and graces that are too large.
pub(crate) fn check_retention(store: &str, retention_ms: i64) -> Result<(), Error> {
    let text = || format!("{store}: a retention of {retention_ms} ms: it is not negative, and sums of size and grace have to fit, too");
    if retention_ms < 0 { Err(Error::new(ErrorKind::IllegalArgument, text())) } else { Ok(()) }
}

/// How a window store is kept.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// let options = WindowStoreOptions { retention_ms: 86_400_000, window_size_ms: 60_000, ..WindowStoreOptions::default() };
/// let def = WindowStore::def("clicks", String::default_serde(), i64::default_serde(), options);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowStoreOptions {
    /// Where its bytes are.
    pub store_type: StoreType,
    /// How long windows are kept after their start, in milliseconds of stream time.
    pub retention_ms: i64,
    /// The size of its windows: not stored, but part of what is read.
    pub window_size_ms: i64,
    /// Whether a window may have several values for a key, each put adding one. Such a store is never cached.
    pub retain_duplicates: bool,
    /// The order on disk.
    pub order: WindowOrder,
    /// Whether the changelog's records carry the headers of the records that wrote them. Those of a store with headers always do.
    pub log_headers: bool,
}

/// What both kinds share: bytes below a cache, above a changelog.
struct Core {
    name: Arc<str>,
    bytes: RefCell<WindowBytes>,
    cache: Option<WindowedCache<i64>>,
    changelog: Changelog,
    seq: Cell<u32>,
    options: WindowStoreOptions,
    format: RowFormat,
    global: bool,
    key: Buffer,
    row: Buffer,
}

type Rows = Vec<(WindowKey, Bytes)>;

/// The windows that somebody asks for.
struct Query<'a> {
    /// The first and the last key; `None` is open.
    keys: (Option<&'a [u8]>, Option<&'a [u8]>),
    times: (i64, i64),
    /// All keys, in the order in which windows lie rather than the one in which they are looked up.
    all: bool,
    reverse: bool,
}

impl Core {
    fn new(env: &StoreEnv<'_>, options: WindowStoreOptions, format: RowFormat) -> Result<Self, StoreError> {
        let bytes = WindowOptions {
            retention: env.config.compatibility.retention(options.retention_ms),
            segment_interval: default_segment_interval(options.retention_ms),
            retain_duplicates: options.retain_duplicates,
            order: options.order,
        };
        Ok(Self {
            name: env.name.clone(),
            bytes: RefCell::new(WindowBytes::open(env, options.store_type, bytes)?),
            cache: (env.caching && !options.retain_duplicates).then(|| WindowedCache::new(env.config.cache_max_bytes)),
            changelog: Changelog::of(env),
            seq: Cell::new(0),
            options,
            format,
            global: env.global,
            key: Buffer::default(),
            row: Buffer::default(),
        })
    }

    /// What `read` makes of the row of a key.
    fn fetch_as<K, R>(
        &self,
        serde: &dyn Serde<K>,
        key: &K,
        start: i64,
        read: impl Fn(&[u8]) -> Result<R, Error>,
    ) -> Result<Option<R>, Error> {
        self.key.with_key(serde, key, |key| {
            let cached = self.cache.as_ref().and_then(|cache| cache.get(key, start, |row| row.map(&read).transpose()));
            cached.unwrap_or_else(|| self.fetch(key, start)?.as_deref().map(&read).transpose())
        })
    }

    fn put<K>(
        &self,
        context: &mut TaskContext,
        serde: &dyn Serde<K>,
        key: &K,
        row: Option<impl FnOnce(&mut Vec<u8>) -> Result<(), Error>>,
        start: i64,
    ) -> Result<(), Error> {
        self.row.with_row(row, |row| {
            let Some(cache) = &self.cache else { return self.write(context, &serde.serialize(key)?, start, row) };
            self.key.with_key(serde, key, |key| {
                cache.put(key, start, row, &context.record);
                Ok(())
            })
        })?;
        self.cache.as_ref().map_or(Ok(()), |cache| cache.make_room(self, context))
    }

    fn rows(&self, query: &Query<'_>) -> Result<Rows, Error> {
        let Query { keys: (key_from, key_to), times: (from, to), all, reverse } = *query;
        let below = self.bytes.borrow();
        let rows = if all { below.fetch_all(from, to, reverse) } else { below.fetch_keys(key_from, key_to, from, to, reverse) };
        let rows = rows.collect::<Result<Rows, StoreError>>()?;
        let Some(cache) = &self.cache else { return Ok(rows) };
        if let (Some(key), true) = (key_from, key_from == key_to) {
            let key = Bytes::copy_from_slice(key);
            let cached = cache.of_key(&key, from..=to).into_iter().map(|(start, value)| (WindowKey { key: key.clone(), start }, value));
            return Ok(merged(rows, cached, reverse, |place| place.start));
        }
        let cached = cache.all(|key, start| (from..=to).contains(&start) && between(key, key_from, key_to));
        let cached = cached.into_iter().map(|((key, start), value)| (WindowKey { key, start }, value));
        Ok(merged(rows, cached, reverse, |place| self.position(place, all)))
    }

    /// Where a window lies in the order of a scan.
    fn position(&self, place: &WindowKey, all: bool) -> (i64, Bytes) {
        let by_key = match self.options.order {
            _ if self.options.store_type == StoreType::InMemory => false,
            WindowOrder::Key => true,
            WindowOrder::Time => false,
            WindowOrder::TimeIndexed => !all,
        };
        match by_key {
            true => {
                (place.start.div_euclid(default_segment_interval(self.options.retention_ms)), window_to_bytes(&place.key, place.start, 0))
            }
            false => (place.start, place.key.clone()),
        }
    }
}

impl Below<i64> for Core {
    fn fetch(&self, key: &[u8], start: i64) -> Result<Option<Bytes>, Error> {
        Ok(self.bytes.borrow().fetch(key, start)?)
    }

    fn write(&self, context: &mut TaskContext, key: &Bytes, start: i64, row: Option<&[u8]>) -> Result<(), Error> {
        let parts = row.map(|row| self.format.parts(row)).transpose()?;
        if self.bytes.borrow_mut().put(key.clone(), row.map(Bytes::copy_from_slice), start) == Put::Dropped {
            context.drop_record();
        }
        if self.options.retain_duplicates {
            self.seq.set((self.seq.get() + 1) & 0x7fff_ffff);
        }
        if self.changelog.is_on() {
            let log_headers = self.options.log_headers || self.format == RowFormat::Headers;
            let headers = if log_headers { context.record.headers.copied() } else { Headers::empty() };
            let timestamp = parts.as_ref().and_then(|parts| parts.timestamp).unwrap_or(context.record.timestamp);
            let value = parts.map(|parts| Bytes::copy_from_slice(parts.value));
            self.changelog.log(context, window_to_bytes(key, start, self.seq.get()), value, timestamp, headers);
        }
        Ok(())
    }
}

/// Rows of a window or session store.
///
/// **Law.** It borrows nothing: its rows are those that were there when it was asked for, so the store may be written meanwhile.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// /// Borrows nothing: it may be kept, forgotten, and the store written meanwhile.
/// fn of_key(clicks: &WindowStore<String, i64>, key: &String) -> Result<Vec<i64>, Error> {
///     clicks.fetch_range(key, 0, i64::MAX)?.map(|row| row.map(|(_start, value)| value)).collect()
/// }
/// ```
pub struct WindowedIterator<P, R> {
    rows: std::vec::IntoIter<(P, Bytes)>,
    read: Box<dyn Fn(P, &Bytes) -> Result<R, Error>>,
}

impl<P, R> WindowedIterator<P, R> {
    pub(super) fn new(rows: Vec<(P, Bytes)>, read: impl Fn(P, &Bytes) -> Result<R, Error> + 'static) -> Self {
        Self { rows: rows.into_iter(), read: Box::new(read) }
    }
}

impl<P, R> Iterator for WindowedIterator<P, R> {
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (place, value) = self.rows.next()?;
        Some((self.read)(place, &value))
    }
}

macro_rules! window_store {
    ($(#[$doc:meta])* $store:ident, $row:ty, $format:expr) => {
        $(#[$doc])*
        pub struct $store<K, V> {
            core: Rc<Core>,
            key: SerdeRef<K>,
            value: SerdeRef<V>,
        }

        impl<K, V> Clone for $store<K, V> {
            fn clone(&self) -> Self {
                Self { core: self.core.clone(), key: self.key.clone(), value: self.value.clone() }
            }
        }

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
                self.core.cache.as_ref().map_or(Ok(()), |cache| cache.flush(&*self.core, context))
            }
            fn restore(&self, record: RawRecord) -> Result<(), Error> {
                let Some(key) = record.key else { return Ok(()) };
                let value = record.value.map(|value| self.core.format.row(value, record.timestamp, &record.headers));
                Ok(self.core.bytes.borrow_mut().restore(&key, value)?)
            }
            fn detach(&self) {
                self.core.cache.iter().for_each(WindowedCache::detach);
            }
            fn rocks(&self) -> Option<RocksHandle> {
                self.core.bytes.borrow().rocks()
            }
        }

        impl<K: Data, V: Data> $store<K, V> {
            /// Makes such a store.
            pub fn maker(key: SerdeRef<K>, value: SerdeRef<V>, options: WindowStoreOptions) -> StoreMaker {
                Arc::new(move |env| {
                    check_retention(env.name, options.retention_ms)?;
                    Ok(Rc::new(Self { core: Rc::new(Core::new(env, options, $format)?), key: key.clone(), value: value.clone() }))
                })
            }

            /// The definition of such a store: logged, not cached, with a changelog that forgets what the store has forgotten.
            pub fn def(name: impl Into<Arc<str>>, key: SerdeRef<K>, value: SerdeRef<V>, options: WindowStoreOptions) -> StoreDef {
                StoreDef {
                    store_type: options.store_type,
                    changelog: windowed_changelog(options.retention_ms, !options.retain_duplicates),
                    ..StoreDef::new(name, Self::maker(key, value, options))
                }
            }

            /// Its name.
            pub fn name(&self) -> &Arc<str> {
                &self.core.name
            }

            /// Whether writes wait in the record cache until a flush.
            pub fn is_cached(&self) -> bool {
                self.core.cache.is_some()
            }

            /// The value of a key in the window that starts then.
            pub fn fetch(&self, key: &K, start: i64) -> Result<Option<$row>, Error> {
                self.core.fetch_as(&*self.key, key, start, |row| Self::read(&self.value, row))
            }

            /// The windows of a key that start from `from` to `to`, both included, by their start.
            pub fn fetch_range(&self, key: &K, from: i64, to: i64) -> Result<WindowedIterator<WindowKey, (i64, $row)>, Error> {
                self.of_key(key, (from, to), false)
            }

            /// The same, last first.
            pub fn backward_fetch_range(&self, key: &K, from: i64, to: i64) -> Result<WindowedIterator<WindowKey, (i64, $row)>, Error> {
                self.of_key(key, (from, to), true)
            }

            /// The windows of the keys from `first` to `last` that start from `from` to `to`, all included; a key of `None` is open.
            pub fn fetch_keys(
                &self,
                first: Option<&K>,
                last: Option<&K>,
                from: i64,
                to: i64,
            ) -> Result<WindowedIterator<WindowKey, (Windowed<K>, $row)>, Error> {
                self.of_keys((first, last), (from, to), false)
            }

            /// The same, last first.
            pub fn backward_fetch_keys(
                &self,
                first: Option<&K>,
                last: Option<&K>,
                from: i64,
                to: i64,
            ) -> Result<WindowedIterator<WindowKey, (Windowed<K>, $row)>, Error> {
                self.of_keys((first, last), (from, to), true)
            }

            /// The windows of all keys that start from `from` to `to`, both included.
            pub fn fetch_all(&self, from: i64, to: i64) -> Result<WindowedIterator<WindowKey, (Windowed<K>, $row)>, Error> {
                self.windowed(&Query { keys: (None, None), times: (from, to), all: true, reverse: false })
            }

            /// The same, last first.
            pub fn backward_fetch_all(&self, from: i64, to: i64) -> Result<WindowedIterator<WindowKey, (Windowed<K>, $row)>, Error> {
                self.windowed(&Query { keys: (None, None), times: (from, to), all: true, reverse: true })
            }

            /// All windows.
            pub fn all(&self) -> Result<WindowedIterator<WindowKey, (Windowed<K>, $row)>, Error> {
                self.fetch_all(0, i64::MAX)
            }

            /// All windows, last first.
            pub fn backward_all(&self) -> Result<WindowedIterator<WindowKey, (Windowed<K>, $row)>, Error> {
                self.backward_fetch_all(0, i64::MAX)
            }

            /// Has the cache call `listener` with what leaves it: key, new and old value; the old one only if `send_old`.
            pub fn set_flush_listener(
                &self,
                listener: impl Fn(&mut TaskContext, Windowed<K>, Option<$row>, Option<$row>) -> Result<(), Error> + 'static,
                send_old: bool,
            ) {
                let Some(cache) = &self.core.cache else { return };
                let (key, value, size) = (self.key.clone(), self.value.clone(), self.core.options.window_size_ms);
                let typed = move |context: &mut TaskContext, in_bytes: &[u8], start, new: Option<&[u8]>, old: Option<&[u8]>| {
                    let windowed = Windowed { key: key.deserialize_slice(in_bytes)?, window: window_of_size(start, size) };
                    let read = |row: Option<&[u8]>| row.map(|row| Self::read(&value, row)).transpose();
                    listener(context, windowed, read(new)?, read(old)?)
                };
                cache.set_listener(Rc::new(typed), send_old);
            }

            fn of_key(&self, key: &K, times: (i64, i64), reverse: bool) -> Result<WindowedIterator<WindowKey, (i64, $row)>, Error> {
                let key = self.key.serialize(key)?;
                let rows = self.core.rows(&Query { keys: (Some(&key), Some(&key)), times, all: false, reverse })?;
                let value = self.value.clone();
                Ok(WindowedIterator::new(rows, move |place, row| Ok((place.start, Self::read(&value, row)?))))
            }

            fn of_keys(
                &self,
                (first, last): (Option<&K>, Option<&K>),
                times: (i64, i64),
                reverse: bool,
            ) -> Result<WindowedIterator<WindowKey, (Windowed<K>, $row)>, Error> {
                let first = first.map(|key| self.key.serialize(key)).transpose()?;
                let last = last.map(|key| self.key.serialize(key)).transpose()?;
                self.windowed(&Query { keys: (first.as_deref(), last.as_deref()), times, all: false, reverse })
            }

            fn windowed(&self, query: &Query<'_>) -> Result<WindowedIterator<WindowKey, (Windowed<K>, $row)>, Error> {
                let (key, value, size) = (self.key.clone(), self.value.clone(), self.core.options.window_size_ms);
                Ok(WindowedIterator::new(self.core.rows(query)?, move |place: WindowKey, row| {
                    let windowed = Windowed { key: key.deserialize(&place.key)?, window: window_of_size(place.start, size) };
                    Ok((windowed, Self::read(&value, row)?))
                }))
            }
        }
    };
}

window_store!(
    /// A window store. Handles are cheap to clone and belong to one task.
    ///
    /// ```
    /// # use millstream_topology::{*, store::*};
    /// /// Adds to a key's value in a window; returns all of its windows.
    /// fn in_windows(clicks: &WindowStore<String, i64>, context: &mut TaskContext, key: &String, start: i64) -> Result<Vec<(i64, i64)>, Error> {
    ///     let count = clicks.fetch(key, start)?.unwrap_or(0) + 1;
    ///     clicks.put(context, key, Some(&count), start)?;
    ///     clicks.fetch_range(key, 0, i64::MAX)?.collect()
    /// }
    /// ```
    WindowStore, V, RowFormat::Value
);

impl<K: Data, V: Data> WindowStore<K, V> {
    /// Sets or deletes the value of a key in the window that starts then.
    pub fn put(&self, context: &mut TaskContext, key: &K, value: Option<&V>, start: i64) -> Result<(), Error> {
        let row = value.map(|value| |row: &mut Vec<u8>| Ok(self.value.serialize_into(value, row)?));
        self.core.put(context, &*self.key, key, row, start)
    }

    fn read(serde: &SerdeRef<V>, row: &[u8]) -> Result<V, Error> {
        Ok(serde.deserialize_slice(row)?)
    }
}

window_store!(
    /// A window store with a timestamp beside each value: what the DSL keeps windowed tables in.
    ///
    /// ```
    /// # use millstream_topology::{*, store::*};
    /// fn newest_first(counts: &TimestampedWindowStore<String, i64>) -> Result<Vec<(Windowed<String>, ValueAndTimestamp<i64>)>, Error> {
    ///     counts.backward_all()?.collect()
    /// }
    /// ```
    TimestampedWindowStore, ValueAndTimestamp<V>, RowFormat::Timestamp
);

impl<K: Data, V: Data> TimestampedWindowStore<K, V> {
    /// Sets or deletes the value of a key in the window that starts then.
    pub fn put(&self, context: &mut TaskContext, key: &K, row: Option<(&V, i64)>, start: i64) -> Result<(), Error> {
        let row = row.map(|(value, timestamp)| move |row: &mut Vec<u8>| row_into(row, &*self.value, value, timestamp));
        self.core.put(context, &*self.key, key, row, start)
    }

    fn read(serde: &SerdeRef<V>, row: &[u8]) -> Result<ValueAndTimestamp<V>, Error> {
        let (timestamp, value) = split_row(row);
        Ok(ValueAndTimestamp { value: serde.deserialize_slice(value)?, timestamp })
    }
}

window_store!(
    /// A window store with its record's timestamp and headers beside each value: what a join keeps its streams in under the headers format.
    TimestampedWindowStoreWithHeaders, ValueTimestampHeaders<V>, RowFormat::Headers
);

impl<K: Data, V: Data> TimestampedWindowStoreWithHeaders<K, V> {
    /// Sets or deletes the value of a key in the window that starts then.
    pub fn put(&self, context: &mut TaskContext, key: &K, row: Option<(&V, i64, &Headers)>, start: i64) -> Result<(), Error> {
        let row = row.map(|(value, timestamp, headers)| {
            move |row: &mut Vec<u8>| {
                headers_into(row, timestamp, headers);
                Ok(self.value.serialize_into(value, row)?)
            }
        });
        self.core.put(context, &*self.key, key, row, start)
    }

    fn read(serde: &SerdeRef<V>, row: &[u8]) -> Result<ValueTimestampHeaders<V>, Error> {
        let Parts { value, timestamp, headers } = RowFormat::Headers.parts(row)?;
        Ok(ValueTimestampHeaders { value: serde.deserialize_slice(value)?, timestamp: timestamp.unwrap_or(-1), headers })
    }
}
