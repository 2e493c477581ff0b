//! Joins of two tables by a foreign key: a left row names the right row that it is joined with (KIP-213).
//!
//! ```text
//! left table ─► subscribe ─► registration topic ─► receive ─► answer ─┐
//!                                                     │ store         ├─► response topic ─► resolve ─► result
//!                                   right table ─► fan out ───────────┘
//! ```

mod hash;
mod operators;
mod wire;

use std::{collections::BTreeSet, marker::PhantomData, rc::Rc, sync::Arc};

use bytes::Bytes;
use millstream_topology::{
    Change, Data, DefaultSerde, InvalidTimestamp, SerdeRef, SinkDef, SinkTopic, SourceDef, Topology,
    store::{StoreDef, TimestampedKeyValueStore},
};

use self::{
    operators::{Answer, FanOut, Receive, Resolve, Subscribe},
    wire::{Response, ResponseSerde, Subscription, SubscriptionSerde},
};
use super::{KTable, StoreSpec, TableSource};
use crate::{
    builder::{
        graph::{Graph, GraphNode, Kind, NodeId, Written},
        need,
    },
    kstream::maker,
    options::{Materialized, TableJoined},
};

impl<K: Data<Present = K>, V: Data<Present = V>> KTable<K, V> {
    /// Each row joined with the other table's row of the key that `foreign_key` finds in it; rows without a partner are left out.
    ///
    /// ```
    /// # use millstream::StreamsBuilder;
    /// let builder = StreamsBuilder::new();
    /// let (orders, customers) = (builder.table::<i64, String>("orders"), builder.table::<String, String>("customers"));
    /// let named = orders.foreign_key_join(&customers, |_, customer| customer.clone(), |customer, name| format!("{customer}: {name}"));
    /// named.to_stream().to("named-orders");
    /// assert!(builder.build().is_ok());
    /// ```
    pub fn foreign_key_join<KO, VO, F, R>(
        &self,
        other: &KTable<KO, VO>,
        foreign_key: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        joiner: impl Fn(&V, &VO) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Present>
    where
        K: DefaultSerde,
        V: DefaultSerde,
        KO: DefaultSerde<Present = KO>,
        VO: DefaultSerde<Present = VO>,
        F: Data<Present = KO>,
        R: DefaultSerde,
    {
        self.foreign_key_join_with(other, foreign_key, joiner, TableJoined::new(), Materialized::with_value(R::default_serde()))
    }

    /// The same, with options.
    pub fn foreign_key_join_with<KO, VO, F, R>(
        &self,
        other: &KTable<KO, VO>,
        foreign_key: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        joiner: impl Fn(&V, &VO) -> R + Send + Sync + 'static,
        tables: TableJoined<K, V, KO, VO>,
        materialized: Materialized<K, R::Present>,
    ) -> KTable<K, R::Present>
    where
        KO: Data<Present = KO>,
        VO: Data<Present = VO>,
        F: Data<Present = KO>,
        R: Data,
    {
        let join = Join {
            foreign_key: move |key: &K, value: &V| foreign_key(key, value).into_present(),
            joiner: move |left: &V, right: Option<&VO>| joiner(left, right?).into_present(),
            is_left: false,
        };
        self.join_by_foreign_key(other, join, tables, &materialized)
    }

    /// Each row joined with the other table's row of the key that `foreign_key` finds in it, if there is one.
    pub fn foreign_key_left_join<KO, VO, F, R>(
        &self,
        other: &KTable<KO, VO>,
        foreign_key: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        joiner: impl Fn(&V, Option<&VO>) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Present>
    where
        K: DefaultSerde,
        V: DefaultSerde,
        KO: DefaultSerde<Present = KO>,
        VO: DefaultSerde<Present = VO>,
        F: Data<Present = KO>,
        R: DefaultSerde,
    {
        self.foreign_key_left_join_with(other, foreign_key, joiner, TableJoined::new(), Materialized::with_value(R::default_serde()))
    }

    /// The same, with options.
    pub fn foreign_key_left_join_with<KO, VO, F, R>(
        &self,
        other: &KTable<KO, VO>,
        foreign_key: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        joiner: impl Fn(&V, Option<&VO>) -> R + Send + Sync + 'static,
        tables: TableJoined<K, V, KO, VO>,
        materialized: Materialized<K, R::Present>,
    ) -> KTable<K, R::Present>
    where
        KO: Data<Present = KO>,
        VO: Data<Present = VO>,
        F: Data<Present = KO>,
        R: Data,
    {
        let join = Join {
            foreign_key: move |key: &K, value: &V| foreign_key(key, value).into_present(),
            joiner: move |left: &V, right: Option<&VO>| joiner(left, right).into_present(),
            is_left: true,
        };
        self.join_by_foreign_key(other, join, tables, &materialized)
    }

    fn join_by_foreign_key<KO, VO, W>(
        &self,
        other: &KTable<KO, VO>,
        join: Join<impl Fn(&K, &V) -> Option<KO> + Send + Sync + 'static, impl Fn(&V, Option<&VO>) -> Option<W> + Send + Sync + 'static>,
        tables: TableJoined<K, V, KO, VO>,
        materialized: &Materialized<K, W>,
    ) -> KTable<K, W>
    where
        KO: Data<Present = KO>,
        VO: Data<Present = VO>,
        W: Data<Present = W>,
    {
        other.table.send_old_values(true);
        self.table.send_old_values(true);
        let mut graph = self.builder.graph.borrow_mut();
        let names = Names::new(&mut graph, tables.name.as_deref());
        let serdes = Arc::new(Serdes {
            join: names.subscribe.clone(),
            key: tables.key.resolve(self.key.as_ref()),
            value: tables.value.resolve(self.value.as_ref()),
            other_key: tables.other_key.resolve(other.key.as_ref()),
            other_value: tables.other_value.resolve(other.value.as_ref()),
        });
        let subscriptions = Subscriptions {
            name: names.store.clone(),
            serdes: serdes.clone(),
            store_type: self.builder.config.store_type,
            def: std::cell::OnceCell::new(),
        };
        let (subscriptions, joiner) = (Rc::new(subscriptions), Arc::new(join.joiner));

        let registered = {
            let to = subscribe_node(&names, serdes.clone(), Arc::new(join.foreign_key), join.is_left);
            let to = graph.add(&[self.node], to);
            let partitioner = tables.other_partitioner.map(|choose| -> millstream_topology::StreamPartitioner<Option<KO>, Subscription<K>> {
                Arc::new(move |topic, key, _, partitions| choose(topic, key.as_ref(), partitions).map(|partition| vec![partition]))
            });
            let (of_key, of_value) = (serdes.clone(), serdes.clone());
            let topic = Topic { sink: &names.registration_sink, topic: &names.registration, source: &names.registration_source };
            topic.add(&mut graph, &[to], move || Ok((of_key.other_key()?, of_value.subscription()?)), partitioner)
        };
        let with_right: BTreeSet<_> = other.sources.iter().cloned().chain([names.registration_source.clone()]).collect();
        graph.copartitioned.push(with_right);

        let received = graph.add(&[registered], receive_node(&names, subscriptions.clone()));
        let answered = graph.add(&[received], answer_node::<K, KO, VO>(&names, other));
        let fanned_out = graph.add(&[other.node], fan_out_node(&names, subscriptions));

        let responded = {
            let chosen = tables.partitioner;
            let partitioner: millstream_topology::StreamPartitioner<K, Response<VO>> = Arc::new(move |topic, key, response, partitions| {
                let partition = match &chosen {
                    Some(choose) => choose(topic, key, partitions),
                    None => response.partition,
                };
                partition.map(|partition| vec![partition])
            });
            let (of_key, of_value) = (serdes.clone(), serdes.clone());
            let topic = Topic { sink: &names.response_sink, topic: &names.response, source: &names.response_source };
            let parents = [answered, fanned_out];
            topic.add(&mut graph, &parents, move || Ok((of_key.key()?, of_value.response()?)), Some(partitioner))
        };
        let sources: BTreeSet<_> = self.sources.iter().cloned().chain([names.response_source.clone()]).collect();
        graph.copartitioned.push(sources.clone());
        let resolved = graph.add(&[responded], self.resolve_node::<VO, W, _>(&names, serdes, joiner));

        let name = names.result(&mut graph);
        let store = StoreSpec::new(&mut graph, FK_OUTPUT, materialized, self.key.as_ref(), None, &self.builder.config);
        let table = TableSource::new(store.clone());
        let write_table = table.write::<K, Option<W>>(name.clone());
        let mut node = GraphNode::new(name.clone(), Kind::Plain, move |topology: &mut Topology, written: &Written| {
            write_table(topology, &written.parents, false)
        });
        node.output_versioned = Some(store.is_versioned());
        let node = graph.add(&[resolved], node);
        let derived = self.derived(name, node, (self.key.clone(), store.value.clone()), store.queryable(), Rc::new(table));
        KTable { sources, ..derived }
    }

    fn resolve_node<VO, W, F>(&self, names: &Names, serdes: Arc<Serdes<K, V, impl Data, VO>>, joiner: Arc<F>) -> GraphNode
    where
        VO: Data,
        W: Data,
        F: Fn(&V, Option<&VO>) -> Option<W> + Send + Sync + 'static,
    {
        let (name, view) = (names.resolve.clone(), self.table.view());
        GraphNode::new(name.clone(), Kind::Plain, move |topology: &mut Topology, written: &Written| {
            let value_serde = serdes.value()?;
            let make = maker::<K, Response<VO>, _, _>(move |assembly| {
                let (rows, children) = ((view.make)(assembly)?, assembly.children()?);
                Ok(Resolve { rows, value_serde: value_serde.clone(), joiner: joiner.clone(), children, right: PhantomData })
            });
            topology.add_processor(&name, &written.parents, make)?;
            view.stores.iter().try_for_each(|store| topology.connect(&name, store))
        })
    }
}

struct Join<F, J> {
    foreign_key: F,
    joiner: J,
    is_left: bool,
}

const FK_OUTPUT: &str = "KTABLE-FK-JOIN-OUTPUT-";

/// The names of everything in one join, in the order in which Kafka Streams generates them.
struct Names {
    user: Option<String>,
    registration: Arc<str>,
    subscribe: Arc<str>,
    registration_sink: Arc<str>,
    registration_source: Arc<str>,
    store: Arc<str>,
    receive: Arc<str>,
    answer: Arc<str>,
    fan_out: Arc<str>,
    response: Arc<str>,
    response_sink: Arc<str>,
    response_source: Arc<str>,
    resolve: Arc<str>,
}

impl Names {
    fn new(graph: &mut Graph, user: Option<&str>) -> Self {
        const REGISTRATION: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-";
        const PROCESSOR: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-PROCESSOR-";
        const SINK: &str = "KTABLE-SINK-";
        const SOURCE: &str = "KTABLE-SOURCE-";
        let mut name = |suffix: &str, prefix: &str| graph.name_with_suffix_or(user, suffix, prefix);
        Self {
            user: user.map(String::from),
            registration: (name("-subscription-registration", REGISTRATION) + "-topic").into(),
            subscribe: name("-subscription-registration-processor", REGISTRATION).into(),
            registration_sink: name("-subscription-registration-sink", SINK).into(),
            registration_source: name("-subscription-registration-source", SOURCE).into(),
            store: name("-subscription-store", "KTABLE-FK-JOIN-SUBSCRIPTION-STATE-STORE-").into(),
            receive: name("-subscription-receive", PROCESSOR).into(),
            answer: name("-subscription-join-foreign", PROCESSOR).into(),
            fan_out: name("-foreign-join-subscription", PROCESSOR).into(),
            response: (name("-subscription-response", "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-") + "-topic").into(),
            response_sink: name("-subscription-response-sink", SINK).into(),
            response_source: name("-subscription-response-source", SOURCE).into(),
            resolve: name("-subscription-response-resolver", "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-RESOLVER-PROCESSOR-").into(),
        }
    }

    fn result(&self, graph: &mut Graph) -> Arc<str> {
        graph.name_with_suffix_or(self.user.as_deref(), "-result", FK_OUTPUT).into()
    }
}

/// The serdes of both tables.
struct Serdes<K, V, KO, VO> {
    join: Arc<str>,
    key: Option<SerdeRef<K>>,
    value: Option<SerdeRef<V>>,
    other_key: Option<SerdeRef<KO>>,
    other_value: Option<SerdeRef<VO>>,
}

type Needed<T> = Result<SerdeRef<T>, millstream_topology::Error>;

impl<K: 'static, V, KO, VO: 'static> Serdes<K, V, KO, VO> {
    fn key(&self) -> Needed<K> {
        need(self.key.clone(), &self.join, "left key")
    }

    fn value(&self) -> Needed<V> {
        need(self.value.clone(), &self.join, "left value")
    }

    fn other_key(&self) -> Needed<KO> {
        need(self.other_key.clone(), &self.join, "right key")
    }

    fn subscription(&self) -> Needed<Subscription<K>> {
        Ok(Arc::new(SubscriptionSerde(self.key()?)))
    }

    fn response(&self) -> Needed<Response<VO>> {
        Ok(Arc::new(ResponseSerde(need(self.other_value.clone(), &self.join, "right value")?)))
    }
}

/// The store of subscriptions, which two nodes share.
struct Subscriptions<K, V, KO, VO> {
    name: Arc<str>,
    serdes: Arc<Serdes<K, V, KO, VO>>,
    store_type: crate::StoreType,
    def: std::cell::OnceCell<StoreDef>,
}

impl<K: Data, V: Data, KO: Data, VO: Data> Subscriptions<K, V, KO, VO> {
    fn def(&self) -> Result<StoreDef, millstream_topology::Error> {
        if let Some(def) = self.def.get() {
            return Ok(def.clone());
        }
        let (key, value) = (Bytes::default_serde(), self.serdes.subscription()?);
        let make = TimestampedKeyValueStore::<Bytes, Subscription<K>>::maker_with_headers(key, value, self.store_type);
        let def = StoreDef { store_type: self.store_type, ..StoreDef::new(self.name.clone(), make) };
        Ok(self.def.get_or_init(|| def).clone())
    }
}

/// A topic between the two sides.
struct Topic<'a> {
    sink: &'a Arc<str>,
    topic: &'a Arc<str>,
    source: &'a Arc<str>,
}

impl Topic<'_> {
    /// The sink and the source of the topic.
    fn add<K: Data, V: Data>(
        self,
        graph: &mut Graph,
        parents: &[NodeId],
        serdes: impl Fn() -> Result<(SerdeRef<K::Present>, SerdeRef<V::Present>), millstream_topology::Error> + Clone + 'static,
        partitioner: Option<millstream_topology::StreamPartitioner<K, V>>,
    ) -> NodeId
    where
        V: Data<Present = V>,
    {
        let (topic, sink, serdes_of_sink) = (self.topic.clone(), self.sink.clone(), serdes.clone());
        let to = GraphNode::new(self.sink.clone(), Kind::Plain, move |topology: &mut Topology, written: &Written| {
            let (key, value) = serdes_of_sink()?;
            topology.add_internal_topic(topic.clone(), None);
            let def = SinkDef::<K, V> { key, value, topic: SinkTopic::Internal(topic.clone()), partitioner, partition_key: None };
            topology.add_sink(&sink, Some(topic.clone()), &written.parents, def.into_maker())
        });
        let to = graph.add(parents, to);
        let (topic, source) = (self.topic.clone(), self.source.clone());
        let from = GraphNode::new(self.source.clone(), Kind::Plain, move |topology: &mut Topology, _: &Written| {
            let (key, value) = serdes()?;
            let def = SourceDef::<K, V> { key, value, extractor: Arc::new(InvalidTimestamp::Fail) };
            topology.add_source(&source, &[topic], None, def.into_maker())
        });
        graph.add(&[to], from)
    }
}

fn subscribe_node<K: Data, V: Data, KO: Data, VO: Data, F>(
    names: &Names,
    serdes: Arc<Serdes<K, V, KO, VO>>,
    foreign_key: Arc<F>,
    is_left_join: bool,
) -> GraphNode
where
    F: Fn(&K, &V) -> Option<KO> + Send + Sync + 'static,
{
    let name = names.subscribe.clone();
    let mut node = GraphNode::new(name.clone(), Kind::Plain, move |topology: &mut Topology, written: &Written| {
        let is_versioned = !written.versioned.is_empty();
        let (foreign_key_serde, value_serde) = (serdes.other_key()?, serdes.value()?);
        let make = maker::<K, Change<V>, _, _>(move |assembly| {
            Ok(Subscribe {
                foreign_key: foreign_key.clone(),
                is_left_join,
                is_versioned,
                foreign_key_serde: foreign_key_serde.clone(),
                value_serde: value_serde.clone(),
                children: assembly.children()?,
            })
        });
        topology.add_processor(&name, &written.parents, make)
    });
    node.heeds_versions = true;
    node
}

fn receive_node<K: Data, V: Data, KO: Data, VO: Data>(names: &Names, subscriptions: Rc<Subscriptions<K, V, KO, VO>>) -> GraphNode {
    let name = names.receive.clone();
    GraphNode::new(name.clone(), Kind::Plain, move |topology: &mut Topology, written: &Written| {
        let serdes = &subscriptions.serdes;
        let (foreign_key_serde, key_serde, store) = (serdes.other_key()?, serdes.key()?, subscriptions.name.clone());
        let make = maker::<Option<KO>, Subscription<K>, _, _>(move |assembly| {
            Ok(Receive {
                store: assembly.store(&store)?,
                foreign_key_serde: foreign_key_serde.clone(),
                key_serde: key_serde.clone(),
                children: assembly.children()?,
            })
        });
        topology.add_processor(&name, &written.parents, make)?;
        topology.add_store(subscriptions.def()?, &[&name])
    })
}

fn answer_node<K: Data, KO: Data<Present = KO>, VO: Data<Present = VO>>(names: &Names, other: &KTable<KO, VO>) -> GraphNode {
    let (name, view) = (names.answer.clone(), other.table.view());
    GraphNode::new(name.clone(), Kind::Plain, move |topology: &mut Topology, written: &Written| {
        let make = maker::<Option<KO>, Subscription<K>, _, _>(move |assembly| {
            Ok(Answer { rows: (view.make)(assembly)?, children: assembly.children()? })
        });
        topology.add_processor(&name, &written.parents, make)?;
        view.stores.iter().try_for_each(|store| topology.connect(&name, store))
    })
}

fn fan_out_node<K: Data, V: Data, KO: Data, VO: Data>(names: &Names, subscriptions: Rc<Subscriptions<K, V, KO, VO>>) -> GraphNode {
    let name = names.fan_out.clone();
    let mut node = GraphNode::new(name.clone(), Kind::Plain, move |topology: &mut Topology, written: &Written| {
        let is_versioned = !written.versioned.is_empty();
        let (foreign_key_serde, store) = (subscriptions.serdes.other_key()?, subscriptions.name.clone());
        let make = maker::<KO, Change<VO>, _, _>(move |assembly| {
            Ok(FanOut {
                is_versioned,
                store: assembly.store::<TimestampedKeyValueStore<Bytes, Subscription<K>>>(&store)?,
                foreign_key_serde: foreign_key_serde.clone(),
                children: assembly.children()?,
            })
        });
        topology.add_processor(&name, &written.parents, make)?;
        topology.add_store(subscriptions.def()?, &[&name])
    });
    node.heeds_versions = true;
    node
}
