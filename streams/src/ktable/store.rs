//! The store of a table: its definition while the topology is drawn, its handle at run time.

use std::sync::Arc;

use millstream_topology::{
    Assembly, Change, Children, Data, Error, Record, SerdeRef, TaskContext, ValueAndTimestamp,
    store::{StoreDef, StoreType, TimestampedKeyValueStore},
};

use super::{Getter, View};
use crate::{
    builder::{TopologyConfig, graph::Graph, need},
    options::Materialized,
};

/// What a table's store is made of.
pub(crate) struct StoreSpec<K: Data, V: Data> {
    pub name: Arc<str>,
    pub named_by_user: bool,
    pub key: Option<SerdeRef<K::Present>>,
    pub value: Option<SerdeRef<V::Present>>,
    store_type: StoreType,
    caching: bool,
    logging: bool,
    versioned: Option<crate::options::Versioned>,
    def: Arc<std::sync::OnceLock<StoreDef>>,
}

impl<K: Data, V: Data> Clone for StoreSpec<K, V> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            named_by_user: self.named_by_user,
            key: self.key.clone(),
            value: self.value.clone(),
            store_type: self.store_type,
            caching: self.caching,
            logging: self.logging,
            versioned: self.versioned,
            def: self.def.clone(),
        }
    }
}

impl<K: Data<Present = K>, V: Data<Present = V>> StoreSpec<K, V> {
    /// The store that `materialized` asks for; a name is generated, and a number spent, if it has none.
    pub fn new(
        graph: &mut Graph,
        prefix: &str,
        materialized: &Materialized<K, V>,
        key: Option<&SerdeRef<K>>,
        value: Option<&SerdeRef<V>>,
        config: &TopologyConfig,
    ) -> Self {
        let named_by_user = materialized.store_name.is_some();
        let name: Arc<str> = match &materialized.store_name {
            Some(name) => {
                let outcome = millstream_topology::check_name(name);
                graph.check(outcome);
                name.as_str().into()
            }
            None => {
                let name = graph.generate_store(prefix);
                graph.implicit_names.push(name.clone());
                name.into()
            }
        };
        Self {
            name,
            named_by_user,
            key: materialized.key.resolve(key),
            value: materialized.value.resolve(value),
            store_type: materialized.store_type.unwrap_or(config.store_type),
            caching: materialized.caching,
            logging: materialized.logging,
            versioned: materialized.versioned,
            def: Arc::default(),
        }
    }

    /// Its name, if the user gave it one.
    pub fn queryable(&self) -> Option<Arc<str>> {
        self.named_by_user.then(|| self.name.clone())
    }

    pub fn is_versioned(&self) -> bool {
        self.versioned.is_some()
    }

    /// The definition; the same at every call.
    pub fn def(&self) -> Result<StoreDef, Error> {
        if let Some(def) = self.def.get() {
            return Ok(def.clone());
        }
        let (key, value) = (need(self.key.clone(), &self.name, "key")?, need(self.value.clone(), &self.name, "value")?);
        let make = TimestampedKeyValueStore::<K, V>::maker(key, value, self.store_type);
        let mut def = StoreDef::new(self.name.clone(), make);
        (def.caching, def.logging, def.store_type) = (self.caching, self.logging, self.store_type);
        Ok(self.def.get_or_init(|| def).clone())
    }

    /// The handle of the store for one task.
    pub fn open(name: &Arc<str>, assembly: &Assembly<'_>) -> Result<Store<K, V>, Error> {
        Ok(Store(assembly.store(name)?))
    }

    /// How to look up rows in it.
    pub fn view(&self) -> View<K, V> {
        let name = self.name.clone();
        View {
            stores: vec![name.clone()],
            make: Arc::new(move |assembly| Ok(Box::new(Self::open(&name, assembly)?) as Box<dyn Getter<K, V>>)),
        }
    }
}

/// The rows of a table in one task.
pub(crate) struct Store<K, V>(pub TimestampedKeyValueStore<K, V>);

impl<K, V> Clone for Store<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Data, V: Data> Store<K, V> {
    pub fn get(&self, key: &K) -> Result<Option<ValueAndTimestamp<V>>, Error> {
        self.0.get(key)
    }

    pub fn put(&self, context: &mut TaskContext, key: &K, row: Option<(&V, i64)>) -> Result<(), Error> {
        self.0.put(context, key, row)
    }

    /// Has the record cache forward what leaves it to these children.
    pub fn forward_on_flush(&self, children: &Children<K, Change<V>>, send_old: bool) {
        let (children, store) = (children.clone(), self.0.clone());
        let listener = move |context: &mut TaskContext, key: &bytes::Bytes, new: Option<bytes::Bytes>, old: Option<bytes::Bytes>| {
            let new = new.map(|row| store.read(&row)).transpose()?;
            let old = old.map(|row| store.read(&row)).transpose()?;
            let timestamp = new.as_ref().map_or(context.record.timestamp, |row| row.timestamp);
            let change = Change::new(new.map(|row| row.value), old.map(|row| row.value));
            let record = Record { key: store.read_key(key)?, value: change, timestamp, headers: context.record.headers.clone() };
            children.forward(context, record)
        };
        self.0.set_flush_listener(Box::new(listener), send_old);
    }

    /// Forwards a change, unless the cache does that when it is flushed.
    pub fn maybe_forward(&self, children: &Children<K, Change<V>>, context: &mut TaskContext, record: Record<K, Change<V>>) -> Result<(), Error> {
        if self.0.is_cached() { Ok(()) } else { children.forward(context, record) }
    }
}

impl<K: Data, V: Data> Getter<K, V> for Store<K, V> {
    fn get(&mut self, _: &mut TaskContext, key: &K) -> Result<Option<ValueAndTimestamp<V>>, Error> {
        self.0.get(key)
    }
}

