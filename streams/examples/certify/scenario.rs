//! A scenario as it is written: one line of JSON. An unknown op or field is an error, so that nothing is silently ignored.

use std::{collections::BTreeMap, ops::Deref};

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value as Json;

use crate::value::Type;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub id: String,
    pub family: usize,
    #[serde(default)]
    pub config: Config,
    pub topics: BTreeMap<String, (Type, Type)>,
    pub topology: Vec<Op>,
    pub steps: Vec<Step>,
    #[serde(default)]
    pub expect: serde_json::Map<String, Json>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    #[default]
    InMemory,
    Rocksdb,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub store: StoreKind,
    pub cache_bytes: u64,
    pub optimize: Optimize,
    pub guarantee: Guarantee,
    pub store_format: StoreFormat,
    pub explicit_naming: bool,
    pub on_deserialization_error: OnError,
    pub on_processing_error: OnError,
    pub dead_letter_topic: Option<Text>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimize {
    #[default]
    None,
    All,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    #[default]
    AtLeastOnce,
    ExactlyOnce,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreFormat {
    #[default]
    Default,
    Headers,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    #[default]
    Fail,
    Continue,
}

/// One step of a run.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Step {
    Wall(Wall),
    Record(Input),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wall {
    pub wall: u64,
}

/// A record to pipe in: key and value by their topic's types (`k`, `v`) or raw in hex (`kx`, `vx`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    #[serde(rename = "in")]
    pub topic: Text,
    #[serde(default)]
    pub k: Json,
    #[serde(default)]
    pub v: Json,
    pub kx: Option<String>,
    pub vx: Option<String>,
    pub ts: i64,
    #[serde(default)]
    pub h: Vec<(Text, Option<Text>)>,
}

/// Text, which a sheet may also write as a number or a truth value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(String);

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Json::deserialize(from)? {
            Json::String(text) => Ok(Self(text)),
            scalar @ (Json::Number(_) | Json::Bool(_)) => Ok(Self(scalar.to_string())),
            other => Err(D::Error::custom(format!("{other} is no text"))),
        }
    }
}

/// One call of the public API.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    Stream(Stream),
    Table(Table),
    GlobalTable(Table),
    To(To),
    ToDynamic(To),
    Repartition(Repartition),
    ToTable(ToTable),
    Merge(Merge),
    Split(Split),
    Filter(Filter),
    FilterNot(Filter),
    Map(Map),
    FlatMap(FlatMap),
    FlatMapValues(FlatMapValues),
    MapValues(MapValues),
    SelectKey(SelectKey),
    Peek(Peek),
    Foreach(Foreach),
    Process(Process),
    ProcessValues(Process),
    AddStateStore(Store),
    ToStream(ToStream),
    TransformValues(TransformValues),
    Suppress(Suppress),
    GroupByKey(GroupByKey),
    GroupBy(GroupBy),
    WindowedBy(WindowedBy),
    Count(Count),
    Reduce(Reduce),
    Aggregate(Aggregate),
    Cogroup(Cogroup),
    Join(Join),
    LeftJoin(Join),
    OuterJoin(Join),
    FkJoin(FkJoin),
    FkLeftJoin(FkJoin),
    AddSource(AddSource),
    AddProcessor(AddProcessor),
    AddStore(Store),
    AddSink(AddSink),
}

/// Declares the structs of ops. `Option` fields may be absent or null.
macro_rules! ops {
    ($( $(#[$doc:meta])* $name:ident { $( $(#[$attr:meta])* $field:ident : $type:ty ),* $(,)? } )*) => { $(
        $(#[$doc])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $( $(#[$attr])* pub $field: $type ),* }
    )* };
}

ops! {
    Stream { id: Text, topics: Vec<Text>, name: Option<Text>, extractor: Option<Extractor>, offset_reset: Option<OffsetReset> }
    /// Also a global table, which has no extractor.
    Table { id: Text, topic: Text, name: Option<Text>, extractor: Option<Extractor>, materialized: Option<Materialized> }
    /// For `to_dynamic` the topic is a mapper.
    To { #[serde(rename = "in")] input: Text, topic: Text, name: Option<Text>, partitioner: Option<Text> }
    Repartition { #[serde(rename = "in")] input: Text, id: Text, name: Option<Text>, partitions: Option<i32> }
    ToTable { #[serde(rename = "in")] input: Text, id: Text, name: Option<Text>, materialized: Option<Materialized> }
    Merge { #[serde(rename = "in")] input: Text, with: Text, id: Text, name: Option<Text> }
    Split { #[serde(rename = "in")] input: Text, id: Text, name: Option<Text>, branches: Vec<Branch>, default: Option<Branch> }
    /// The default branch has no predicate.
    Branch { id: Text, pred: Option<Text>, name: Option<Text>, chain: Option<Text> }
    Filter { #[serde(rename = "in")] input: Text, id: Text, pred: Text, name: Option<Text>, materialized: Option<Materialized> }
    Map { #[serde(rename = "in")] input: Text, id: Text, key: Text, value: Text, name: Option<Text> }
    FlatMap { #[serde(rename = "in")] input: Text, id: Text, split: Text, key: Text, value: Text, name: Option<Text> }
    FlatMapValues { #[serde(rename = "in")] input: Text, id: Text, split: Text, name: Option<Text> }
    MapValues { #[serde(rename = "in")] input: Text, id: Text, r#fn: Text, name: Option<Text>, materialized: Option<Materialized> }
    SelectKey { #[serde(rename = "in")] input: Text, id: Text, key: Text, name: Option<Text> }
    Peek { #[serde(rename = "in")] input: Text, id: Text, name: Option<Text> }
    Foreach { #[serde(rename = "in")] input: Text, name: Option<Text> }
    Process {
        #[serde(rename = "in")] input: Text, id: Text, processor: Text, #[serde(default)] stores: Vec<Text>, name: Option<Text>,
    }
    /// `processors` only where the low-level API connects the store.
    Store {
        name: Text, kind: Kind, key: Type, value: Type, store: Option<StoreKind>, caching: Option<bool>, logging: Option<bool>,
        max_entries: Option<usize>, #[serde(default)] retention: i64, #[serde(default)] window_size: i64,
        #[serde(default)] retain_duplicates: bool, history: Option<i64>, segment: Option<i64>, #[serde(default)] processors: Vec<Text>,
    }
    ToStream { #[serde(rename = "in")] input: Text, id: Text, key: Option<Text>, name: Option<Text> }
    TransformValues {
        #[serde(rename = "in")] input: Text, id: Text, transformer: Transformer, #[serde(default)] stores: Vec<Text>, name: Option<Text>,
        materialized: Option<Materialized>,
    }
    Suppress {
        #[serde(rename = "in")] input: Text, id: Text, until: Until, ms: Option<i64>, max_records: Option<u64>, max_bytes: Option<u64>,
        #[serde(default)] full: Full, logging: Option<bool>, name: Option<Text>,
    }
    GroupByKey { #[serde(rename = "in")] input: Text, id: Text, name: Option<Text> }
    /// The value is that of a grouped table.
    GroupBy { #[serde(rename = "in")] input: Text, id: Text, key: Text, value: Option<Text>, name: Option<Text> }
    WindowedBy { #[serde(rename = "in")] input: Text, id: Text, window: Window, emit: Option<Emit> }
    Count { #[serde(rename = "in")] input: Text, id: Text, name: Option<Text>, materialized: Option<Materialized> }
    Reduce {
        #[serde(rename = "in")] input: Text, id: Text, reducer: Text, subtractor: Option<Text>, name: Option<Text>,
        materialized: Option<Materialized>,
    }
    /// A cogroup's aggregate has its type and its aggregators already.
    Aggregate {
        #[serde(rename = "in")] input: Text, id: Text, r#type: Option<Type>, #[serde(default)] init: Json, agg: Option<Text>,
        sub: Option<Text>, merger: Option<Text>, name: Option<Text>, materialized: Option<Materialized>,
    }
    /// `type` where it starts from a grouped stream, `with` where it adds one.
    Cogroup { #[serde(rename = "in")] input: Text, id: Text, r#type: Option<Type>, agg: Text, with: Option<Text> }
    /// What it means follows from the two sides, and so do the fields it has.
    Join {
        left: Text, right: Text, id: Text, joiner: Text, name: Option<Text>, window: Option<JoinWindow>, store_name: Option<Text>,
        store: Option<StoreKind>, logging: Option<bool>, grace: Option<i64>, key: Option<Text>, materialized: Option<Materialized>,
    }
    JoinWindow { diff: i64, grace: Option<i64>, before: Option<i64>, after: Option<i64> }
    FkJoin {
        left: Text, right: Text, id: Text, joiner: Text, fk: Text, name: Option<Text>, partitioner: Option<Text>,
        materialized: Option<Materialized>,
    }
    AddSource { name: Text, topics: Vec<Text> }
    AddProcessor { name: Text, processor: Text, parents: Vec<Text>, #[serde(default)] stores: Vec<Text> }
    AddSink { name: Text, topic: Text, parents: Vec<Text> }
    Materialized {
        name: Option<Text>, store: Option<StoreKind>, caching: Option<bool>, logging: Option<bool>, retention: Option<i64>,
        versioned: Option<Versioned>,
    }
    Versioned { history: i64, segment: Option<i64> }
}

macro_rules! words {
    ($( $name:ident { $( $(#[$attr:meta])* $word:ident ),* } )*) => { $(
        #[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $( $(#[$attr])* $word ),* }
    )* };
}

words! {
    Extractor { Fail, Skip, PartitionTime, Value, Partition, Wall }
    OffsetReset { Earliest, Latest, None }
    Kind { Kv, TimestampedKv, Lru, Window, Session, Versioned }
    Transformer { Show, ShowNonNull, Calls, StoreCalls }
    Until { TimeLimit, WindowCloses }
    Emit { Close, Update }
}

/// What a bounded buffer does when it is full.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Full {
    #[default]
    Emit,
    Shutdown,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Window {
    Tumbling { size: i64, grace: Option<i64> },
    Hopping { size: i64, advance: i64, grace: Option<i64> },
    Sliding { diff: i64, grace: Option<i64> },
    Session { gap: i64, grace: Option<i64> },
    Unlimited { start: Option<i64> },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(json: &str) -> Result<Op, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn an_unknown_op_or_field_is_refused() {
        assert!(op(r#"{"op":"peek","in":"s","id":"p"}"#).is_ok());
        assert!(op(r#"{"op":"peek","in":"s","id":"p","nmae":"x"}"#).is_err());
        assert!(op(r#"{"op":"peak","in":"s","id":"p"}"#).is_err());
        let window = r#"{"op":"windowed_by","in":"g","id":"w","window":{"type":"tumbling","size":5,"advance":1}}"#;
        assert!(op(window).is_err());
        assert!(serde_json::from_str::<Step>(r#"{"wall":5,"ts":1}"#).is_err());
    }

    #[test]
    fn a_sheets_number_or_truth_value_is_text() {
        match op(r#"{"op":"filter","in":"s","id":1,"pred":true}"#) {
            Ok(Op::Filter(filter)) => assert_eq!((&*filter.id, &*filter.pred), ("1", "true")),
            _ => panic!("not a filter"),
        }
    }
}
