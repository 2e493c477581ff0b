//! Stores, and the ops of the low-level API. Those work on the topology that the DSL has built, after all other ops.

use std::sync::Arc;

use millstream::{
    ProcessorTopology, Produced,
    store::{
        KeyValueStore, SessionStore, SessionStoreOptions, StoreDef, TimestampedKeyValueStore, VersionedKeyValueStore, WindowStore,
        WindowStoreOptions,
        bytes::{VersionedOptions, default_version_interval},
    },
};

use super::{Builder, options::consumed};
use crate::{
    functions::Bad,
    processors::{Processor, Run},
    run::Stop,
    scenario::{AddProcessor, AddSink, AddSource, Kind, Store, StoreKind, Text},
    value::{Type, Value},
};

impl<'a> Builder<'a> {
    pub(super) fn add_state_store(&mut self, op: &'a Store) -> Result<(), Stop> {
        let def = self.store_def(op)?;
        self.builder.add_state_store(def);
        Ok(())
    }

    fn store_def(&mut self, op: &Store) -> Result<StoreDef, Stop> {
        let (name, key, value) = (&*op.name, op.key.serde(), op.value.serde());
        let kind = op.store.unwrap_or(self.default_store);
        let store_type = self.store_type(if op.kind == Kind::Versioned { StoreKind::Rocksdb } else { kind });
        let made = |make| StoreDef { store_type, ..StoreDef::new(name, make) };
        let mut def = match op.kind {
            Kind::Kv => made(KeyValueStore::maker(key, value, store_type)),
            Kind::TimestampedKv => made(TimestampedKeyValueStore::maker(key, value, store_type)),
            Kind::Lru => {
                let max = op.max_entries.ok_or_else(|| Bad("field max_entries is missing".into()))?;
                made(KeyValueStore::lru_maker(key, value, max))
            }
            Kind::Versioned => {
                let history_retention = op.history.ok_or_else(|| Bad("field history is missing".into()))?;
                let segment_interval = op.segment.unwrap_or_else(|| default_version_interval(history_retention));
                let options = VersionedOptions { history_retention, segment_interval };
                let def = made(VersionedKeyValueStore::maker(key, value, store_type, options));
                StoreDef { history_retention: op.history, ..def }
            }
            Kind::Window => {
                let options = WindowStoreOptions {
                    store_type,
                    retention_ms: op.retention,
                    window_size_ms: op.window_size,
                    retain_duplicates: op.retain_duplicates,
                    ..WindowStoreOptions::default()
                };
                WindowStore::def(name, key, value, options)
            }
            Kind::Session => {
                let options = SessionStoreOptions { store_type, retention_ms: op.retention, ..SessionStoreOptions::default() };
                SessionStore::def(name, key, value, options)
            }
        };
        if let Some(caching) = op.caching {
            def.caching = caching;
        }
        if let Some(logging) = op.logging {
            def.logging = logging;
        }
        Ok(def)
    }

    pub(super) fn add_source(&mut self, op: &'a AddSource) -> Result<(), Stop> {
        let types = self.topic(op.topics.first().ok_or_else(|| Bad("a source without topics".into()))?)?;
        self.nodes()?.add_source::<Value, Option<Value>>(&op.name, &texts(&op.topics), consumed(types, &None, None, None))?;
        self.node_types.insert(&op.name, types);
        Ok(())
    }

    pub(super) fn add_processor(&mut self, op: &'a AddProcessor) -> Result<(), Stop> {
        let types = self.types_below(&op.parents);
        let (processor, key, value) = Processor::parse(&op.processor, types.0, types.1)?;
        let store: Option<Arc<str>> = op.stores.first().map(|name| Arc::from(&**name));
        let supplier = move || Run::new(processor.clone(), store.clone());
        self.nodes()?.add_processor::<Value, Option<Value>, Value, Option<Value>, _>(&op.name, supplier, &texts(&op.parents))?;
        self.node_types.insert(&op.name, (key, value));
        Ok(())
    }

    pub(super) fn add_store(&mut self, op: &'a Store) -> Result<(), Stop> {
        let def = self.store_def(op)?;
        Ok(self.nodes()?.add_state_store(def, &texts(&op.processors))?)
    }

    pub(super) fn add_sink(&mut self, op: &'a AddSink) -> Result<(), Stop> {
        let (key, value) = self.topic(&op.topic)?;
        let produced = Produced::<Value, Option<Value>>::with(key.serde(), value.serde());
        Ok(self.nodes()?.add_sink(&op.name, &op.topic, produced, &texts(&op.parents))?)
    }

    /// The topology as nodes, built by the DSL when the first of them comes.
    fn nodes(&mut self) -> Result<&mut ProcessorTopology, Stop> {
        if self.nodes.is_none() {
            self.nodes = Some(self.builder.build()?.into());
        }
        Ok(self.nodes.get_or_insert_default())
    }

    /// What the first parent sends: texts if it is a node of the DSL.
    fn types_below(&self, parents: &[Text]) -> (Type, Type) {
        let known = parents.first().and_then(|parent| self.node_types.get(&**parent));
        known.copied().unwrap_or((Type::Str, Type::Str))
    }
}

fn texts(texts: &[Text]) -> Vec<&str> {
    texts.iter().map(|text| &**text).collect()
}
