//! Turns the ops of a scenario into calls of the DSL: one op is one call, in the order of the list.
#![allow(clippy::wrong_self_convention, reason = "methods are named after the ops")]

mod aggregations;
pub mod handle;
mod joins;
mod low_level;
mod options;
mod streams;
mod tables;

use std::collections::HashMap;

use millstream::{Optimization, ProcessorTopology, StreamsBuilder, Topology, TopologyConfig};
use serde_json::{Map, Value as Json};

use self::handle::{Handle, Object};
use crate::{
    functions::Bad,
    run::Stop,
    scenario::{Op, Optimize, Scenario, StoreFormat, StoreKind, Text},
    value::Type,
};

/// The topology under construction.
pub struct Builder<'a> {
    scenario: &'a Scenario,
    builder: StreamsBuilder,
    default_store: StoreKind,
    handles: HashMap<&'a str, Handle>,
    branches: Map<String, Json>,
    needs_rocksdb: bool,
    /// The topology once the low-level API works on it, and what its nodes send.
    nodes: Option<ProcessorTopology>,
    node_types: HashMap<&'a str, (Type, Type)>,
}

/// A topology, and what a scenario asks about it.
pub struct Built {
    pub topology: Topology,
    /// For each split the names under which its branches are in the map.
    pub branches: Map<String, Json>,
    /// Whether any store may be on RocksDB.
    pub needs_rocksdb: bool,
}

/// Builds the scenario's topology, with stores of that kind where an op does not choose.
pub fn build(scenario: &Scenario, store: StoreKind) -> Result<Built, Stop> {
    let optimization = match scenario.config.optimize {
        Optimize::None => Optimization::NONE,
        Optimize::All => Optimization::ALL,
    };
    let mut builder = Builder {
        scenario,
        builder: StreamsBuilder::new(),
        default_store: store,
        handles: HashMap::new(),
        branches: Map::new(),
        needs_rocksdb: false,
        nodes: None,
        node_types: HashMap::new(),
    };
    let store_type = builder.store_type(store);
    builder.builder = StreamsBuilder::with_config(TopologyConfig {
        optimization,
        ensure_explicit_naming: scenario.config.explicit_naming,
        store_type,
        headers_format: scenario.config.store_format == StoreFormat::Headers,
        ..TopologyConfig::default()
    });
    for op in &scenario.topology {
        builder.apply(op)?;
    }
    let topology = match builder.nodes {
        Some(nodes) => nodes.build(),
        None => builder.builder.build()?,
    };
    Ok(Built { topology, branches: builder.branches, needs_rocksdb: builder.needs_rocksdb })
}

impl<'a> Builder<'a> {
    fn apply(&mut self, op: &'a Op) -> Result<(), Stop> {
        match op {
            Op::Stream(op) => self.stream(op),
            Op::To(op) => self.to(op),
            Op::ToDynamic(op) => self.to_dynamic(op),
            Op::Repartition(op) => self.repartition(op),
            Op::ToTable(op) => self.to_table(op),
            Op::Merge(op) => self.merge(op),
            Op::Split(op) => self.split(op),
            Op::Map(op) => self.map(op),
            Op::FlatMap(op) => self.flat_map(op),
            Op::FlatMapValues(op) => self.flat_map_values(op),
            Op::SelectKey(op) => self.select_key(op),
            Op::Peek(op) => self.peek(op),
            Op::Foreach(op) => self.foreach(op),
            Op::Process(op) => self.process(op),
            Op::ProcessValues(op) => self.process_values(op),
            Op::Table(op) => self.table(op),
            Op::GlobalTable(op) => self.global_table(op),
            Op::Filter(op) => self.filter(op, false),
            Op::FilterNot(op) => self.filter(op, true),
            Op::MapValues(op) => self.map_values(op),
            Op::ToStream(op) => self.to_stream(op),
            Op::TransformValues(op) => self.transform_values(op),
            Op::Suppress(op) => self.suppress(op),
            Op::GroupByKey(op) => self.group_by_key(op),
            Op::GroupBy(op) => self.group_by(op),
            Op::WindowedBy(op) => self.windowed_by(op),
            Op::Cogroup(op) => self.cogroup(op),
            Op::Count(op) => self.count(op),
            Op::Reduce(op) => self.reduce(op),
            Op::Aggregate(op) => self.aggregate(op),
            Op::Join(op) => self.join(op, joins::Kind::Inner),
            Op::LeftJoin(op) => self.join(op, joins::Kind::Left),
            Op::OuterJoin(op) => self.join(op, joins::Kind::Outer),
            Op::FkJoin(op) => self.fk_join(op, joins::Kind::Inner),
            Op::FkLeftJoin(op) => self.fk_join(op, joins::Kind::Left),
            Op::AddStateStore(op) => self.add_state_store(op),
            Op::AddSource(op) => self.add_source(op),
            Op::AddProcessor(op) => self.add_processor(op),
            Op::AddStore(op) => self.add_store(op),
            Op::AddSink(op) => self.add_sink(op),
        }
    }

    fn handle(&self, id: &str) -> Result<Handle, Bad> {
        self.handles.get(id).cloned().ok_or_else(|| Bad(format!("there is no {id}")))
    }

    fn define(&mut self, id: &'a str, object: Object, key: Type, value: Type) -> Result<(), Stop> {
        match self.handles.insert(id, Handle { object, key, value }) {
            None => Ok(()),
            Some(_) => Err(Bad(format!("{id} is defined twice")).into()),
        }
    }

    fn topic(&self, name: &str) -> Result<(Type, Type), Bad> {
        self.scenario.topics.get(name).copied().ok_or_else(|| Bad(format!("topic {name} has no types")))
    }

    /// A sink's types are those of its topic.
    fn check_sink(&self, topic: &str, handle: &Handle) -> Result<(), Bad> {
        let (key, value) = self.topic(topic)?;
        let fits = key.fits(handle.key) && value.fits(handle.value);
        fits.then_some(()).ok_or_else(|| Bad(format!("topic {topic} is {key:?}/{value:?} but gets {:?}/{:?}", handle.key, handle.value)))
    }
}

/// A field that only some forms of an op have.
fn required<'a>(field: &'a Option<Text>, name: &str) -> Result<&'a str, Bad> {
    field.as_deref().ok_or_else(|| Bad(format!("field {name} is missing")))
}

fn unsupported<T>(what: &str) -> Result<T, Stop> {
    Err(Stop::Unsupported(what.into()))
}
