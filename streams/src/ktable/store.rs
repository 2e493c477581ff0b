//! The store of a table: its definition while the topology is drawn, its handle at run time.

use std::sync::Arc;

use millstream_topology::{
    Assembly, Change, Children, Data, Error, ErrorKind, NodeMaker, Record, SerdeRef, TaskContext, Topology, ValueAndTimestamp,
    store::{
        LoggedHeaders, StoreDef, StoreType, TimestampedKeyValueStore, VersionedKeyValueStore,
        bytes::{VersionedOptions, VersionedPut, default_version_interval},
    },
};

use super::{Getter, View};
use crate::{
    builder::{TopologyConfig, graph::Graph, need},
    options::{Materialized, Versioned},
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
    logged_headers: LoggedHeaders,
    versioned: Option<Versioned>,
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
            logged_headers: self.logged_headers,
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
        let store_type = materialized.store_type.unwrap_or(config.store_type);
        let has_headers = config.headers_format && store_type == StoreType::RocksDb;
        check_versioned(graph, materialized);
        let name: Arc<str> = match &materialized.store_name {
            Some(name) => {
                // The name of a store that the user supplies, as a versioned one is in Kafka Streams, is the user's own affair.
                if materialized.versioned.is_none() {
                    let outcome = millstream_topology::check_name(name);
                    graph.check(outcome);
                }
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
            store_type,
            caching: materialized.caching,
            logging: materialized.logging,
            logged_headers: if has_headers { LoggedHeaders::OfDeletions } else { LoggedHeaders::None },
            versioned: materialized.versioned,
            def: Arc::default(),
        }
    }

    /// The same, for operations that store their rows only where the user named a store.
    pub fn if_named(
        graph: &mut Graph,
        materialized: &Materialized<K, V>,
        key: Option<&SerdeRef<K>>,
        value: Option<&SerdeRef<V>>,
        config: &TopologyConfig,
    ) -> Option<Self> {
        check_versioned(graph, materialized);
        materialized.store_name.is_some().then(|| Self::new(graph, "", materialized, key, value, config))
    }

    /// Its name, if the user gave it one.
    pub fn queryable(&self) -> Option<Arc<str>> {
        self.named_by_user.then(|| self.name.clone())
    }

    pub fn is_versioned(&self) -> bool {
        self.versioned.is_some()
    }

    /// Whether it is in the headers format.
    pub fn has_headers(&self) -> bool {
        self.logged_headers == LoggedHeaders::OfDeletions
    }

    /// The definition; the same at every call.
    pub fn def(&self) -> Result<StoreDef, Error> {
        if let Some(def) = self.def.get() {
            return Ok(def.clone());
        }
        let (key, value) = (need(self.key.clone(), &self.name, "key")?, need(self.value.clone(), &self.name, "value")?);
        let def = match self.versioned {
            Some(versioned) => self.versioned_def(versioned, key, value)?,
            None => {
                let make = TimestampedKeyValueStore::<K, V>::maker(key, value, self.store_type);
                StoreDef { caching: self.caching, logged_headers: self.logged_headers, ..StoreDef::new(self.name.clone(), make) }
            }
        };
        let def = StoreDef { logging: self.logging, store_type: self.store_type, ..def };
        Ok(self.def.get_or_init(|| def).clone())
    }

    fn versioned_def(&self, versioned: Versioned, key: SerdeRef<K>, value: SerdeRef<V>) -> Result<StoreDef, Error> {
        /// How much longer than the history a changelog keeps what was replaced.
        const CHANGELOG_SLACK_MS: i64 = 24 * 60 * 60 * 1_000;
        let history_retention = versioned.history_retention_ms;
        let segment_interval = versioned.segment_interval_ms.unwrap_or_else(|| default_version_interval(history_retention));
        let options = VersionedOptions { history_retention, segment_interval };
        let make = VersionedKeyValueStore::<K, V>::maker(key, value, self.store_type, options);
        let mut def = StoreDef::new(self.name.clone(), make);
        def.changelog.min_compaction_lag_ms = Some(history_retention.saturating_add(CHANGELOG_SLACK_MS));
        def.history_retention = Some(history_retention);
        Ok(def)
    }

    /// Writes a node and, if it has one, its store.
    pub fn write_node(
        this: Option<&Self>,
        topology: &mut Topology,
        name: &str,
        parents: &[Arc<str>],
        node: NodeMaker,
    ) -> Result<(), Error> {
        topology.add_processor(name, parents, node)?;
        match this {
            Some(store) => topology.add_store(store.def()?, &[name]),
            None => Ok(()),
        }
    }

    /// The definition of a windowed store, which `make` makes of name, serdes and kind; the same at every call.
    pub fn windowed_def(
        &self,
        caching: bool,
        make: impl FnOnce(Arc<str>, SerdeRef<K>, SerdeRef<V>, StoreType) -> StoreDef,
    ) -> Result<StoreDef, Error> {
        if let Some(def) = self.def.get() {
            return Ok(def.clone());
        }
        let (key, value) = (need(self.key.clone(), &self.name, "key")?, need(self.value.clone(), &self.name, "value")?);
        let def = make(self.name.clone(), key, value, self.store_type);
        let def = StoreDef { caching: self.caching && caching, logging: self.logging, logged_headers: self.logged_headers, ..def };
        Ok(self.def.get_or_init(|| def).clone())
    }

    /// The handle of the store for one task.
    pub fn open(name: &Arc<str>, assembly: &Assembly<'_>) -> Result<Store<K, V>, Error> {
        match assembly.reachable_stores().get(name).and_then(|store| store.typed::<VersionedKeyValueStore<K, V>>()) {
            Some(_) => Ok(Store::Versioned(assembly.store(name)?)),
            None => Ok(Store::Timestamped(assembly.store(name)?)),
        }
    }

    /// The same, of a store that may not be there; what leaves its cache goes to `children`.
    pub fn open_for(
        name: Option<&Arc<str>>,
        assembly: &Assembly<'_>,
        children: &Children<K, Change<V>>,
        send_old: bool,
    ) -> Result<Option<Store<K, V>>, Error> {
        let store = name.map(|name| Self::open(name, assembly)).transpose()?;
        if let Some(store) = &store {
            store.forward_on_flush(children, send_old);
        }
        Ok(store)
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

fn check_versioned<K: Data, V: Data>(graph: &mut Graph, materialized: &Materialized<K, V>) {
    let Some(Versioned { history_retention_ms, segment_interval_ms }) = materialized.versioned else { return };
    let Some(name) = &materialized.store_name else {
        return graph.fail(ErrorKind::IllegalArgument, "a versioned store has no name: give it one with Materialized::store_name");
    };
    if history_retention_ms < 0 || segment_interval_ms.is_some_and(|interval| interval < 1) {
        let text = format!("{name}: a versioned store has a history of at least 0 ms and segments of at least 1 ms");
        graph.fail(ErrorKind::IllegalArgument, text);
    }
}

/// The rows of a table in one task: the newest of each key, or all versions.
pub(crate) enum Store<K, V> {
    Timestamped(TimestampedKeyValueStore<K, V>),
    Versioned(VersionedKeyValueStore<K, V>),
}

impl<K, V> Clone for Store<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Timestamped(store) => Self::Timestamped(store.clone()),
            Self::Versioned(store) => Self::Versioned(store.clone()),
        }
    }
}

impl<K: Data, V: Data> Store<K, V> {
    pub fn get(&self, key: &K) -> Result<Option<ValueAndTimestamp<V>>, Error> {
        match self {
            Self::Timestamped(store) => store.get(key),
            Self::Versioned(store) => store.get(key),
        }
    }

    /// Stores a change's new value and forwards the change; not at once if the cache will do that, and not at all if the store's history
    /// does not reach back so far.
    pub fn update(
        &self,
        children: &Children<K, Change<V>>,
        context: &mut TaskContext,
        mut record: Record<K, Change<V>>,
    ) -> Result<(), Error> {
        record.headers = record.headers.copied();
        let Record { key, value: change, timestamp, .. } = &mut record;
        match self {
            Self::Timestamped(store) => {
                store.put(context, key, change.new.as_ref().map(|value| (value, *timestamp)))?;
                if store.is_cached() {
                    return Ok(());
                }
                change.is_latest = true;
            }
            Self::Versioned(store) => match store.put(context, key, change.new.as_ref(), *timestamp)? {
                VersionedPut::NotPut { .. } => return Ok(()),
                put => change.is_latest = put == VersionedPut::Latest,
            },
        }
        children.forward(context, record)
    }

    /// Has the record cache forward what leaves it to these children.
    pub fn forward_on_flush(&self, children: &Children<K, Change<V>>, send_old: bool) {
        let Self::Timestamped(store) = self else { return };
        let (children, handle) = (children.clone(), store.clone());
        let listener = move |context: &mut TaskContext, key: &[u8], new: Option<&[u8]>, old: Option<&[u8]>| {
            let new = new.map(|row| handle.read(row)).transpose()?;
            let old = old.map(|row| handle.read(row)).transpose()?;
            let timestamp = new.as_ref().map_or(context.record.timestamp, |row| row.timestamp);
            let change = Change::new(new.map(|row| row.value), old.map(|row| row.value));
            let record = Record { key: handle.read_key(key)?, value: change, timestamp, headers: context.record.headers.copied() };
            children.forward(context, record)
        };
        store.set_flush_listener(Box::new(listener), send_old);
    }
}

impl<K: Data, V: Data> Getter<K, V> for Store<K, V> {
    fn get(&mut self, _: &mut TaskContext, key: &K) -> Result<Option<ValueAndTimestamp<V>>, Error> {
        Self::get(self, key)
    }

    fn get_as_of(&mut self, _: &mut TaskContext, key: &K, time: i64) -> Result<Option<ValueAndTimestamp<V>>, Error> {
        match self {
            Self::Timestamped(store) => store.get(key),
            Self::Versioned(store) => store.get_as_of(key, time),
        }
    }

    fn is_versioned(&self) -> bool {
        matches!(self, Self::Versioned(_))
    }
}
