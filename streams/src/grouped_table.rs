//! [`KGroupedTable`]: a table that is about to be aggregated.

use std::{cell::RefCell, marker::PhantomData, rc::Rc, sync::Arc};

use millstream_topology::{Change, Data, DefaultSerde, InvalidTimestamp, SerdeRef, SinkDef, SinkTopic, SourceDef, Topology};

use crate::{
    KTable, StreamsBuilder,
    builder::{
        graph::{Graph, GraphNode, Kind, NodeId, Written},
        need,
    },
    ktable::{ChangeSerde, StoreSpec},
    operator::{Count, Counter, TableAggregate, TableFold, TableFolder, TableReduce},
    options::{Materialized, Named},
};

const AGGREGATE: &str = "KTABLE-AGGREGATE-";

/// A table whose rows are about to be aggregated by a new key.
///
/// **Law.** An aggregate is of the rows that are in the table now: a change subtracts the row as it was and adds the row as it is.
/// Aggregations of one named grouping share its repartition topic.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let sizes = builder.table::<String, i64>("size-of").group_by(|city, size| (city.len() as i64, *size));
/// sizes.reduce(|sum, size| sum + size, |sum, size| sum - size).to_stream().to("sums");
/// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// # let input = driver.input_topic("size-of"); input.pipe("Ulm".to_string(), 2i64, 0)?; input.pipe("Ulm".to_string(), 3i64, 1)?;
/// assert_eq!(driver.output_topic::<i64, i64>("sums").read_values()?.last(), Some(&3));
/// # Ok::<(), Error>(())
/// ```
pub struct KGroupedTable<K: Data, V: Data> {
    pub(crate) key: Option<SerdeRef<K>>,
    pub(crate) value: Option<SerdeRef<V>>,
    pub(crate) name: Option<String>,
    pub(crate) node: NodeId,
    pub(crate) builder: StreamsBuilder,
    /// The repartition that is shared if it is named, with its source.
    pub(crate) repartition: Rc<RefCell<Option<(NodeId, Arc<str>)>>>,
}

impl<K: Data, V: Data> Clone for KGroupedTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            value: self.value.clone(),
            name: self.name.clone(),
            node: self.node,
            builder: self.builder.clone(),
            repartition: self.repartition.clone(),
        }
    }
}

impl<K: Data<Present = K>, V: Data<Present = V>> KGroupedTable<K, V> {
    /// How many rows there are in each group.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let cities = builder.table::<String, i64>("size-of").group_by(|city, size| (city.len() as i64, *size));
    /// cities.count().to_stream().to("counts");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count(&self) -> KTable<K, i64> {
        self.count_as(i64::default_serde())
    }

    /// The same, with a named node.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let cities = builder.table::<String, i64>("size-of").group_by(|city, size| (city.len() as i64, *size));
    /// cities.count_named(Named::new("counting"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_named(&self, named: Named) -> KTable<K, i64> {
        self.count_as_named(named, i64::default_serde())
    }

    /// The same as [`count`](Self::count) in another type that can count.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let cities = builder.table::<String, i64>("size-of").group_by(|city, size| (city.len() as i64, *size));
    /// cities.count_as(i32::default_serde());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_as<C: Counter>(&self, value: SerdeRef<C>) -> KTable<K, C> {
        self.count_with(Materialized::with_value(value))
    }

    /// The same, with a named node.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let cities = builder.table::<String, i64>("size-of").group_by(|city, size| (city.len() as i64, *size));
    /// cities.count_as_named(Named::new("counting"), i32::default_serde());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_as_named<C: Counter>(&self, named: Named, value: SerdeRef<C>) -> KTable<K, C> {
        self.count_with(Materialized::with_value(value).name(named.0))
    }

    /// The same, with options; in any type that can count.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let cities = builder.table::<String, i64>("size-of").group_by(|city, size| (city.len() as i64, *size));
    /// cities.count_with(Materialized::<_, i64>::store("counts"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_with<C: Counter>(&self, materialized: Materialized<K, C>) -> KTable<K, C> {
        self.aggregate_as(AGGREGATE, materialized, Count)
    }

    /// Combines the values of each group, beginning with the first: `adder` takes a value in, `subtractor` takes one out; `None` deletes
    /// the row.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let cities = builder.table::<String, i64>("size-of").group_by(|city, size| (city.len() as i64, *size));
    /// cities.reduce(|sum, size| sum + size, |sum, size| sum - size).to_stream().to("sums");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reduce<R: Data<Present = V>, S: Data<Present = V>>(
        &self,
        adder: impl Fn(&V, &V) -> R + Send + Sync + 'static,
        subtractor: impl Fn(&V, &V) -> S + Send + Sync + 'static,
    ) -> KTable<K, V> {
        self.reduce_with(adder, subtractor, Materialized::carried(self.key.clone(), self.value.clone()))
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let cities = builder.table::<String, i64>("size-of").group_by(|city, size| (city.len() as i64, *size));
    /// cities.reduce_with(|sum, size| sum + size, |sum, size| sum - size, Materialized::store("sums"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reduce_with<R: Data<Present = V>, S: Data<Present = V>>(
        &self,
        adder: impl Fn(&V, &V) -> R + Send + Sync + 'static,
        subtractor: impl Fn(&V, &V) -> S + Send + Sync + 'static,
        materialized: Materialized<K, V>,
    ) -> KTable<K, V> {
        let store_value = self.value.as_ref();
        self.aggregate_of("KTABLE-REDUCE-", materialized, store_value, TableReduce { adder, subtractor })
    }

    /// Folds the values of each group: `adder` takes a value in, `subtractor` takes one out; an aggregate of `None` deletes the row.
    ///
    /// ```
    /// # use millstream::StreamsBuilder;
    /// let builder = StreamsBuilder::new();
    /// let cities = builder.table::<String, String>("citizens").group_by(|name, city| (city.clone(), name.clone()));
    /// let letters = cities.aggregate(|| 0i64, |_, name, sum| sum + name.len() as i64, |_, name, sum| sum - name.len() as i64);
    /// letters.to_stream().to("letters-by-city");
    /// assert!(builder.build().is_ok());
    /// ```
    pub fn aggregate<A: DefaultSerde>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        adder: impl Fn(&K, &V, A) -> A + Send + Sync + 'static,
        subtractor: impl Fn(&K, &V, A) -> A + Send + Sync + 'static,
    ) -> KTable<K, A::Present> {
        self.aggregate_with(initializer, adder, subtractor, Materialized::with_value(A::default_serde()))
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let cities = builder.table::<String, i64>("size-of").group_by(|city, size| (city.len() as i64, *size));
    /// cities.aggregate_with(|| 0, |_, size, sum: i64| sum + size, |_, size, sum| sum - size, Materialized::store("sums"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate_with<A: Data>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        adder: impl Fn(&K, &V, A) -> A + Send + Sync + 'static,
        subtractor: impl Fn(&K, &V, A) -> A + Send + Sync + 'static,
        materialized: Materialized<K, A::Present>,
    ) -> KTable<K, A::Present> {
        self.aggregate_as(AGGREGATE, materialized, TableFolder { initializer, adder, subtractor, aggregate: PhantomData })
    }

    fn aggregate_as<A: Data<Present = A>>(
        &self,
        prefix: &str,
        materialized: Materialized<K, A>,
        fold: impl TableFold<K, V, A>,
    ) -> KTable<K, A> {
        self.aggregate_of(prefix, materialized, None, fold)
    }

    fn aggregate_of<A: Data<Present = A>>(
        &self,
        prefix: &str,
        materialized: Materialized<K, A>,
        value: Option<&SerdeRef<A>>,
        fold: impl TableFold<K, V, A>,
    ) -> KTable<K, A> {
        let mut graph = self.builder.graph.borrow_mut();
        let store = StoreSpec::new(&mut graph, AGGREGATE, &materialized, self.key.as_ref(), value, &self.builder.config);
        let named = materialized.node_name.as_deref();
        let sink = graph.name_with_suffix_or(named, "-sink", "KSTREAM-SINK-");
        let source: Arc<str> = graph.name_with_suffix_or(named, "-source", "KSTREAM-SOURCE-").into();
        let name: Arc<str> = graph.name_or(named, prefix).into();
        let topic: Arc<str> = format!("{}-repartition", self.name.as_deref().unwrap_or(&store.name)).into();
        let (repartition, source) = self.repartition(&mut graph, sink, source, topic);
        let table = Rc::new(TableAggregate::new(store.clone(), fold));
        let write = {
            let (name, table, store) = (name.clone(), table.clone(), store.clone());
            move |topology: &mut Topology, written: &Written| {
                StoreSpec::write_node(Some(&store), topology, &name, &written.parents, table.maker())
            }
        };
        let mut node = GraphNode::new(name.clone(), Kind::Plain, write);
        node.output_versioned = Some(store.is_versioned());
        let node = graph.add(&[repartition], node);
        KTable {
            name,
            key: store.key.clone(),
            value: store.value.clone(),
            sources: [source].into(),
            queryable: store.queryable(),
            table,
            node,
            builder: self.builder.clone(),
        }
    }

    /// The node that writes changes to the repartition topic and reads them back, and its source.
    fn repartition(&self, graph: &mut Graph, sink: String, source: Arc<str>, topic: Arc<str>) -> (NodeId, Arc<str>) {
        let shared = self.repartition.borrow().clone().filter(|_| self.name.is_some());
        if let Some((node, source)) = shared {
            graph.add_again(node);
            return (node, source);
        }
        let (key, value, name) = (self.key.clone(), self.value.clone(), source.clone());
        let write = move |topology: &mut Topology, written: &Written| {
            let key = need(key, &sink, "key")?;
            let value: SerdeRef<Change<V>> = Arc::new(ChangeSerde(need(value, &sink, "value")?));
            topology.add_internal_topic(topic.clone(), None);
            let to = SinkDef::<K, Change<V>> {
                key: key.clone(),
                value: value.clone(),
                topic: SinkTopic::Internal(topic.clone()),
                partitioner: None,
                partition_key: None,
            };
            topology.add_sink(&sink, Some(topic.clone()), &written.parents, to.into_maker())?;
            let from = SourceDef::<K, Change<V>> { key, value, extractor: Arc::new(InvalidTimestamp::Fail) };
            topology.add_source(&name, &[topic], None, from.into_maker())
        };
        let node = graph.add(&[self.node], GraphNode::new(source.clone(), Kind::Plain, write));
        *self.repartition.borrow_mut() = Some((node, source.clone()));
        (node, source)
    }
}
