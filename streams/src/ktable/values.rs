//! Operations on the rows of a table, one by one: filters, and new values.

use std::{rc::Rc, sync::Arc};

use millstream_topology::{Data, Topology};

use super::{KTable, StoreSpec};
use crate::{
    builder::graph::{GraphNode, Kind, Written},
    operator::{TableMap, TableTransform, Transformed, ValueTransformerWithKey},
    options::{Materialized, Named},
};

impl<K: Data<Present = K>, V: Data<Present = V>> KTable<K, V> {
    /// Keeps the rows for which `predicate` holds; a row for which it no longer holds is deleted.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.filter(|_, price| *price < 100).to_stream().to("cheap");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("prices"); input.pipe("a".to_string(), 50i64, 0)?; input.pipe("a".to_string(), 200i64, 1)?;
    /// // The row no longer holds: it is deleted.
    /// assert_eq!(driver.output_topic::<String, Option<i64>>("cheap").read_values()?, [Some(50), None]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_as(predicate, None, None)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.filter_named(Named::new("cheap"), |_, price| *price < 100);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn filter_named(&self, named: Named, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_as(predicate, Some(&named.0), None)
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.filter_with(|_, price| *price < 100, Materialized::store("cheap"));
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("prices").pipe("a".to_string(), 50i64, 0)?;
    /// let cheap: store::TimestampedKeyValueStore<String, i64> = driver.store("cheap").expect("it is there");
    /// assert_eq!(cheap.get(&"a".to_string())?.map(|row| row.value), Some(50));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn filter_with(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static, materialized: Materialized<K, V>) -> Self {
        self.filter_as(predicate, materialized.node_name.as_deref(), Some(&materialized))
    }

    /// Keeps the rows for which `predicate` does not hold.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.filter_not(|_, price| *price < 100).to_stream().to("dear");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_as(move |key, value| !predicate(key, value), None, None)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.filter_not_named(Named::new("dear"), |_, price| *price < 100);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn filter_not_named(&self, named: Named, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_as(move |key, value| !predicate(key, value), Some(&named.0), None)
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.filter_not_with(|_, price| *price < 100, Materialized::store("dear"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn filter_not_with(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static, materialized: Materialized<K, V>) -> Self {
        self.filter_as(move |key, value| !predicate(key, value), materialized.node_name.as_deref(), Some(&materialized))
    }

    fn filter_as(
        &self,
        predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
        named: Option<&str>,
        materialized: Option<&Materialized<K, V>>,
    ) -> Self {
        const PREFIX: &str = "KTABLE-FILTER-";
        let mut graph = self.builder.graph.borrow_mut();
        let (key, value, config) = (self.key.as_ref(), self.value.as_ref(), &self.builder.config);
        let store = materialized.and_then(|materialized| StoreSpec::if_named(&mut graph, materialized, key, value, config));
        if materialized.is_some() && store.is_none() {
            // Kafka Streams spends a number on the name of a store that is not made.
            graph.generate_store(PREFIX);
        }
        let name: Arc<str> = graph.name_or(named, PREFIX).into();
        let filter = move |key: &K, value: V| Some(value).filter(|value| predicate(key, value));
        let table = Rc::new(TableMap::new(self.table.clone(), store, filter));
        // Where the table is stored, old values cost nothing and spare deletions of rows that nobody has seen.
        table.send_old_values_if_stored();
        let write = {
            let (table, name) = (table.clone(), name.clone());
            move |topology: &mut Topology, written: &Written| {
                let node = table.maker(!written.versioned.is_empty());
                StoreSpec::write_node(table.store.as_ref(), topology, &name, &written.parents, node)
            }
        };
        let mut node = GraphNode::new(name.clone(), Kind::Plain, write);
        node.heeds_versions = true;
        node.output_versioned = materialized.map(|materialized| materialized.versioned.is_some());
        let node = graph.add(&[self.node], node);
        let serdes = match materialized {
            Some(materialized) => (materialized.key.resolve(key), materialized.value.resolve(value)),
            None => (self.key.clone(), self.value.clone()),
        };
        let queryable = table.store.as_ref().and_then(StoreSpec::queryable);
        self.derived(name, node, serdes, queryable, table)
    }

    /// Replaces the value of each row; where `mapper` returns `None`, there is no row.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.map_values(|price| (*price < 100).then_some(price * 2)).to_stream().to("twice");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("prices"); input.pipe("a".to_string(), 50i64, 0)?; input.pipe("a".to_string(), 200i64, 1)?;
    /// assert_eq!(driver.output_topic::<String, Option<i64>>("twice").read_values()?, [Some(100), None]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn map_values<W: Data>(&self, mapper: impl Fn(&V) -> W + Send + Sync + 'static) -> KTable<K, W::Present> {
        self.map_values_as(move |_, value| mapper(value), None, None)
    }

    /// The same, looking at the key.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.map_values_with_key(|id, price| format!("{id}: {price}"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn map_values_with_key<W: Data>(&self, mapper: impl Fn(&K, &V) -> W + Send + Sync + 'static) -> KTable<K, W::Present> {
        self.map_values_as(mapper, None, None)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.map_values_named(Named::new("texts"), |id, price| format!("{id}: {price}"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn map_values_named<W: Data>(&self, named: Named, mapper: impl Fn(&K, &V) -> W + Send + Sync + 'static) -> KTable<K, W::Present> {
        self.map_values_as(mapper, Some(&named.0), None)
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.map_values_with(|id, price| format!("{id}: {price}"), Materialized::store("texts"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn map_values_with<W: Data>(
        &self,
        mapper: impl Fn(&K, &V) -> W + Send + Sync + 'static,
        materialized: Materialized<K, W::Present>,
    ) -> KTable<K, W::Present> {
        self.map_values_as(mapper, materialized.node_name.as_deref(), Some(&materialized))
    }

    fn map_values_as<W: Data>(
        &self,
        mapper: impl Fn(&K, &V) -> W + Send + Sync + 'static,
        named: Option<&str>,
        materialized: Option<&Materialized<K, W::Present>>,
    ) -> KTable<K, W::Present> {
        const PREFIX: &str = "KTABLE-MAPVALUES-";
        let mut graph = self.builder.graph.borrow_mut();
        let (key, config) = (self.key.as_ref(), &self.builder.config);
        let store = materialized.and_then(|materialized| StoreSpec::if_named(&mut graph, materialized, key, None, config));
        if materialized.is_some() && store.is_none() {
            graph.generate_store(PREFIX);
        }
        let name: Arc<str> = graph.name_or(named, PREFIX).into();
        let map = move |key: &K, value: V| mapper(key, &value).into_present();
        let table = Rc::new(TableMap::new(self.table.clone(), store, map));
        let write = {
            let (table, name) = (table.clone(), name.clone());
            move |topology: &mut Topology, written: &Written| {
                StoreSpec::write_node(table.store.as_ref(), topology, &name, &written.parents, table.maker(true))
            }
        };
        let mut node = GraphNode::new(name.clone(), Kind::Plain, write);
        node.output_versioned = materialized.map(|materialized| materialized.versioned.is_some());
        let node = graph.add(&[self.node], node);
        let serdes = match materialized {
            Some(materialized) => (materialized.key.resolve(key), materialized.value.resolve(None)),
            None => (self.key.clone(), None),
        };
        let queryable = table.store.as_ref().and_then(StoreSpec::queryable);
        self.derived(name, node, serdes, queryable, table)
    }

    /// Replaces the value of each row by what a transformer makes of it, who may use the named stores (KIP-292). `supplier` makes one
    /// transformer for each task, and one more for each operation that looks rows up that are not stored.
    ///
    /// ```
    /// # use millstream::{StreamsBuilder, TaskContext};
    /// let builder = StreamsBuilder::new();
    /// builder.table::<String, String>("texts").transform_values(
    ///     || {
    ///         let mut calls = 0;
    ///         move |_: &mut TaskContext, _: &String, text: Option<&String>| {
    ///             calls += 1;
    ///             Ok(text.map(|text| format!("{text} #{calls}")))
    ///         }
    ///     },
    ///     &[],
    /// );
    /// assert!(builder.build().unwrap().describe().contains("KTABLE-TRANSFORMVALUES-"));
    /// ```
    pub fn transform_values<T: ValueTransformerWithKey<K, V>>(
        &self,
        supplier: impl Fn() -> T + Send + Sync + 'static,
        stores: &[&str],
    ) -> KTable<K, Transformed<T, K, V>> {
        self.transform_values_as(supplier, stores, None, None)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// let same = || |_: &mut TaskContext, _: &String, price: Option<&i64>| Ok(price.copied());
    /// prices.transform_values_named(Named::new("same"), same, &[]);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn transform_values_named<T: ValueTransformerWithKey<K, V>>(
        &self,
        named: Named,
        supplier: impl Fn() -> T + Send + Sync + 'static,
        stores: &[&str],
    ) -> KTable<K, Transformed<T, K, V>> {
        self.transform_values_as(supplier, stores, Some(&named.0), None)
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// let same = || |_: &mut TaskContext, _: &String, price: Option<&i64>| Ok(price.copied());
    /// prices.transform_values_with(same, &[], Materialized::store("same"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn transform_values_with<T: ValueTransformerWithKey<K, V>>(
        &self,
        supplier: impl Fn() -> T + Send + Sync + 'static,
        stores: &[&str],
        materialized: Materialized<K, Transformed<T, K, V>>,
    ) -> KTable<K, Transformed<T, K, V>> {
        self.transform_values_as(supplier, stores, materialized.node_name.as_deref(), Some(&materialized))
    }

    fn transform_values_as<T: ValueTransformerWithKey<K, V>>(
        &self,
        supplier: impl Fn() -> T + Send + Sync + 'static,
        stores: &[&str],
        named: Option<&str>,
        materialized: Option<&Materialized<K, Transformed<T, K, V>>>,
    ) -> KTable<K, Transformed<T, K, V>> {
        let mut graph = self.builder.graph.borrow_mut();
        let (key, config) = (self.key.as_ref(), &self.builder.config);
        let store = materialized.and_then(|materialized| StoreSpec::if_named(&mut graph, materialized, key, None, config));
        let name: Arc<str> = graph.name_or(named, "KTABLE-TRANSFORMVALUES-").into();
        let table = Rc::new(TableTransform::new(self.table.clone(), store, supplier, stores));
        let write = {
            let (table, name) = (table.clone(), name.clone());
            move |topology: &mut Topology, written: &Written| {
                StoreSpec::write_node(table.store.as_ref(), topology, &name, &written.parents, table.maker())?;
                table.used().iter().try_for_each(|store| topology.connect(&name, store))
            }
        };
        let mut node = GraphNode::new(name.clone(), Kind::Plain, write);
        node.output_versioned = materialized.map(|materialized| materialized.versioned.is_some());
        let node = graph.add(&[self.node], node);
        let serdes = match materialized {
            Some(materialized) => (materialized.key.resolve(key), materialized.value.resolve(None)),
            None => (self.key.clone(), None),
        };
        let queryable = table.store.as_ref().and_then(StoreSpec::queryable);
        self.derived(name, node, serdes, queryable, table)
    }
}
