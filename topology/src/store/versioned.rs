//! Versioned key-value stores (KIP-889): every key has a history, and old versions can be asked for.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use bytes::Bytes;

use super::{
    AnyStore, StoreEnv, StoreMaker, StoreType,
    bytes::{RocksHandle, VersionedBytes, VersionedOptions, VersionedPut, VersionedValue},
    changelog::Changelog,
};
use crate::{
    Data, SerdeRef,
    context::TaskContext,
    error::Error,
    record::{Headers, RawRecord, ValueAndTimestamp},
};

/// A value of a key, and from when until when it was valid.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// fn replaced(version: &VersionedRecord<i64>) -> bool {
///     version.valid_to.is_some()
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct VersionedRecord<V> {
    /// The value.
    pub value: V,
    /// From when it is valid, in milliseconds since the epoch.
    pub timestamp: i64,
    /// Until when it is valid, exclusive; `None` for the latest version.
    pub valid_to: Option<i64>,
}

struct Core {
    name: Arc<str>,
    bytes: RefCell<VersionedBytes>,
    changelog: Changelog,
    global: bool,
}

/// A versioned key-value store. Handles are cheap to clone and belong to one task.
///
/// **Law.** A put takes its place among the versions by its timestamp, whenever it comes, unless it is older than the store's history.
/// It is never cached, and every put is logged, also one that came too late.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// fn price_at(prices: &VersionedKeyValueStore<String, i64>, key: &String, time: i64) -> Result<Option<i64>, Error> {
///     Ok(prices.get_as_of(key, time)?.map(|version| version.value))
/// }
/// ```
pub struct VersionedKeyValueStore<K, V> {
    core: Rc<Core>,
    key: SerdeRef<K>,
    value: SerdeRef<V>,
}

impl<K, V> Clone for VersionedKeyValueStore<K, V> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), key: self.key.clone(), value: self.value.clone() }
    }
}

impl<K: Data, V: Data> VersionedKeyValueStore<K, V> {
    /// Makes such a store on `store_type`.
    pub fn maker(key: SerdeRef<K>, value: SerdeRef<V>, store_type: StoreType, options: VersionedOptions) -> StoreMaker {
        Arc::new(move |env: &StoreEnv<'_>| {
            let bytes = RefCell::new(VersionedBytes::open(env, store_type, options)?);
            let core = Core { name: env.name.clone(), bytes, changelog: Changelog::of(env), global: env.global };
            Ok(Rc::new(Self { core: Rc::new(core), key: key.clone(), value: value.clone() }))
        })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.core.name
    }

    /// Puts a version, or that the key has no value from then on.
    pub fn put(&self, context: &mut TaskContext, key: &K, value: Option<&V>, timestamp: i64) -> Result<VersionedPut, Error> {
        let key = self.key.serialize(key)?;
        let value = value.map(|value| self.value.serialize(value)).transpose()?;
        let put = self.core.bytes.borrow_mut().put(&key, value.clone(), timestamp)?;
        self.core.after_put(context, key, value, timestamp, put);
        Ok(put)
    }

    /// Deletes the key's value from then on; returns what was valid then.
    pub fn delete(&self, context: &mut TaskContext, key: &K, timestamp: i64) -> Result<Option<ValueAndTimestamp<V>>, Error> {
        let key = self.key.serialize(key)?;
        let (before, put) = self.core.bytes.borrow_mut().delete(&key, timestamp)?;
        self.core.after_put(context, key, None, timestamp, put);
        before.map(|version| self.read(&version)).transpose()
    }

    /// The latest version.
    pub fn get(&self, key: &K) -> Result<Option<ValueAndTimestamp<V>>, Error> {
        let version = self.core.bytes.borrow().get(&self.key.serialize(key)?)?;
        version.map(|version| self.read(&version)).transpose()
    }

    /// The version that was valid at `timestamp`; none if that is older than the store's history.
    pub fn get_as_of(&self, key: &K, timestamp: i64) -> Result<Option<ValueAndTimestamp<V>>, Error> {
        let version = self.core.bytes.borrow().get_as_of(&self.key.serialize(key)?, timestamp)?;
        version.map(|version| self.read(&version)).transpose()
    }

    /// The versions that were valid at some time from `from` to `to`, both included; the latest first if `reverse` (KIP-968).
    ///
    /// ```
    /// # use millstream_topology::{*, store::*};
    /// fn history(prices: &VersionedKeyValueStore<String, i64>, key: &String) -> Result<Vec<i64>, Error> {
    ///     Ok(prices.versions(key, 0, i64::MAX, false)?.into_iter().map(|version| version.value).collect())
    /// }
    /// ```
    pub fn versions(&self, key: &K, from: i64, to: i64, reverse: bool) -> Result<Vec<VersionedRecord<V>>, Error> {
        let versions = self.core.bytes.borrow().range(&self.key.serialize(key)?, from, to, reverse)?;
        let read = |version: VersionedValue| {
            let ValueAndTimestamp { value, timestamp } = self.read(&version)?;
            Ok(VersionedRecord { value, timestamp, valid_to: version.valid_to })
        };
        versions.into_iter().map(read).collect()
    }

    fn read(&self, version: &VersionedValue) -> Result<ValueAndTimestamp<V>, Error> {
        Ok(ValueAndTimestamp { value: self.value.deserialize(&version.value)?, timestamp: version.timestamp })
    }
}

impl Core {
    fn after_put(&self, context: &mut TaskContext, key: Bytes, value: Option<Bytes>, timestamp: i64, put: VersionedPut) {
        if put == (VersionedPut::NotPut { dropped: true }) {
            context.drop_record();
        }
        self.changelog.log(context, key, value, timestamp, Headers::empty());
    }
}

impl<K: Data, V: Data> AnyStore for VersionedKeyValueStore<K, V> {
    fn name(&self) -> &Arc<str> {
        &self.core.name
    }
    fn is_global(&self) -> bool {
        self.core.global
    }
    fn handle(&self) -> &dyn std::any::Any {
        self
    }
    fn flush(&self, _: &mut TaskContext) -> Result<(), Error> {
        Ok(())
    }
    fn restore(&self, record: RawRecord) -> Result<(), Error> {
        if let Some(key) = record.key {
            self.core.bytes.borrow_mut().put(&key, record.value, record.timestamp)?;
        }
        Ok(())
    }
    fn rocks(&self) -> Option<RocksHandle> {
        self.core.bytes.borrow().rocks()
    }
}
