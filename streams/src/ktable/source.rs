//! Tables that begin in a topic or a stream.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use millstream_topology::{
    Assembly, Change, Children, Data, DefaultSerde, Error, Node, NodeMaker, Record, SourceDef, TaskContext, Topology,
};

use super::{KTable, Store, StoreSpec, TableNode, View};
use crate::{
    KStream, StreamsBuilder,
    builder::{
        graph::{GraphNode, Kind, ROOT, RepartitionNames, Written},
        need,
    },
    kstream::{maker, repartition_node},
    options::{Consumed, Materialized, Named},
};

/// The node that turns records into changes of a table.
pub(crate) struct TableSource<K: Data, V: Data> {
    pub store: StoreSpec<K, V>,
    flags: Arc<Flags>,
}

#[derive(Default)]
struct Flags {
    stored: AtomicBool,
    send_old: AtomicBool,
}

impl<K: Data<Present = K>, V: Data<Present = V>> TableSource<K, V> {
    pub fn new(store: StoreSpec<K, V>) -> Self {
        let flags = Flags { stored: store.named_by_user.into(), send_old: false.into() };
        Self { store, flags: Arc::new(flags) }
    }

    /// What writes the node, and its store if it is stored.
    pub fn write<L, W>(&self, name: Arc<str>) -> impl FnOnce(&mut Topology, &[Arc<str>], bool) -> Result<(), Error> + use<K, V, L, W>
    where
        L: Data<Present = K>,
        W: Data<Present = V>,
    {
        let this = Self { store: self.store.clone(), flags: self.flags.clone() };
        move |topology, parents, is_changelog| {
            topology.add_processor(&name, parents, this.maker::<L, W>())?;
            if this.flags.stored.load(Relaxed) {
                let mut def = this.store.def()?;
                def.logging &= !is_changelog;
                topology.add_store(def, &[&name])?;
            }
            Ok(())
        }
    }

    /// What makes the node, with its store if the table is stored by now.
    pub fn maker<L, W>(&self) -> NodeMaker
    where
        L: Data<Present = K>,
        W: Data<Present = V>,
    {
        let (stored, send_old) = (self.flags.stored.load(Relaxed), self.flags.send_old.load(Relaxed));
        let store_name = stored.then(|| self.store.name.clone());
        maker::<L, W, _, _>(move |assembly: &mut Assembly<'_>| {
            let children = assembly.children()?;
            let store = StoreSpec::<K, V>::open_for(store_name.as_ref(), assembly, &children, send_old)?;
            Ok(Source { store, send_old, children })
        })
    }
}

impl<K: Data<Present = K>, V: Data<Present = V>> TableNode<K, V> for TableSource<K, V> {
    fn send_old_values(&self, force: bool) -> bool {
        if force {
            self.flags.stored.store(true, Relaxed);
        }
        let stored = self.flags.stored.load(Relaxed);
        if stored {
            self.flags.send_old.store(true, Relaxed);
        }
        stored
    }

    fn view(&self) -> View<K, V> {
        self.flags.stored.store(true, Relaxed);
        self.store.view()
    }
}

impl StreamsBuilder {
    /// The table that a topic's records are the changes of. A null value deletes; a record without a key is dropped.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// builder.table::<String, i64>("prices").to_stream().to("changes");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("prices").pipe("a".to_string(), 50i64, 0)?;
    /// assert_eq!(driver.output_topic::<String, Option<i64>>("changes").read_values()?, [Some(50)]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn table<K, V>(&self, topic: &str) -> KTable<K, V>
    where
        K: DefaultSerde + Data<Present = K>,
        V: DefaultSerde + Data<Present = V>,
    {
        let consumed = Consumed::<Option<K>, Option<V>>::new();
        let materialized = Materialized::carried(consumed.key.resolve(None), consumed.value.resolve(None));
        self.table_with(topic, consumed, materialized)
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// let (topic, rows) = (Consumed::new().name("prices"), Materialized::store("prices").caching(false));
    /// let prices = builder.table_with::<String, i64>("prices", topic, rows);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn table_with<K, V>(&self, topic: &str, consumed: Consumed<Option<K>, Option<V>>, materialized: Materialized<K, V>) -> KTable<K, V>
    where
        K: Data<Present = K>,
        V: Data<Present = V>,
    {
        let mut graph = self.graph.borrow_mut();
        let (key, value) = (consumed.key.resolve(None), consumed.value.resolve(None));
        let store = StoreSpec::new(&mut graph, &format!("{topic}-"), &materialized, key.as_ref(), value.as_ref(), &self.config);
        let source_name: Arc<str> = graph.name_with_suffix_or(consumed.name.as_deref(), "-source", "KSTREAM-SOURCE-").into();
        let name: Arc<str> = graph.name_or(consumed.name.as_deref(), "KTABLE-SOURCE-").into();
        let table = TableSource::new(store.clone());
        let write = {
            let write_table = table.write::<Option<K>, Option<V>>(name.clone());
            let (source_name, topic, store_name) = (source_name.clone(), Arc::<str>::from(topic), store.name.clone());
            let (key, value) = (key.clone(), value.clone());
            move |topology: &mut Topology, written: &Written| {
                let source: SourceDef<Option<K>, Option<V>> = SourceDef {
                    key: need(key, &source_name, "key")?,
                    value: need(value, &source_name, "value")?,
                    extractor: consumed.extractor,
                };
                topology.add_source(&source_name, std::slice::from_ref(&topic), consumed.offset_reset, source.into_maker())?;
                write_table(topology, std::slice::from_ref(&source_name), written.reuse_source_topic)?;
                if written.reuse_source_topic && topology.store(&store_name).is_some() {
                    topology.use_source_as_changelog(&store_name, &topic);
                }
                Ok(())
            }
        };
        let mut node = GraphNode::new(name.clone(), Kind::TableSource, write);
        node.output_versioned = Some(store.is_versioned());
        let node = graph.add(&[ROOT], node);
        KTable {
            name,
            key: store.key.clone(),
            value: store.value.clone(),
            sources: [source_name].into(),
            queryable: store.queryable(),
            table: Rc::new(table),
            node,
            builder: self.clone(),
        }
    }
}

impl<K: Data, V: Data> KStream<K, V> {
    /// The table that this stream's records are the changes of. A null value deletes; a record without a key is dropped.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.to_table().to_stream().to("newest");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// assert_eq!(driver.output_topic::<String, Option<i64>>("newest").read_values()?, [Some(50)]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to_table(&self) -> KTable<K::Present, V::Present>
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        let key = self.key.clone().unwrap_or_else(K::default_serde);
        let value = self.value.clone().unwrap_or_else(V::default_serde);
        self.to_table_as(None, Materialized::carried(Some(key), Some(value)))
    }

    /// The same, with options; the node is named by [`Materialized::name`].
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.to_table_with(Materialized::store("newest"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to_table_with(&self, materialized: Materialized<K::Present, V::Present>) -> KTable<K::Present, V::Present> {
        let named = materialized.node_name.clone().map(Named);
        self.to_table_as(named.as_ref(), materialized)
    }

    fn to_table_as(&self, named: Option<&Named>, materialized: Materialized<K::Present, V::Present>) -> KTable<K::Present, V::Present> {
        let mut graph = self.builder.graph.borrow_mut();
        let name: Arc<str> = graph.name_or(named.map(|named| &*named.0), "KSTREAM-TOTABLE-").into();
        let (key, value) = (self.key.as_ref(), self.value.as_ref());
        let store = StoreSpec::new(&mut graph, "KSTREAM-TOTABLE-", &materialized, key, value, &self.builder.config);
        let (parent, sources) = match self.repartition_required {
            false => (self.node, self.sources.clone()),
            true => {
                let names = RepartitionNames::new(&mut graph, &name, named.is_some());
                let source: Arc<str> = names.source.clone().into();
                let node = repartition_node::<K, V>(true, names, (store.key.clone(), store.value.clone()), None, None);
                (graph.add(&[self.node], node), [source].into())
            }
        };
        let table = TableSource::new(store.clone());
        let write_table = table.write::<K, V>(name.clone());
        let write = move |topology: &mut Topology, written: &Written| write_table(topology, &written.parents, false);
        let mut node = GraphNode::new(name.clone(), Kind::Plain, write);
        node.output_versioned = Some(store.is_versioned());
        let node = graph.add(&[parent], node);
        KTable {
            name,
            key: store.key.clone(),
            value: store.value.clone(),
            sources,
            queryable: store.queryable(),
            table: Rc::new(table),
            node,
            builder: self.builder.clone(),
        }
    }
}

/// **Law.** Each record with a key is a change of the table, also if it is older than the row, or changes nothing.
struct Source<K, V> {
    store: Option<Store<K, V>>,
    send_old: bool,
    children: Children<K, Change<V>>,
}

impl<L: Data, W: Data> Node<L, W> for Source<L::Present, W::Present> {
    fn process(&mut self, context: &mut TaskContext, record: Record<L, W>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record;
        let Some(key) = key.into_present() else {
            context.drop_record();
            return Ok(());
        };
        let new = value.into_present();
        let Some(store) = &self.store else {
            return self.children.forward(context, Record { key, value: Change::new(new, None), timestamp, headers: headers.copied() });
        };
        let old = if self.send_old { store.get(&key)?.map(|row| row.value) } else { None };
        store.update(&self.children, context, Record { key, value: Change::new(new, old), timestamp, headers })
    }
}
