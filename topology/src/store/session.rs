//! Session stores.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use bytes::Bytes;

use super::{
    AnyStore, StoreDef, StoreEnv, StoreMaker, StoreType,
    bytes::{
        Put, RocksHandle, SessionBytes, SessionKey, SessionOptions, SessionOrder, StoreError, default_segment_interval, session_to_bytes,
    },
    changelog::Changelog,
    window::{WindowedIterator, check_retention, windowed_changelog},
    windowed_cache::{Below, WindowedCache, between, merged},
};
use crate::{
    Data, SerdeRef,
    context::TaskContext,
    error::Error,
    record::{Headers, RawRecord},
    windowed::Windowed,
};

/// How a session store is kept.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// let options = SessionStoreOptions { retention_ms: 86_400_000, ..SessionStoreOptions::default() };
/// let def = SessionStore::def("visits", String::default_serde(), i64::default_serde(), options);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStoreOptions {
    /// Where its bytes are.
    pub store_type: StoreType,
    /// How long sessions are kept after their end, in milliseconds of stream time.
    pub retention_ms: i64,
    /// The order on disk.
    pub order: SessionOrder,
}

struct Core {
    name: Arc<str>,
    bytes: RefCell<SessionBytes>,
    cache: Option<WindowedCache<Times>>,
    changelog: Changelog,
    options: SessionStoreOptions,
    global: bool,
}

type Rows = Vec<(SessionKey, Bytes)>;

/// A session's place in the cache of its key: end, start.
type Times = (i64, i64);

/// The sessions that somebody asks for.
struct Query<'a> {
    /// The first and the last key; `None` is open.
    keys: (Option<&'a [u8]>, Option<&'a [u8]>),
    earliest_end: i64,
    latest_start: i64,
    reverse: bool,
}

impl Core {
    fn new(env: &StoreEnv<'_>, options: SessionStoreOptions) -> Result<Self, StoreError> {
        let segment_interval = default_segment_interval(options.retention_ms);
        let bytes =
            SessionOptions { retention: env.config.compatibility.retention(options.retention_ms), segment_interval, order: options.order };
        Ok(Self {
            name: env.name.clone(),
            bytes: RefCell::new(SessionBytes::open(env, options.store_type, bytes)?),
            cache: env.caching.then(|| WindowedCache::new(env.config.cache_max_bytes)),
            changelog: Changelog::of(env),
            options,
            global: env.global,
        })
    }

    fn put(&self, context: &mut TaskContext, session: SessionKey, value: Option<Bytes>) -> Result<(), Error> {
        match &self.cache {
            Some(cache) => {
                let times = (session.end, session.start);
                match value {
                    Some(value) => cache.put(&session.key, times, Some(&value), &context.record),
                    None => cache.delete(&session.key, times, self, &context.record)?,
                }
                cache.make_room(self, context)
            }
            None => self.write_session(context, &session, value),
        }
    }

    fn write_session(&self, context: &mut TaskContext, session: &SessionKey, value: Option<Bytes>) -> Result<(), Error> {
        if self.bytes.borrow_mut().put(session, value.clone()) == Put::Dropped {
            context.drop_record();
        }
        self.log(context, session, value);
        Ok(())
    }

    fn remove(&self, context: &mut TaskContext, session: SessionKey) -> Result<(), Error> {
        if self.cache.is_some() {
            return self.put(context, session, None);
        }
        self.bytes.borrow_mut().remove(&session);
        self.log(context, &session, None);
        Ok(())
    }

    fn log(&self, context: &mut TaskContext, session: &SessionKey, value: Option<Bytes>) {
        if self.changelog.is_on() {
            let key = session_to_bytes(&session.key, session.start, session.end);
            self.changelog.log(context, key, value, context.record.timestamp, Headers::empty());
        }
    }

    fn rows(&self, query: &Query<'_>) -> Result<Rows, Error> {
        let Query { keys: (key_from, key_to), earliest_end, latest_start, reverse } = *query;
        let below = self.bytes.borrow();
        let one_key = key_from.filter(|_| key_from == key_to);
        let rows = match one_key {
            Some(key) => below.find(key, earliest_end, latest_start, reverse),
            None => below.find_keys(key_from, key_to, earliest_end, latest_start, reverse),
        };
        let rows = rows.collect::<Result<Rows, StoreError>>()?;
        let Some(cache) = &self.cache else { return Ok(rows) };
        let session = |key: &Bytes, (end, start)| SessionKey { key: key.clone(), start, end };
        if let Some(key) = one_key {
            let cached = cache.of_key(key, (earliest_end, i64::MIN)..=(i64::MAX, i64::MAX)).into_iter();
            let key = Bytes::copy_from_slice(key);
            let cached = cached.filter(|((_, start), _)| *start <= latest_start).map(|(times, value)| (session(&key, times), value));
            return Ok(merged(rows, cached, reverse, |session| (session.end, session.start)));
        }
        let cached =
            cache.all(|key, (end, start)| end >= earliest_end && start <= latest_start && between(key, key_from, key_to)).into_iter();
        let cached = cached.map(|((key, times), value)| (session(&key, times), value));
        Ok(merged(rows, cached, reverse, |session| self.position(session)))
    }

    /// Where a session lies in the order of a scan.
    fn position(&self, SessionKey { key, start, end }: &SessionKey) -> (i64, Bytes) {
        let interval = match self.options.store_type {
            StoreType::InMemory => 1,
            StoreType::RocksDb => default_segment_interval(self.options.retention_ms),
        };
        (end.div_euclid(interval), session_to_bytes(key, *start, *end))
    }
}

impl Below<Times> for Core {
    fn fetch(&self, key: &[u8], (end, start): Times) -> Result<Option<Bytes>, Error> {
        Ok(self.bytes.borrow().fetch_session(key, start, end)?)
    }

    fn write(&self, context: &mut TaskContext, key: &Bytes, (end, start): Times, value: Option<&[u8]>) -> Result<(), Error> {
        self.write_session(context, &SessionKey { key: key.clone(), start, end }, value.map(Bytes::copy_from_slice))
    }
}

/// A session store. Handles are cheap to clone and belong to one task.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// fn visits(store: &SessionStore<String, i64>, who: &String) -> Result<Vec<(Windowed<String>, i64)>, Error> {
///     store.fetch(who)?.collect()
/// }
/// ```
pub struct SessionStore<K, V> {
    core: Rc<Core>,
    key: SerdeRef<K>,
    value: SerdeRef<V>,
}

impl<K, V> Clone for SessionStore<K, V> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), key: self.key.clone(), value: self.value.clone() }
    }
}

impl<K: Data, V: Data> AnyStore for SessionStore<K, V> {
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
        Ok(self.core.bytes.borrow_mut().restore(&key, record.value)?)
    }
    fn detach(&self) {
        self.core.cache.iter().for_each(WindowedCache::detach);
    }
    fn rocks(&self) -> Option<RocksHandle> {
        self.core.bytes.borrow().rocks()
    }
}

impl<K: Data, V: Data> SessionStore<K, V> {
    /// Makes such a store.
    pub fn maker(key: SerdeRef<K>, value: SerdeRef<V>, options: SessionStoreOptions) -> StoreMaker {
        Arc::new(move |env| {
            check_retention(env.name, options.retention_ms)?;
            Ok(Rc::new(Self { core: Rc::new(Core::new(env, options)?), key: key.clone(), value: value.clone() }))
        })
    }

    /// The definition of such a store: logged, not cached, with a changelog that forgets what the store has forgotten.
    pub fn def(name: impl Into<Arc<str>>, key: SerdeRef<K>, value: SerdeRef<V>, options: SessionStoreOptions) -> StoreDef {
        StoreDef {
            store_type: options.store_type,
            changelog: windowed_changelog(options.retention_ms, true),
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

    /// Sets or deletes the value of a session.
    pub fn put(&self, context: &mut TaskContext, session: &Windowed<K>, value: Option<&V>) -> Result<(), Error> {
        let value = value.map(|value| self.value.serialize(value)).transpose()?;
        self.core.put(context, self.session(session)?, value)
    }

    /// Deletes a session; unlike a put, also one that is too old.
    pub fn remove(&self, context: &mut TaskContext, session: &Windowed<K>) -> Result<(), Error> {
        self.core.remove(context, self.session(session)?)
    }

    /// The value of one session.
    pub fn fetch_session(&self, key: &K, start: i64, end: i64) -> Result<Option<V>, Error> {
        let key = self.key.serialize(key)?;
        let read = |row: Option<&[u8]>| Ok(row.map(|row| self.value.deserialize_slice(row)).transpose()?);
        let cached = self.core.cache.as_ref().and_then(|cache| cache.get(&key, (end, start), read));
        cached.unwrap_or_else(|| read(self.core.fetch(&key, (end, start))?.as_deref()))
    }

    /// The sessions of a key, by their end.
    pub fn fetch(&self, key: &K) -> Result<WindowedIterator<SessionKey, (Windowed<K>, V)>, Error> {
        self.find_sessions(key, 0, i64::MAX)
    }

    /// The same, last first.
    pub fn backward_fetch(&self, key: &K) -> Result<WindowedIterator<SessionKey, (Windowed<K>, V)>, Error> {
        self.backward_find_sessions(key, 0, i64::MAX)
    }

    /// The sessions of the keys from `first` to `last`, both included; `None` is open.
    pub fn fetch_keys(&self, first: Option<&K>, last: Option<&K>) -> Result<WindowedIterator<SessionKey, (Windowed<K>, V)>, Error> {
        self.find_sessions_of_keys(first, last, 0, i64::MAX)
    }

    /// The same, last first.
    pub fn backward_fetch_keys(
        &self,
        first: Option<&K>,
        last: Option<&K>,
    ) -> Result<WindowedIterator<SessionKey, (Windowed<K>, V)>, Error> {
        self.backward_find_sessions_of_keys(first, last, 0, i64::MAX)
    }

    /// The sessions of a key that end at `earliest_end` or later and start at `latest_start` or earlier, by their end.
    ///
    /// ```
    /// # use millstream_topology::{*, store::*};
    /// /// The sessions that a record at that time would be in, or would touch.
    /// fn near(store: &SessionStore<String, i64>, who: &String, time: i64, gap: i64) -> Result<Vec<(Windowed<String>, i64)>, Error> {
    ///     store.find_sessions(who, time - gap, time + gap)?.collect()
    /// }
    /// ```
    pub fn find_sessions(
        &self,
        key: &K,
        earliest_end: i64,
        latest_start: i64,
    ) -> Result<WindowedIterator<SessionKey, (Windowed<K>, V)>, Error> {
        self.find((Some(key), Some(key)), (earliest_end, latest_start), false)
    }

    /// The same, last first.
    pub fn backward_find_sessions(
        &self,
        key: &K,
        earliest_end: i64,
        latest_start: i64,
    ) -> Result<WindowedIterator<SessionKey, (Windowed<K>, V)>, Error> {
        self.find((Some(key), Some(key)), (earliest_end, latest_start), true)
    }

    /// The same as [`find_sessions`](Self::find_sessions) for the keys from `first` to `last`, both included; `None` is open.
    pub fn find_sessions_of_keys(
        &self,
        first: Option<&K>,
        last: Option<&K>,
        earliest_end: i64,
        latest_start: i64,
    ) -> Result<WindowedIterator<SessionKey, (Windowed<K>, V)>, Error> {
        self.find((first, last), (earliest_end, latest_start), false)
    }

    /// The same, last first.
    pub fn backward_find_sessions_of_keys(
        &self,
        first: Option<&K>,
        last: Option<&K>,
        earliest_end: i64,
        latest_start: i64,
    ) -> Result<WindowedIterator<SessionKey, (Windowed<K>, V)>, Error> {
        self.find((first, last), (earliest_end, latest_start), true)
    }

    /// The sessions of all keys that end from `from` to `to`, both included, by their end: for a store that is not cached and, on disk,
    /// finds sessions by time.
    pub fn find_sessions_by_end(&self, from: i64, to: i64) -> Result<WindowedIterator<SessionKey, (Windowed<K>, V)>, Error> {
        let rows = self.core.bytes.borrow().find_by_end(from, to)?.collect::<Result<Rows, StoreError>>()?;
        Ok(self.iterator(rows))
    }

    /// Has the cache call `listener` with what leaves it: session, new and old value; the old one only if `send_old`.
    pub fn set_flush_listener(
        &self,
        listener: impl Fn(&mut TaskContext, Windowed<K>, Option<V>, Option<V>) -> Result<(), Error> + 'static,
        send_old: bool,
    ) {
        let Some(cache) = &self.core.cache else { return };
        let (key, value) = (self.key.clone(), self.value.clone());
        let typed = move |context: &mut TaskContext, in_bytes: &[u8], (end, start): Times, new: Option<&[u8]>, old: Option<&[u8]>| {
            let windowed = Windowed::new(key.deserialize_slice(in_bytes)?, start, end);
            let read = |row: Option<&[u8]>| row.map(|row| value.deserialize_slice(row)).transpose();
            listener(context, windowed, read(new)?, read(old)?)
        };
        cache.set_listener(Rc::new(typed), send_old);
    }

    fn session(&self, session: &Windowed<K>) -> Result<SessionKey, Error> {
        Ok(SessionKey { key: self.key.serialize(&session.key)?, start: session.window.start, end: session.window.end })
    }

    fn find(
        &self,
        (first, last): (Option<&K>, Option<&K>),
        (earliest_end, latest_start): (i64, i64),
        reverse: bool,
    ) -> Result<WindowedIterator<SessionKey, (Windowed<K>, V)>, Error> {
        let first = first.map(|key| self.key.serialize(key)).transpose()?;
        let last = last.map(|key| self.key.serialize(key)).transpose()?;
        let query = Query { keys: (first.as_deref(), last.as_deref()), earliest_end, latest_start, reverse };
        Ok(self.iterator(self.core.rows(&query)?))
    }

    fn iterator(&self, rows: Rows) -> WindowedIterator<SessionKey, (Windowed<K>, V)> {
        let (key, value) = (self.key.clone(), self.value.clone());
        WindowedIterator::new(rows, move |session: SessionKey, row| {
            Ok((Windowed::new(key.deserialize(&session.key)?, session.start, session.end), value.deserialize(row)?))
        })
    }
}
