//! [`KGroupedStream`]: a stream that is about to be aggregated.

use std::{collections::BTreeSet, sync::Arc};

use millstream_topology::{Data, DefaultSerde, SerdeRef};

use crate::{
    KStream, KTable,
    builder::graph::{Graph, GraphNode, Kind, NodeId, RepartitionNames, Written},
    kstream::repartition_node,
    ktable::{StoreSpec, TableNode},
    operator::{Aggregate, AggregateNode, Count, Counter},
    options::{Grouped, Materialized, Named},
};

/// A stream whose records are about to be aggregated by key.
///
/// **Law.** What shares a handle shares its repartition topic if that was named.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let words = builder.stream::<String, i64>("words").group_by_key();
/// words.count().to_stream().to("counts");
/// words.reduce(|sum, n| sum + n).to_stream().to("sums");
/// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// # let input = driver.input_topic("words"); input.pipe("a".to_string(), 2i64, 0)?; input.pipe("a".to_string(), 3i64, 1)?;
/// assert_eq!(driver.output_topic::<String, i64>("counts").read_values()?, [1, 2]);
/// assert_eq!(driver.output_topic::<String, i64>("sums").read_values()?, [2, 5]);
/// # Ok::<(), Error>(())
/// ```
pub struct KGroupedStream<K: Data, V: Data> {
    pub(crate) stream: KStream<K, V>,
    pub(crate) key: Option<SerdeRef<K::Present>>,
    pub(crate) value: Option<SerdeRef<V::Present>>,
    pub(crate) name: Option<String>,
    repartition: std::rc::Rc<std::cell::Cell<Option<NodeId>>>,
}

impl<K: Data, V: Data> Clone for KGroupedStream<K, V> {
    fn clone(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            name: self.name.clone(),
            repartition: self.repartition.clone(),
        }
    }
}

impl<K: Data, V: Data> KGroupedStream<K, V> {
    pub(crate) fn new(stream: KStream<K, V>, grouped: Grouped<K, V>) -> Self {
        let (key, value) = (grouped.key.resolve(stream.key.as_ref()), grouped.value.resolve(stream.value.as_ref()));
        Self { stream, key, value, name: grouped.name, repartition: Default::default() }
    }

    /// The same for all handles of this grouping.
    pub(crate) fn id(&self) -> *const () {
        std::rc::Rc::as_ptr(&self.repartition).cast()
    }

    /// How many records there are of each key. Records without a key or a value are dropped.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, i64>("words").group_by_key();
    /// words.count().to_stream().to("counts");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("words"); input.pipe("a".to_string(), 2i64, 0)?; input.pipe("a".to_string(), 3i64, 1)?;
    /// assert_eq!(driver.output_topic::<String, i64>("counts").read_values()?, [1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count(&self) -> KTable<K::Present, i64> {
        self.count_as(i64::default_serde())
    }

    /// The same, with options; in any type that can count.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, i64>("words").group_by_key();
    /// words.count_with(Materialized::<_, i64>::store("counts"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_with<C: Counter>(&self, materialized: Materialized<K::Present, C>) -> KTable<K::Present, C> {
        if materialized.store_name.is_none() {
            // Kafka Streams spends a number here, and names of later nodes depend on it.
            self.stream.builder.graph.borrow_mut().generate_store("KSTREAM-AGGREGATE-");
        }
        self.do_count(materialized)
    }

    /// The same, with a named node.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, i64>("words").group_by_key();
    /// words.count_named(Named::new("counting"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_named(&self, named: Named) -> KTable<K::Present, i64> {
        self.count_as_named(named, i64::default_serde())
    }

    /// The same as [`count`](Self::count) in another type that can count, also as far as generated names go.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, i64>("words").group_by_key();
    /// words.count_as(i32::default_serde());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_as<C: Counter>(&self, value: SerdeRef<C>) -> KTable<K::Present, C> {
        self.do_count(Materialized::with_value(value))
    }

    /// The same, with a named node.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, i64>("words").group_by_key();
    /// words.count_as_named(Named::new("counting"), i32::default_serde());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_as_named<C: Counter>(&self, named: Named, value: SerdeRef<C>) -> KTable<K::Present, C> {
        self.do_count(Materialized::with_value(value).name(named.0))
    }

    fn do_count<C: Counter>(&self, materialized: Materialized<K::Present, C>) -> KTable<K::Present, C> {
        self.aggregate_as("KSTREAM-AGGREGATE-", materialized, Count)
    }

    /// Combines the values of each key, beginning with the first; `None` deletes the row. Records without a key or a value are dropped.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, i64>("words").group_by_key();
    /// words.reduce(|most, n| *most.max(n)).to_stream().to("most");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("words"); input.pipe("a".to_string(), 2i64, 0)?; input.pipe("a".to_string(), 3i64, 1)?;
    /// assert_eq!(driver.output_topic::<String, i64>("most").read_values()?, [2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reduce<R>(&self, reducer: impl Fn(&V::Present, &V::Present) -> R + Send + Sync + 'static) -> KTable<K::Present, V::Present>
    where
        R: Data<Present = V::Present>,
    {
        self.reduce_with(reducer, self.reduced())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, i64>("words").group_by_key();
    /// words.reduce_with(|most, n| *most.max(n), Materialized::store("most"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reduce_with<R>(
        &self,
        reducer: impl Fn(&V::Present, &V::Present) -> R + Send + Sync + 'static,
        materialized: Materialized<K::Present, V::Present>,
    ) -> KTable<K::Present, V::Present>
    where
        R: Data<Present = V::Present>,
    {
        self.aggregate_as("KSTREAM-REDUCE-", materialized, crate::operator::Reduce::new(reducer))
    }

    /// Options for a reduction with this grouping's serdes.
    pub(crate) fn reduced(&self) -> Materialized<K::Present, V::Present> {
        Materialized::carried(self.key.clone(), self.value.clone())
    }

    /// Folds the values of each key into an aggregate, beginning with `initializer`; an aggregate of `None` deletes the row. Records
    /// without a key or a value are dropped. The row's timestamp is the highest of its records.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, i64>("words").group_by_key();
    /// words.aggregate(String::new, |_, n, text| format!("{text}{n};")).to_stream().to("texts");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("words"); input.pipe("a".to_string(), 2i64, 0)?; input.pipe("a".to_string(), 3i64, 1)?;
    /// assert_eq!(driver.output_topic::<String, String>("texts").read_values()?, ["2;", "2;3;"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate<A: DefaultSerde>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K::Present, &V, A) -> A + Send + Sync + 'static,
    ) -> KTable<K::Present, A::Present>
    where
        A::Present: DefaultSerde,
    {
        self.aggregate_with(initializer, aggregator, Materialized::with_value(A::default_serde()))
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, i64>("words").group_by_key();
    /// words.aggregate_with(|| 0, |_, n, sum: i64| sum + n, Materialized::store("sums"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate_with<A: Data>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K::Present, &V, A) -> A + Send + Sync + 'static,
        materialized: Materialized<K::Present, A::Present>,
    ) -> KTable<K::Present, A::Present> {
        self.aggregate_as("KSTREAM-AGGREGATE-", materialized, crate::operator::Fold::new(initializer, aggregator))
    }

    fn aggregate_as<A, F>(&self, prefix: &str, materialized: Materialized<K::Present, A>, fold: F) -> KTable<K::Present, A>
    where
        A: Data<Present = A>,
        F: Aggregate<K::Present, V, A>,
    {
        let builder = &self.stream.builder;
        let mut graph = builder.graph.borrow_mut();
        let store = StoreSpec::new(&mut graph, prefix, &materialized, self.key.as_ref(), None, &builder.config);
        let name: Arc<str> = graph.name_or(materialized.node_name.as_deref(), prefix).into();
        let node = AggregateNode::new(store.clone(), fold);
        let write = {
            let (name, node, store) = (name.clone(), node.clone(), store.clone());
            move |topology: &mut millstream_topology::Topology, written: &Written| {
                topology.add_processor(&name, &written.parents, node.maker::<K>())?;
                topology.add_store(store.def()?, &[&name])
            }
        };
        let mut graph_node = GraphNode::new(name.clone(), Kind::Plain, write);
        graph_node.output_versioned = Some(store.is_versioned());
        let (id, sources) = self.add_below_repartition(&mut graph, (&store.name, store.named_by_user), graph_node);
        KTable {
            name,
            key: store.key.clone(),
            value: store.value.clone(),
            sources,
            queryable: store.queryable(),
            table: std::rc::Rc::new(node) as std::rc::Rc<dyn TableNode<K::Present, A>>,
            node: id,
            builder: builder.clone(),
        }
    }

    /// Adds a node below the stream, or below its repartition if one is needed; also says which sources its sub-topology has then. The
    /// store, whose name the user may have given, names the repartition if nothing else does.
    pub(crate) fn add_below_repartition(
        &self,
        graph: &mut Graph,
        (store, named_by_user): (&str, bool),
        node: GraphNode,
    ) -> (NodeId, BTreeSet<Arc<str>>) {
        if !self.stream.repartition_required {
            return (graph.add(&[self.stream.node], node), self.stream.sources.clone());
        }
        let names = RepartitionNames::new(graph, self.name.as_deref().unwrap_or(store), self.name.is_some() || named_by_user);
        let source: Arc<str> = names.source.clone().into();
        let shared = self.repartition.get().filter(|_| self.name.is_some());
        let repartition = shared.unwrap_or_else(|| {
            let node = repartition_node::<K, V>(true, names, (self.key.clone(), self.value.clone()), None, None);
            graph.add(&[self.stream.node], node)
        });
        self.repartition.set(Some(repartition));
        (graph.add(&[repartition], node), [source].into())
    }
}
