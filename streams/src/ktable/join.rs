//! Joins of two tables by their keys.

use std::{rc::Rc, sync::Arc};

use millstream_topology::{Data, Topology};

use super::{KTable, StoreSpec};
use crate::{
    builder::graph::{GraphNode, Kind, Written},
    operator::{JoinKind, TableJoin},
    options::{Materialized, Named},
};

impl<K: Data<Present = K>, V: Data<Present = V>> KTable<K, V> {
    /// The rows that are in both tables, joined; where `joiner` returns `None`, there is no row.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices"); let stock = builder.table::<String, i64>("stock");
    /// prices.join(&stock, |price, stock| price * stock).to_stream().to("worth");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("prices").pipe("a".to_string(), 50i64, 0)?; driver.input_topic("stock").pipe("a".to_string(), 3i64, 1)?;
    /// assert_eq!(driver.output_topic::<String, i64>("worth").read_values()?, [150]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Rows meet by key, so keys of different types do not compile:
    ///
    /// ```compile_fail
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// let (names, cities) = (builder.table::<i64, String>("names"), builder.table::<String, String>("cities"));
    /// names.join(&cities, |name, city| format!("{name} of {city}"));
    /// ```
    pub fn join<O: Data<Present = O>, R: Data>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(&V, &O) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Present> {
        self.join_as(other, JoinKind::Inner, inner(joiner), None, None)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices"); let stock = builder.table::<String, i64>("stock");
    /// prices.join_named(&stock, |price, stock| price * stock, Named::new("worth"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn join_named<O: Data<Present = O>, R: Data>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(&V, &O) -> R + Send + Sync + 'static,
        named: Named,
    ) -> KTable<K, R::Present> {
        self.join_as(other, JoinKind::Inner, inner(joiner), Some(&named.0), None)
    }

    /// The same, with options; always stored.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices"); let stock = builder.table::<String, i64>("stock");
    /// prices.join_with(&stock, |price, stock| price * stock, Materialized::store("worth"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn join_with<O: Data<Present = O>, R: Data>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(&V, &O) -> R + Send + Sync + 'static,
        materialized: Materialized<K, R::Present>,
    ) -> KTable<K, R::Present> {
        self.join_as(other, JoinKind::Inner, inner(joiner), materialized.node_name.as_deref(), Some(&materialized))
    }

    /// All rows of this table, each joined with the other table's row of that key if there is one.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices"); let stock = builder.table::<String, i64>("stock");
    /// prices.left_join(&stock, |price, stock| price * stock.unwrap_or(&0)).to_stream().to("worth");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("prices").pipe("a".to_string(), 50i64, 0)?; driver.input_topic("stock").pipe("a".to_string(), 3i64, 1)?;
    /// assert_eq!(driver.output_topic::<String, i64>("worth").read_values()?, [0, 150]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn left_join<O: Data<Present = O>, R: Data>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(&V, Option<&O>) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Present> {
        self.join_as(other, JoinKind::Left, left(joiner), None, None)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices"); let stock = builder.table::<String, i64>("stock");
    /// prices.left_join_named(&stock, |price, stock| price * stock.unwrap_or(&0), Named::new("worth"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn left_join_named<O: Data<Present = O>, R: Data>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(&V, Option<&O>) -> R + Send + Sync + 'static,
        named: Named,
    ) -> KTable<K, R::Present> {
        self.join_as(other, JoinKind::Left, left(joiner), Some(&named.0), None)
    }

    /// The same, with options; always stored.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices"); let stock = builder.table::<String, i64>("stock");
    /// prices.left_join_with(&stock, |price, stock| price * stock.unwrap_or(&0), Materialized::store("worth"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn left_join_with<O: Data<Present = O>, R: Data>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(&V, Option<&O>) -> R + Send + Sync + 'static,
        materialized: Materialized<K, R::Present>,
    ) -> KTable<K, R::Present> {
        self.join_as(other, JoinKind::Left, left(joiner), materialized.node_name.as_deref(), Some(&materialized))
    }

    /// The rows of either table, joined; at least one side is there.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices"); let stock = builder.table::<String, i64>("stock");
    /// let text = |price: Option<&i64>, stock: Option<&i64>| format!("{price:?}, {stock:?}");
    /// prices.outer_join(&stock, text).to_stream().to("both");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn outer_join<O: Data<Present = O>, R: Data>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(Option<&V>, Option<&O>) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Present> {
        self.join_as(other, JoinKind::Outer, outer(joiner), None, None)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices"); let stock = builder.table::<String, i64>("stock");
    /// let text = |price: Option<&i64>, stock: Option<&i64>| format!("{price:?}, {stock:?}");
    /// prices.outer_join_named(&stock, text, Named::new("both"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn outer_join_named<O: Data<Present = O>, R: Data>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(Option<&V>, Option<&O>) -> R + Send + Sync + 'static,
        named: Named,
    ) -> KTable<K, R::Present> {
        self.join_as(other, JoinKind::Outer, outer(joiner), Some(&named.0), None)
    }

    /// The same, with options; always stored.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices"); let stock = builder.table::<String, i64>("stock");
    /// let text = |price: Option<&i64>, stock: Option<&i64>| format!("{price:?}, {stock:?}");
    /// prices.outer_join_with(&stock, text, Materialized::store("both"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn outer_join_with<O: Data<Present = O>, R: Data>(
        &self,
        other: &KTable<K, O>,
        joiner: impl Fn(Option<&V>, Option<&O>) -> R + Send + Sync + 'static,
        materialized: Materialized<K, R::Present>,
    ) -> KTable<K, R::Present> {
        self.join_as(other, JoinKind::Outer, outer(joiner), materialized.node_name.as_deref(), Some(&materialized))
    }

    fn join_as<O: Data<Present = O>, W: Data<Present = W>>(
        &self,
        other: &KTable<K, O>,
        kind: JoinKind,
        joiner: impl Fn(Option<&V>, Option<&O>) -> Option<W> + Send + Sync + 'static,
        named: Option<&str>,
        materialized: Option<&Materialized<K, W>>,
    ) -> KTable<K, W> {
        const PREFIX: &str = "KTABLE-MERGE-";
        let sources = self.copartition_with(&other.sources);
        let mut graph = self.builder.graph.borrow_mut();
        let (key, config) = (self.key.as_ref(), &self.builder.config);
        let store = materialized.map(|materialized| StoreSpec::new(&mut graph, PREFIX, materialized, key, None, config));
        let name: Arc<str> = graph.name_or(named, PREFIX).into();
        let table = Rc::new(TableJoin::new(self.table.clone(), other.table.clone(), kind, joiner, store));
        let left_name = graph.name_with_suffix_or(named, "-join-this", "KTABLE-JOINTHIS-");
        let right_name = graph.name_with_suffix_or(named, "-join-other", "KTABLE-JOINOTHER-");
        let write = {
            let (name, table, left, right) = (name.clone(), table.clone(), self.name.clone(), other.name.clone());
            move |topology: &mut Topology, written: &Written| {
                let is_versioned = |side: &Arc<str>| written.versioned.contains(side);
                topology.add_processor(&left_name, &[&left], table.left_maker(is_versioned(&left)))?;
                topology.add_processor(&right_name, &[&right], table.right_maker(is_versioned(&right)))?;
                let parents = [left_name.as_str().into(), right_name.as_str().into()];
                StoreSpec::write_node(table.store.as_ref(), topology, &name, &parents, table.merger())?;
                table.right_view.stores.iter().try_for_each(|store| topology.connect(&left_name, store))?;
                table.left_view.stores.iter().try_for_each(|store| topology.connect(&right_name, store))
            }
        };
        let mut node = GraphNode::new(name.clone(), Kind::Plain, write);
        node.heeds_versions = true;
        node.output_versioned = Some(materialized.is_some_and(|materialized| materialized.versioned.is_some()));
        let node = graph.add(&[self.node, other.node], node);
        let serdes = match &table.store {
            Some(store) => (store.key.clone(), store.value.clone()),
            None => (self.key.clone(), None),
        };
        let queryable = table.store.as_ref().map(|store| store.name.clone());
        KTable { sources, ..self.derived(name, node, serdes, queryable, table) }
    }
}

fn inner<V, O, R: Data>(joiner: impl Fn(&V, &O) -> R) -> impl Fn(Option<&V>, Option<&O>) -> Option<R::Present> {
    move |left, right| joiner(left?, right?).into_present()
}

fn left<V, O, R: Data>(joiner: impl Fn(&V, Option<&O>) -> R) -> impl Fn(Option<&V>, Option<&O>) -> Option<R::Present> {
    move |left, right| joiner(left?, right).into_present()
}

fn outer<V, O, R: Data>(joiner: impl Fn(Option<&V>, Option<&O>) -> R) -> impl Fn(Option<&V>, Option<&O>) -> Option<R::Present> {
    move |left, right| if left.is_none() && right.is_none() { None } else { joiner(left, right).into_present() }
}
