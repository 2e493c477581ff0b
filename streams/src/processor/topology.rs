//! [`ProcessorTopology`]: topologies of named nodes, without the DSL.

use millstream_topology::{Assembly, Data, Error, SinkDef, SinkTopic, SourceDef, Topology, store::StoreDef};

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
    pub fn add_source<K: Data, V: Data>(&mut self, name: &str, topics: &[&str], consumed: Consumed<K, V>) -> Result<(), Error> {
        let (key, value) = (consumed.key.resolve(None), consumed.value.resolve(None));
        let source = SourceDef::<K, V> { key: need(key, name, "key")?, value: need(value, name, "value")?, extractor: consumed.extractor };
        let topics: Vec<_> = topics.iter().map(|topic| (*topic).into()).collect();
        self.0.add_source(name, &topics, consumed.offset_reset, source.into_maker())
    }

    /// Adds a processor below `parents`; [`connect`](Self::connect) gives it stores.
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
        let make = move |assembly: &mut Assembly<'_>| ProcessorNode::<P, L, W>::new(supplier(), assembly);
        self.0.add_processor(name, parents, maker::<K, V, _, _>(make))
    }

    /// Adds a store and connects it to processors.
    pub fn add_state_store(&mut self, store: StoreDef, processors: &[&str]) -> Result<(), Error> {
        self.0.add_store(store, processors)
    }

    /// Connects a processor and a store that are there already: the processor may use it, and shares a task with all that do.
    pub fn connect(&mut self, processor: &str, store: &str) -> Result<(), Error> {
        self.0.connect(processor, store)
    }

    /// Adds a sink below `parents`. The name in the options is ignored.
    pub fn add_sink<K: Data, V: Data>(&mut self, name: &str, topic: &str, produced: Produced<K, V>, parents: &[&str]) -> Result<(), Error> {
        let (key, value) = (produced.key.resolve(None), produced.value.resolve(None));
        let sink = SinkDef::<K, V> {
            key: need(key, name, "key")?,
            value: need(value, name, "value")?,
            topic: SinkTopic::Fixed(topic.into()),
            partitioner: produced.partitioner,
            partition_key: produced.partition_key,
        };
        self.0.add_sink(name, Some(topic.into()), parents, sink.into_maker())
    }

    /// The topology.
    pub fn build(self) -> Topology {
        self.0
    }
}
