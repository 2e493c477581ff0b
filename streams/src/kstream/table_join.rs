//! Joins of a stream with a table.

use std::sync::Arc;

use millstream_topology::{Assembly, Data, DefaultSerde, Error, ErrorKind, Topology, store::JoinBuffer};

use super::{KStream, maker, write_processor};
use crate::{
    GlobalKTable, KTable,
    builder::{
        graph::{GraphNode, Kind, Written},
        need,
    },
    operator::{OwnKey, SelectedKey, StreamTableJoin},
    options::{Joined, Named},
};

/// Makes a result of a record and the row of the table, if there is one.
pub(crate) type TableJoiner<K, V, O, R> = Arc<dyn Fn(&K, &V, Option<&O>) -> R + Send + Sync>;

/// The joiner of an inner join, which never calls without a row.
fn inner<K, V, O, R>(joiner: impl Fn(&K, &V, &O) -> R + Send + Sync + 'static) -> TableJoiner<K, V, O, R> {
    Arc::new(move |key, value, row| match row {
        Some(row) => joiner(key, value, row),
        None => unreachable!("an inner join has both sides"),
    })
}

fn not_versioned(name: &str) -> Error {
    let text = format!("{name}: a join with a grace period needs a versioned table: materialize it with Materialized::versioned");
    Error::new(ErrorKind::IllegalArgument, text)
}

impl<K: Data, V: Data> KStream<K, V> {
    /// Joins each record with the table's row of its key; a record without one is dropped.
    ///
    /// ```
    /// use millstream::{StreamsBuilder, TopologyTestDriver};
    ///
    /// let builder = StreamsBuilder::new();
    /// let names = builder.table::<String, String>("names");
    /// builder.stream::<String, String>("greetings").join_table(&names, |greeting, name| format!("{greeting}, {name}")).to("out");
    ///
    /// let driver = TopologyTestDriver::new(&builder.build().unwrap(), Default::default()).unwrap();
    /// driver.input_topic::<String, String>("names").pipe("a".into(), "Ann".into(), 0).unwrap();
    /// driver.input_topic::<String, String>("greetings").pipe("a".into(), "hello".into(), 1).unwrap();
    /// assert_eq!(driver.output_topic::<String, String>("out").read_record().unwrap().unwrap().value, "hello, Ann");
    /// ```
    pub fn join_table<O: Data<Present = O>, R: Data>(
        &self,
        table: &KTable<K::Present, O>,
        joiner: impl Fn(&V::Present, &O) -> R + Send + Sync + 'static,
    ) -> KStream<K, R>
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.join_table_with(table, joiner, Joined::new())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let prices = builder.table::<String, i64>("prices");
    /// orders.join_table_with(&prices, |amount, price| amount * price, Joined::new().name("priced"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn join_table_with<O: Data<Present = O>, R: Data>(
        &self,
        table: &KTable<K::Present, O>,
        joiner: impl Fn(&V::Present, &O) -> R + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R> {
        self.join_table_with_key(table, move |_, value, row| joiner(value, row), joined)
    }

    /// The same, with a joiner that looks at the key.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let prices = builder.table::<String, i64>("prices");
    /// let text = |id: &String, amount: &i64, price: &i64| format!("{id}: {}", amount * price);
    /// orders.join_table_with_key(&prices, text, Joined::new());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn join_table_with_key<O: Data<Present = O>, R: Data>(
        &self,
        table: &KTable<K::Present, O>,
        joiner: impl Fn(&K, &V::Present, &O) -> R + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R> {
        self.join_table_as(table, inner(joiner), joined, false)
    }

    /// Joins each record with the table's row of its key, if there is one.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let prices = builder.table::<String, i64>("prices");
    /// orders.left_join_table(&prices, |amount, price| amount * price.unwrap_or(&1)).to("priced");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// assert_eq!(driver.output_topic::<String, i64>("priced").read_values()?, [50]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn left_join_table<O: Data<Present = O>, R: Data>(
        &self,
        table: &KTable<K::Present, O>,
        joiner: impl Fn(&V::Present, Option<&O>) -> R + Send + Sync + 'static,
    ) -> KStream<K, R>
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.left_join_table_with(table, joiner, Joined::new())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let prices = builder.table::<String, i64>("prices");
    /// let priced = |amount: &i64, price: Option<&i64>| amount * price.unwrap_or(&1);
    /// orders.left_join_table_with(&prices, priced, Joined::new().name("priced"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn left_join_table_with<O: Data<Present = O>, R: Data>(
        &self,
        table: &KTable<K::Present, O>,
        joiner: impl Fn(&V::Present, Option<&O>) -> R + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R> {
        self.left_join_table_with_key(table, move |_, value, row| joiner(value, row), joined)
    }

    /// The same, with a joiner that looks at the key.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let prices = builder.table::<String, i64>("prices");
    /// let text = |id: &String, amount: &i64, price: Option<&i64>| format!("{id}: {amount} at {price:?}");
    /// orders.left_join_table_with_key(&prices, text, Joined::new());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn left_join_table_with_key<O: Data<Present = O>, R: Data>(
        &self,
        table: &KTable<K::Present, O>,
        joiner: impl Fn(&K, &V::Present, Option<&O>) -> R + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R> {
        self.join_table_as(table, Arc::new(joiner), joined, true)
    }

    fn join_table_as<O: Data<Present = O>, R: Data>(
        &self,
        table: &KTable<K::Present, O>,
        joiner: TableJoiner<K, V::Present, O, R>,
        joined: Joined<K, V>,
        left: bool,
    ) -> KStream<K, R> {
        let (key, value) = (joined.key.resolve(self.key.as_ref()), joined.value.resolve(self.value.as_ref()));
        let this = match self.repartition_required {
            true => {
                let base = joined.name.clone().unwrap_or_else(|| self.name.to_string());
                self.repartitioned_for_join(&base, (key.clone(), value.clone()), joined.name.is_some())
            }
            false => self.clone(),
        };
        let sources = table.copartition_with(&this.sources);
        let view = table.table.view();
        let mut graph = self.builder.graph.borrow_mut();
        let prefix = if left { "KSTREAM-LEFTJOIN-" } else { "KSTREAM-JOIN-" };
        let name: Arc<str> = graph.name_or(joined.name.as_deref(), prefix).into();
        let grace = joined.grace_period_ms;
        let buffer: Option<Arc<str>> = grace.map(|_| format!("{name}-Buffer").into());
        if let Some(buffer) = &buffer {
            if graph.nodes[table.node].output_versioned == Some(false) {
                graph.check(Err(not_versioned(&name)));
            }
            if joined.name.is_none() {
                graph.implicit_names.push(buffer.to_string());
            }
        }
        let write = {
            let (name, key) = (name.clone(), key.clone());
            move |topology: &mut Topology, written: &Written| {
                let (rows, node, waiting) = (view.make.clone(), name.clone(), buffer.clone());
                let make = move |assembly: &mut Assembly<'_>| {
                    let rows = rows(assembly)?;
                    if waiting.is_some() && !rows.is_versioned() {
                        return Err(not_versioned(&node));
                    }
                    let buffer = waiting.as_ref().map(|buffer| assembly.store(buffer)).transpose()?;
                    Ok(StreamTableJoin { left, key: OwnKey, rows, joiner: joiner.clone(), buffer, children: assembly.children()? })
                };
                topology.add_processor(&name, &written.parents, maker::<K, V, _, _>(make))?;
                if let Some((buffer, grace)) = buffer.zip(grace) {
                    let (key, value) = (need(key, &name, "key")?, need(value, &name, "value")?);
                    topology.add_store(JoinBuffer::def(buffer, key, value, grace), &[&name])?;
                }
                for store in &view.stores {
                    topology.connect(&name, store)?;
                    let history = topology.store(store).and_then(|store| store.history_retention);
                    match (grace, history) {
                        (Some(_), None) => return Err(not_versioned(&name)),
                        (Some(grace), Some(history)) if grace > history => {
                            let text =
                                format!("{name}: a grace of {grace} ms is longer than the {history} ms of history that {store} keeps");
                            return Err(Error::new(ErrorKind::IllegalArgument, text));
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
        };
        let mut node = GraphNode::new(name.clone(), Kind::Plain, write);
        node.relaxed_null_key = left;
        let node = graph.add(&[this.node], node);
        KStream { sources, ..this.derived(name, node, false, (key, None)) }
    }

    /// Joins each record with the row of the global table that `selector` names; a record without one is dropped.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let rates = builder.global_table::<String, i64>("rates");
    /// orders.join_global(&rates, |_, _| "USD".to_string(), |amount, rate| amount * rate).to("dollars");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("rates").pipe("USD".to_string(), 2i64, 0)?; driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// assert_eq!(driver.output_topic::<String, i64>("dollars").read_values()?, [100]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn join_global<D: Data, O: Data<Present = O>, R: Data>(
        &self,
        table: &GlobalKTable<D::Present, O>,
        selector: impl Fn(&K, &V) -> D + Send + Sync + 'static,
        joiner: impl Fn(&V::Present, &O) -> R + Send + Sync + 'static,
    ) -> KStream<K, R> {
        self.join_global_as(table, selector, inner(move |_, value, row| joiner(value, row)), None, false)
    }

    /// The same, with a joiner that looks at the key, and perhaps named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let rates = builder.global_table::<String, i64>("rates");
    /// let text = |id: &String, amount: &i64, rate: &i64| format!("{id}: {}", amount * rate);
    /// orders.join_global_with_key(&rates, |_, _| "USD".to_string(), text, Some(Named::new("dollars")));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn join_global_with_key<D: Data, O: Data<Present = O>, R: Data>(
        &self,
        table: &GlobalKTable<D::Present, O>,
        selector: impl Fn(&K, &V) -> D + Send + Sync + 'static,
        joiner: impl Fn(&K, &V::Present, &O) -> R + Send + Sync + 'static,
        named: Option<Named>,
    ) -> KStream<K, R> {
        self.join_global_as(table, selector, inner(joiner), named, false)
    }

    /// Joins each record with the row of the global table that `selector` names, if there is one.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let rates = builder.global_table::<String, i64>("rates");
    /// let dollars = |amount: &i64, rate: Option<&i64>| rate.map(|rate| amount * rate);
    /// orders.left_join_global(&rates, |_, _| "USD".to_string(), dollars).to("dollars");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn left_join_global<D: Data, O: Data<Present = O>, R: Data>(
        &self,
        table: &GlobalKTable<D::Present, O>,
        selector: impl Fn(&K, &V) -> D + Send + Sync + 'static,
        joiner: impl Fn(&V::Present, Option<&O>) -> R + Send + Sync + 'static,
    ) -> KStream<K, R> {
        self.join_global_as(table, selector, Arc::new(move |_: &K, value: &_, row: Option<&_>| joiner(value, row)), None, true)
    }

    /// The same, with a joiner that looks at the key, and perhaps named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let rates = builder.global_table::<String, i64>("rates");
    /// let text = |id: &String, amount: &i64, rate: Option<&i64>| format!("{id}: {amount} at {rate:?}");
    /// orders.left_join_global_with_key(&rates, |_, _| "USD".to_string(), text, None);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn left_join_global_with_key<D: Data, O: Data<Present = O>, R: Data>(
        &self,
        table: &GlobalKTable<D::Present, O>,
        selector: impl Fn(&K, &V) -> D + Send + Sync + 'static,
        joiner: impl Fn(&K, &V::Present, Option<&O>) -> R + Send + Sync + 'static,
        named: Option<Named>,
    ) -> KStream<K, R> {
        self.join_global_as(table, selector, Arc::new(joiner), named, true)
    }

    fn join_global_as<D: Data, O: Data<Present = O>, R: Data>(
        &self,
        table: &GlobalKTable<D::Present, O>,
        selector: impl Fn(&K, &V) -> D + Send + Sync + 'static,
        joiner: TableJoiner<K, V::Present, O, R>,
        named: Option<Named>,
        left: bool,
    ) -> KStream<K, R> {
        let mut graph = self.builder.graph.borrow_mut();
        let name: Arc<str> = graph.name_or(named.as_ref().map(|named| &*named.0), "KSTREAM-LEFTJOIN-").into();
        let (rows, selector) = (table.view.make.clone(), Arc::new(selector));
        let make = move |assembly: &mut Assembly<'_>| {
            let (key, rows, joiner) = (SelectedKey::new(selector.clone()), rows(assembly)?, joiner.clone());
            Ok(StreamTableJoin { left, key, rows, joiner, buffer: None, children: assembly.children()? })
        };
        let mut node = GraphNode::new(name.clone(), Kind::Plain, write_processor::<K, V, _, _>(&name, make));
        node.relaxed_null_key = left;
        let node = graph.add(&[self.node], node);
        self.derived(name, node, self.repartition_required, (self.key.clone(), None))
    }
}
