//! [`ProcessorTopology`]: topologies of named nodes, without the DSL.

use std::sync::Arc;

use millstream_topology::{
    Assembly, Data, Error, OffsetReset, Record, SinkDef, SinkTopic, SourceDef, SourceMaker, TaskContext, Topology, store::StoreDef,
};

use super::{Processor, ProcessorNode};
use crate::{
    builder::need,
    kstream::maker,
    options::{Consumed, Produced},
};

/// A topology that is put together node by node, or one of the DSL to which nodes are added.
///
/// **Law.** Nodes come after their parents and stores before what connects to them. A node's types are those of its parents: what does
/// not fit is a [`ClassCast`](crate::ErrorKind::ClassCast) when the topology starts. Sub-topologies follow from edges and shared stores.
///
/// ```
/// use millstream::{Consumed, Error, Processor, ProcessorContext, ProcessorTopology, Produced, Record, Topology, TopologyTestDriver};
///
/// struct Shout;
/// impl Processor<String, String, String, String> for Shout {
///     fn process(&mut self, context: &mut ProcessorContext<'_, String, String>, record: Record<String, String>) -> Result<(), Error> {
///         let loud = record.value.to_uppercase();
///         context.forward(record.with_value(loud))
///     }
/// }
///
/// let mut nodes = ProcessorTopology::from(Topology::new());
/// nodes.add_source("source", &["in"], Consumed::<String, String>::new())?;
/// nodes.add_processor("shout", || Shout, &["source"])?;
/// nodes.add_sink("sink", "out", Produced::<String, String>::new(), &["shout"])?;
///
/// let driver = TopologyTestDriver::new(&nodes.build(), Default::default())?;
/// driver.input_topic::<String, String>("in").pipe("a".into(), "hey".into(), 0)?;
/// assert_eq!(driver.output_topic::<String, String>("out").read_key_values()?, [("a".to_string(), "HEY".to_string())]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Default)]
pub struct ProcessorTopology(Topology);

impl From<Topology> for ProcessorTopology {
    /// Nodes may be added below those that are there, by the names that [`Topology::describe`] shows.
    fn from(topology: Topology) -> Self {
        Self(topology)
    }
}

impl ProcessorTopology {
    /// Adds a source of topics that no other source reads. The name in the options is ignored.
    ///
    /// ```
    /// # use millstream::*;
    /// let mut nodes = ProcessorTopology::from(Topology::new());
    /// nodes.add_source("orders", &["orders-topic"], Consumed::<String, i64>::new())?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_source<K: Data, V: Data>(&mut self, name: &str, topics: &[&str], consumed: Consumed<K, V>) -> Result<(), Error> {
        let topics: Vec<_> = topics.iter().map(|topic| (*topic).into()).collect();
        let reset = consumed.offset_reset;
        self.0.add_source(name, &topics, reset, source_maker(name, consumed)?)
    }

    /// Adds a processor below `parents`; [`connect`](Self::connect) gives it stores.
    ///
    /// ```
    /// # use millstream::*;
    /// # struct Own;
    /// # impl Processor<String, i64, String, i64> for Own {
    /// #     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> Result<(), Error> {
    /// #         context.forward(record)
    /// #     }
    /// # }
    /// let mut nodes = ProcessorTopology::from(Topology::new());
    /// nodes.add_source("orders", &["orders-topic"], Consumed::<String, i64>::new())?;
    /// nodes.add_processor("own", || Own, &["orders"])?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_processor<K, V, L, W, P>(
        &mut self,
        name: &str,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        parents: &[&str],
    ) -> Result<(), Error>
    where
        K: Data,
        V: Data,
        L: Data,
        W: Data,
        P: Processor<K, V, L, W>,
    {
        let make = move |assembly: &mut Assembly<'_>| ProcessorNode::<P, L, W>::new(supplier(), assembly, false);
        self.0.add_processor(name, parents, maker::<K, V, _, _>(make))
    }

    /// Adds a store and connects it to processors.
    ///
    /// ```
    /// # use millstream::*;
    /// let mut nodes = ProcessorTopology::from(Topology::new());
    /// nodes.add_state_store(store::KeyValueStore::<String, i64>::in_memory("prices"), &[])?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_state_store(&mut self, store: StoreDef, processors: &[&str]) -> Result<(), Error> {
        self.0.add_store(store, processors)
    }

    /// Connects a processor and a store that are there already: the processor may use it, and shares a task with all that do.
    ///
    /// ```
    /// # use millstream::*;
    /// let mut nodes = ProcessorTopology::from(Topology::new());
    /// let error = nodes.connect("own", "prices").unwrap_err();
    /// assert_eq!(error.to_string(), "own: store prices is not added yet: add it first");
    /// ```
    pub fn connect(&mut self, processor: &str, store: &str) -> Result<(), Error> {
        self.0.connect(processor, store)
    }

    /// Adds a store that every task sees whole, with the source that reads `topic` and the processor that keeps the store in step with it.
    /// Every processor may read the store; none connects to it. The name in the options is ignored.
    ///
    /// ```
    /// # use millstream::*;
    /// struct Keep;
    /// impl Processor<String, Option<i64>, (), ()> for Keep {
    ///     fn process(&mut self, context: &mut ProcessorContext<'_, (), ()>, row: Record<String, Option<i64>>) -> Result<(), Error> {
    ///         let prices: store::KeyValueStore<String, i64> = context.store("prices")?;
    ///         prices.put(context, &row.key, row.value.as_ref())
    ///     }
    /// }
    /// let mut nodes = ProcessorTopology::from(Topology::new());
    /// let source = ("source", "prices-topic", Consumed::<String, Option<i64>>::new());
    /// nodes.add_global_store(store::KeyValueStore::<String, i64>::in_memory("prices"), source, ("keep", || Keep))?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_global_store<K: Data, V: Data, P>(
        &mut self,
        store: StoreDef,
        (source, topic, consumed): (&str, &str, Consumed<K, V>),
        processor: (&str, impl Fn() -> P + Send + Sync + 'static),
    ) -> Result<(), Error>
    where
        P: Processor<K, V, (), ()>,
    {
        write_global_store(&mut self.0, store, (source, topic, consumed), processor)
    }

    /// Adds a store that is filled from `topic` alone, each task's from its own partition (KIP-813): the source, and the processor that
    /// keeps the store in step. The topic is the store's changelog; [`connect`](Self::connect) lets other processors read it.
    ///
    /// ```
    /// # use millstream::*;
    /// # struct Keep;
    /// # impl Processor<String, Option<i64>, (), ()> for Keep {
    /// #     fn process(&mut self, context: &mut ProcessorContext<'_, (), ()>, row: Record<String, Option<i64>>) -> Result<(), Error> {
    /// #         let prices: store::KeyValueStore<String, i64> = context.store("prices")?;
    /// #         prices.put(context, &row.key, row.value.as_ref())
    /// #     }
    /// # }
    /// let mut nodes = ProcessorTopology::from(Topology::new());
    /// let source = ("source", "prices-topic", Consumed::<String, Option<i64>>::new());
    /// nodes.add_read_only_state_store(store::KeyValueStore::<String, i64>::in_memory("prices"), source, ("keep", || Keep))?;
    /// assert_eq!(nodes.build().source_changelog("prices").map(|topic| &**topic), Some("prices-topic"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_read_only_state_store<K: Data, V: Data, P>(
        &mut self,
        store: StoreDef,
        (source, topic, consumed): (&str, &str, Consumed<K, V>),
        (processor, supplier): (&str, impl Fn() -> P + Send + Sync + 'static),
    ) -> Result<(), Error>
    where
        P: Processor<K, V, (), ()>,
    {
        let name = store.name.clone();
        self.add_source(source, &[topic], consumed.offset_reset(OffsetReset::Earliest))?;
        self.add_processor(processor, supplier, &[source])?;
        self.0.add_store(store.logging(false), &[processor])?;
        self.0.use_source_as_changelog(&name, topic);
        Ok(())
    }

    /// Adds a sink below `parents`. The name in the options is ignored.
    ///
    /// ```
    /// # use millstream::*;
    /// let mut nodes = ProcessorTopology::from(Topology::new());
    /// nodes.add_source("orders", &["orders-topic"], Consumed::<String, i64>::new())?;
    /// nodes.add_sink("copy", "copy-topic", Produced::<String, i64>::new(), &["orders"])?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_sink<K: Data, V: Data>(&mut self, name: &str, topic: &str, produced: Produced<K, V>, parents: &[&str]) -> Result<(), Error> {
        self.add_sink_to(name, SinkTopic::Fixed(topic.into()), produced, parents)
    }

    /// Adds a sink below `parents` that writes each record to the topic that `extractor` names.
    ///
    /// ```
    /// # use millstream::*;
    /// let mut nodes = ProcessorTopology::from(Topology::new());
    /// nodes.add_source("orders", &["orders-topic"], Consumed::<String, i64>::new())?;
    /// let topic = |order: &Record<String, i64>, _: &TaskContext| format!("orders-of-{}", order.key).into();
    /// nodes.add_dynamic_sink("by-key", topic, Produced::new(), &["orders"])?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_dynamic_sink<K: Data, V: Data>(
        &mut self,
        name: &str,
        extractor: impl Fn(&Record<K, V>, &TaskContext) -> Arc<str> + Send + Sync + 'static,
        produced: Produced<K, V>,
        parents: &[&str],
    ) -> Result<(), Error> {
        self.add_sink_to(name, SinkTopic::Extracted(Arc::new(extractor)), produced, parents)
    }

    fn add_sink_to<K: Data, V: Data>(
        &mut self,
        name: &str,
        topic: SinkTopic<K, V>,
        produced: Produced<K, V>,
        parents: &[&str],
    ) -> Result<(), Error> {
        let (key, value) = (produced.key.resolve(None), produced.value.resolve(None));
        let fixed = match &topic {
            SinkTopic::Fixed(topic) => Some(topic.clone()),
            _ => None,
        };
        let sink = SinkDef::<K, V> {
            key: need(key, name, "key")?,
            value: need(value, name, "value")?,
            topic,
            partitioner: produced.partitioner,
            partition_key: produced.partition_key,
        };
        self.0.add_sink(name, fixed, parents, sink.into_maker())
    }

    /// The topology.
    ///
    /// ```
    /// # use millstream::*;
    /// let topology = ProcessorTopology::from(Topology::new()).build();
    /// assert_eq!(topology.describe(), "Topologies:\n ");
    /// ```
    pub fn build(self) -> Topology {
        self.0
    }
}

fn source_maker<K: Data, V: Data>(name: &str, consumed: Consumed<K, V>) -> Result<SourceMaker, Error> {
    let (key, value) = (consumed.key.resolve(None), consumed.value.resolve(None));
    let source = SourceDef::<K, V> { key: need(key, name, "key")?, value: need(value, name, "value")?, extractor: consumed.extractor };
    Ok(source.into_maker())
}

/// Writes a global store with the processor that fills it.
pub(crate) fn write_global_store<K: Data, V: Data, P>(
    topology: &mut Topology,
    store: StoreDef,
    (source, topic, consumed): (&str, &str, Consumed<K, V>),
    (processor, supplier): (&str, impl Fn() -> P + Send + Sync + 'static),
) -> Result<(), Error>
where
    P: Processor<K, V, (), ()>,
{
    let make = move |assembly: &mut Assembly<'_>| ProcessorNode::<P, (), ()>::new(supplier(), assembly, false);
    let source = (source, source_maker(source, consumed)?);
    topology.add_global_store(store.logging(false), source, topic.into(), (processor, maker::<K, V, _, _>(make)))
}
