//! The option objects of ops.

use std::time::SystemTime;

use millstream::{
    Consumed, Data, Error, Grouped, InvalidTimestamp, Materialized, Named, OffsetReset, Produced, Record, StoreType, TimestampExtractor,
};

use super::{
    Builder,
    handle::{Handle, Key, seen},
};
use crate::{
    functions::{Bad, Spec},
    scenario::{self, Extractor, StoreKind, Text},
    value::{Type, Value},
};

pub fn named(name: &Option<Text>) -> Option<Named> {
    name.as_deref().map(Named::new)
}

/// Calls the plain form of an operation, or the named one.
macro_rules! call {
    ($on:expr, $name:expr, $plain:ident / $named:ident ( $($argument:expr),* )) => {
        match $crate::topology::options::named($name) {
            None => $on.$plain($($argument),*),
            Some(name) => $on.$named(name, $($argument),*),
        }
    };
}
pub(super) use call;

pub fn consumed<K: Data<Present = Value>>(
    (key, value): (Type, Type),
    name: &Option<Text>,
    extractor: Option<Extractor>,
    offset_reset: Option<scenario::OffsetReset>,
) -> Consumed<K, Option<Value>> {
    let mut consumed = Consumed::with(key.serde(), value.serde());
    if let Some(extractor) = extractor {
        consumed = consumed.timestamp_extractor(extractor);
    }
    if let Some(reset) = offset_reset {
        consumed = consumed.offset_reset(match reset {
            scenario::OffsetReset::Earliest => OffsetReset::Earliest,
            scenario::OffsetReset::Latest => OffsetReset::Latest,
            scenario::OffsetReset::None => OffsetReset::None,
        });
    }
    match name {
        Some(name) => consumed.name(&**name),
        None => consumed,
    }
}

impl<K: Data> TimestampExtractor<K, Option<Value>> for Extractor {
    fn extract(&self, record: &Record<K, Option<Value>>, partition_time: i64) -> Result<i64, Error> {
        match self {
            Self::Fail => InvalidTimestamp::Fail.extract(record, partition_time),
            Self::Skip => InvalidTimestamp::Skip.extract(record, partition_time),
            Self::PartitionTime => InvalidTimestamp::PartitionTime.extract(record, partition_time),
            Self::Value => Ok(seen(&record.value).number()),
            Self::Partition => Ok(partition_time),
            Self::Wall => Ok(SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis() as i64)),
        }
    }
}

pub fn produced<K: Key>(handle: &Handle, name: &Option<Text>, partitioner: &Option<Text>) -> Result<Produced<K, Option<Value>>, Bad> {
    let mut produced = Produced::with(K::serde(handle.key), handle.value.serde());
    if let Some(spec) = partitioner {
        let spec = Spec::new(spec);
        produced = match spec.name {
            "default" => produced.partitioner(|_, _, _, _| None),
            "zero" => produced.partitioner(|_, _, _, _| Some(vec![0])),
            "drop_if" => {
                let match_ = spec.text()?;
                produced.partitioner(move |_, _, value, _| (seen(value).text() == *match_).then(Vec::new))
            }
            _ => return Err(spec.bad("there is no such partitioner")),
        };
    }
    Ok(match name {
        Some(name) => produced.name(&**name),
        None => produced,
    })
}

pub fn grouped(key: Type, value: Type, name: &Option<Text>) -> Grouped<Value, Option<Value>> {
    let grouped = Grouped::with(key.serde(), value.serde());
    match name {
        Some(name) => grouped.name(&**name),
        None => grouped,
    }
}

pub fn grouped_table(key: Type, value: Type, name: &Option<Text>) -> Grouped<Value, Value> {
    let grouped = Grouped::with(key.serde(), value.serde());
    match name {
        Some(name) => grouped.name(&**name),
        None => grouped,
    }
}

impl Builder<'_> {
    /// How an op materializes a table of these types; its node gets the op's name.
    pub fn materialized<K: Key>(
        &mut self,
        options: &Option<scenario::Materialized>,
        name: &Option<Text>,
        (key, value): (Type, Type),
    ) -> Materialized<K, Value> {
        let mut materialized = Materialized::with(K::serde(key), value.serde());
        if let Some(name) = name {
            materialized = materialized.name(&**name);
        }
        let Some(options) = options else { return materialized };
        if let Some(name) = &options.name {
            materialized = materialized.store_name(&**name);
        }
        if let Some(versioned) = &options.versioned {
            self.needs_rocksdb = true;
            materialized = match versioned.segment {
                Some(segment) => materialized.versioned_with_segments(versioned.history, segment),
                None => materialized.versioned(versioned.history),
            };
        }
        if let Some(store) = options.store {
            materialized = materialized.store_type(self.store_type(store));
        }
        if let Some(caching) = options.caching {
            materialized = materialized.caching(caching);
        }
        if let Some(logging) = options.logging {
            materialized = materialized.logging(logging);
        }
        match options.retention {
            Some(retention) => materialized.retention_ms(retention),
            None => materialized,
        }
    }

    pub fn store_type(&mut self, kind: StoreKind) -> StoreType {
        match kind {
            StoreKind::InMemory => StoreType::InMemory,
            StoreKind::Rocksdb => {
                self.needs_rocksdb = true;
                StoreType::RocksDb
            }
        }
    }
}
