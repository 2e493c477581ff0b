//! Stores, and the ops of the low-level API. Those work on the topology that the DSL has built, after all other ops.

use millstream_topology::store::{
    KeyValueStore, StoreDef, TimestampedKeyValueStore, VersionedKeyValueStore,
    bytes::{VersionedOptions, default_version_interval},
};

use super::{Builder, unsupported};
use crate::{
    functions::Bad,
    run::Stop,
    scenario::{AddProcessor, AddSink, AddSource, Kind, Store, StoreKind},
};

impl<'a> Builder<'a> {
    pub(super) fn add_state_store(&mut self, op: &'a Store) -> Result<(), Stop> {
        let def = self.store_def(op)?;
        self.builder.add_state_store(def);
        Ok(())
    }

    fn store_def(&mut self, op: &Store) -> Result<StoreDef, Stop> {
        let (key, value) = (op.key.serde(), op.value.serde());
        let kind = op.store.unwrap_or(self.default_store);
        let store_type = self.store_type(if op.kind == Kind::Versioned { StoreKind::Rocksdb } else { kind });
        let make = match op.kind {
            Kind::Kv => KeyValueStore::maker(key, value, store_type),
            Kind::TimestampedKv => TimestampedKeyValueStore::maker(key, value, store_type),
            Kind::Lru => {
                let max = op.max_entries.ok_or_else(|| Bad("field max_entries is missing".into()))?;
                KeyValueStore::lru_maker(key, value, max)
            }
            Kind::Versioned => {
                let history_retention = op.history.ok_or_else(|| Bad("field history is missing".into()))?;
                let segment_interval = op.segment.unwrap_or_else(|| default_version_interval(history_retention));
                VersionedKeyValueStore::maker(key, value, store_type, VersionedOptions { history_retention, segment_interval })
            }
            Kind::Window => return unsupported("add_state_store of a window store"),
            Kind::Session => return unsupported("add_state_store of a session store"),
        };
        let mut def = StoreDef { store_type, ..StoreDef::new(&*op.name, make) };
        if op.kind == Kind::Versioned {
            def.history_retention = op.history;
        }
        if let Some(caching) = op.caching {
            def.caching = caching;
        }
        if let Some(logging) = op.logging {
            def.logging = logging;
        }
        Ok(def)
    }

    pub(super) fn add_source(&mut self, _: &'a AddSource) -> Result<(), Stop> {
        unsupported("add_source")
    }

    pub(super) fn add_processor(&mut self, _: &'a AddProcessor) -> Result<(), Stop> {
        unsupported("add_processor")
    }

    pub(super) fn add_store(&mut self, _: &'a Store) -> Result<(), Stop> {
        unsupported("add_store")
    }

    pub(super) fn add_sink(&mut self, _: &'a AddSink) -> Result<(), Stop> {
        unsupported("add_sink")
    }
}
