//! [`StreamsBuilder`]: where a topology begins, and where it is built.

pub(crate) mod graph;
mod optimize;
mod pattern;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use millstream_topology::{Data, DefaultSerde, Error, ErrorKind, ProcessorWrapper, SourceDef, Topology, store::StoreDef};
pub use optimize::Optimization;

use self::graph::{Graph, GraphNode, Kind, ROOT, SharedGraph};
use crate::{Consumed, KStream, Processor, processor::write_global_store};

/// What `build` is told beside the program itself.
///
/// ```
/// use millstream::{Optimization, StoreType, StreamsBuilder, TopologyConfig};
///
/// let config = TopologyConfig { optimization: Optimization::ALL, store_type: StoreType::InMemory, ..TopologyConfig::default() };
/// let builder = StreamsBuilder::with_config(config);
/// ```
#[derive(Clone, Default)]
pub struct TopologyConfig {
    /// Which rewrites are allowed (`topology.optimization`).
    pub optimization: Optimization,
    /// Whether generated names of internal topics and stores are errors (`ensure.explicit.internal.resource.naming`, KIP-1111).
    pub ensure_explicit_naming: bool,
    /// Where stores are kept that do not say so themselves (`dsl.store.suppliers.class`).
    pub store_type: crate::StoreType,
    /// Whether stores have the headers format (`dsl.store.format`, KIP-1271): those of stream-stream joins keep each record's headers. Rows
    /// of tables on RocksDB have none of their own in Kafka Streams either; what shows is that a deletion is logged with the headers of its
    /// record.
    pub headers_format: bool,
    /// What goes around every processor (`processor.wrapper.class`, KIP-1112).
    pub processor_wrapper: Option<Arc<dyn ProcessorWrapper>>,
}

/// Where a topology begins.
///
/// **Law.** The same calls give the same topology, with the names that Kafka Streams generates for them. What cannot be is an error
/// of [`build`](Self::build), with the node's name.
///
/// ```
/// use millstream::StreamsBuilder;
///
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, String>("lines").filter(|_, line| !line.is_empty()).to("full-lines");
/// let topology = builder.build().unwrap();
/// assert!(topology.describe().contains("KSTREAM-FILTER-0000000001"));
/// ```
#[derive(Clone)]
pub struct StreamsBuilder {
    pub(crate) graph: SharedGraph,
    pub(crate) config: Rc<TopologyConfig>,
}

impl Default for StreamsBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamsBuilder {
    /// A builder with the defaults of Kafka Streams.
    ///
    /// ```
    /// # use millstream::*;
    /// let builder = StreamsBuilder::new();
    /// ```
    pub fn new() -> Self {
        Self::with_config(TopologyConfig::default())
    }

    /// A builder that allows optimisations, or is strict about names.
    ///
    /// ```
    /// # use millstream::*;
    /// let strict = StreamsBuilder::with_config(TopologyConfig { ensure_explicit_naming: true, ..TopologyConfig::default() });
    /// strict.stream::<String, i64>("orders").group_by(|_, n| *n).count();
    /// assert!(strict.build().err().unwrap().to_string().contains("generated names"));
    /// ```
    pub fn with_config(config: TopologyConfig) -> Self {
        Self { graph: Rc::new(RefCell::new(Graph::new())), config: Rc::new(config) }
    }

    /// The records of a topic.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// builder.stream::<Option<String>, i64>("orders").to("copy");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic::<Option<String>, i64>("orders").pipe(None, 50, 0)?;
    /// assert_eq!(driver.output_topic::<Option<String>, i64>("copy").read_key_value()?, Some((None, 50)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn stream<K: DefaultSerde, V: DefaultSerde>(&self, topic: &str) -> KStream<K, V> {
        self.stream_with(&[topic], Consumed::new())
    }

    /// The records of one or more topics. Two calls for the same topics share a source.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// let orders = builder.stream_with::<String, i64>(&["orders", "old-orders"], Consumed::new().name("orders"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn stream_with<K: Data, V: Data>(&self, topics: &[&str], consumed: Consumed<K, V>) -> KStream<K, V> {
        let mut graph = self.graph.borrow_mut();
        let name: Arc<str> = graph.name_or(consumed.name.as_deref(), "KSTREAM-SOURCE-").into();
        let mut names: Vec<Arc<str>> = topics.iter().map(|topic| Arc::from(*topic)).collect();
        names.sort();
        names.dedup();
        let (key, value) = (consumed.key.resolve(None), consumed.value.resolve(None));
        let reset = consumed.offset_reset;
        let write = {
            let (name, topics, key, value) = (name.clone(), names.clone(), key.clone(), value.clone());
            move |topology: &mut Topology, _: &graph::Written| {
                let source: SourceDef<K, V> =
                    SourceDef { key: need(key, &name, "key")?, value: need(value, &name, "value")?, extractor: consumed.extractor };
                topology.add_source(&name, &topics, reset, source.into_maker())
            }
        };
        if names.is_empty() {
            graph.fail(ErrorKind::IllegalArgument, format!("{name}: a stream reads at least one topic: name one"));
        }
        let node = graph.add(&[ROOT], GraphNode::new(name.clone(), Kind::Source { topics: names, reset }, write));
        KStream::at(self, (name.clone(), node), [name].into(), (key, value))
    }

    /// Adds a store that every task sees whole, and that a processor of your own keeps in step with a topic. Every processor may read it;
    /// none needs to name it. After a restart the topic is processed again from its beginning, or from where the store is.
    ///
    /// **Law.** The topic is the store's changelog: what the processor puts in follows from the topic's records alone.
    ///
    /// ```
    /// use millstream::{*, store::KeyValueStore};
    ///
    /// type Prices = KeyValueStore<String, i64>;
    ///
    /// struct InCents;
    /// impl Processor<String, Option<i64>, (), ()> for InCents {
    ///     fn process(&mut self, context: &mut ProcessorContext<'_, (), ()>, record: Record<String, Option<i64>>) -> Result<(), Error> {
    ///         let prices: Prices = context.store("prices")?;
    ///         prices.put(context, &record.key, record.value.map(|euros| euros * 100).as_ref())
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.add_global_store(Prices::in_memory("prices"), "euros", Consumed::new(), || InCents);
    /// let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// driver.input_topic::<String, i64>("euros").pipe("pear".into(), 2, 0)?;
    /// assert_eq!(driver.store::<Prices>("prices").unwrap().get(&"pear".into())?, Some(200));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_global_store<K: Data, V: Data, P>(
        &self,
        store: StoreDef,
        topic: &str,
        consumed: Consumed<K, V>,
        supplier: impl Fn() -> P + Send + Sync + 'static,
    ) where
        P: Processor<K, V, (), ()>,
    {
        let mut graph = self.graph.borrow_mut();
        let source: Arc<str> = graph.name_with_suffix_or(consumed.name.as_deref(), "-source", "KSTREAM-SOURCE-").into();
        let name: Arc<str> = graph.name_or(consumed.name.as_deref(), "KTABLE-SOURCE-").into();
        let (processor, topic) = (name.clone(), topic.to_string());
        let write = move |topology: &mut Topology, _: &graph::Written| {
            write_global_store(topology, store, (&source, &topic, consumed), (&processor, supplier))
        };
        graph.add(&[ROOT], GraphNode::new(name, Kind::Plain, write));
    }

    /// Adds a store, to be used by processors that name it.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// builder.add_state_store(store::KeyValueStore::<String, i64>::persistent("last-seen").caching(true));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn add_state_store(&self, store: StoreDef) {
        let name = store.name.clone();
        let node = GraphNode::new(name, Kind::Plain, move |topology, _| topology.add_store::<&str>(store, &[]));
        self.graph.borrow_mut().add(&[ROOT], node);
    }

    /// The topology. Every further call on this builder or its streams is too late.
    ///
    /// ```
    /// # use millstream::*;
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("orders").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(0)).count();
    /// assert_eq!(builder.build().err().unwrap().kind(), ErrorKind::IllegalArgument);
    /// ```
    pub fn build(&self) -> Result<Topology, Error> {
        let mut graph = self.graph.borrow_mut();
        if let Some(error) = graph.take_error() {
            return Err(error);
        }
        let mut topology = match &self.config.processor_wrapper {
            Some(wrapper) => Topology::new().with_wrapper(wrapper.clone()),
            None => Topology::new(),
        };
        graph.merge_duplicate_sources()?;
        graph.optimize(self.config.optimization)?;
        graph.check_versions()?;
        graph.write(&mut topology)?;
        for group in &graph.copartitioned {
            topology.copartition(&group.iter().collect::<Vec<_>>());
        }
        topology.check_copartitions()?;
        if self.config.ensure_explicit_naming && !graph.implicit_names.is_empty() {
            let names = graph.implicit_names.join(", ");
            let text =
                format!("these internal topics and stores have generated names: {names}: name them with Grouped, Materialized, Joined …");
            return Err(Error::new(ErrorKind::Topology, text));
        }
        Ok(topology)
    }
}

/// A serde, or the error that says who misses it.
pub(crate) fn need<T>(serde: Option<T>, node: &str, what: &str) -> Result<T, Error> {
    serde.ok_or_else(|| Error::new(ErrorKind::Config, format!("{node}: no {what} serde: pass one with the options of this call")))
}
