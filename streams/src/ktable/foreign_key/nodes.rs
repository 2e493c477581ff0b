//! The graph nodes of a foreign-key join, and what they share.

use std::{cell::OnceCell, marker::PhantomData, rc::Rc, sync::Arc};

use bytes::Bytes;
use millstream_topology::{
    Change, Data, DefaultSerde, Error, InvalidTimestamp, SerdeRef, SinkDef, SinkTopic, SourceDef, StreamPartitioner, Topology,
    store::{LoggedHeaders, StoreDef, TimestampedKeyValueStore},
};

use super::{
    names::Names,
    operators::{Answer, FanOut, Receive, Resolve, Subscribe},
    wire::{Response, ResponseSerde, Subscription, SubscriptionSerde},
};
use crate::{
    KTable, StoreType,
    builder::{
        graph::{Graph, GraphNode, Kind, NodeId, Written},
        need,
    },
    kstream::maker,
};

/// The serdes of both tables.
pub(super) struct Serdes<K, V, KO, VO> {
    pub join: Arc<str>,
    pub key: Option<SerdeRef<K>>,
    pub value: Option<SerdeRef<V>>,
    pub other_key: Option<SerdeRef<KO>>,
    pub other_value: Option<SerdeRef<VO>>,
}

type Needed<T> = Result<SerdeRef<T>, Error>;

impl<K: 'static, V, KO, VO: 'static> Serdes<K, V, KO, VO> {
    pub fn key(&self) -> Needed<K> {
        need(self.key.clone(), &self.join, "left key")
    }

    pub fn value(&self) -> Needed<V> {
        need(self.value.clone(), &self.join, "left value")
    }

    pub fn other_key(&self) -> Needed<KO> {
        need(self.other_key.clone(), &self.join, "right key")
    }

    pub fn subscription(&self) -> Needed<Subscription<K>> {
        Ok(Arc::new(SubscriptionSerde(self.key()?)))
    }

    pub fn response(&self) -> Needed<Response<VO>> {
        Ok(Arc::new(ResponseSerde(need(self.other_value.clone(), &self.join, "right value")?)))
    }
}

/// The store of subscriptions, which two nodes share.
pub(super) struct Subscriptions<K, V, KO, VO> {
    pub name: Arc<str>,
    pub serdes: Arc<Serdes<K, V, KO, VO>>,
    pub store_type: StoreType,
    pub def: OnceCell<StoreDef>,
}

impl<K: Data, V: Data, KO: Data, VO: Data> Subscriptions<K, V, KO, VO> {
    fn def(&self) -> Result<StoreDef, Error> {
        if let Some(def) = self.def.get() {
            return Ok(def.clone());
        }
        let (key, value) = (Bytes::default_serde(), self.serdes.subscription()?);
        let make = TimestampedKeyValueStore::<Bytes, Subscription<K>>::maker(key, value, self.store_type);
        let def = StoreDef { store_type: self.store_type, logged_headers: LoggedHeaders::All, ..StoreDef::new(self.name.clone(), make) };
        Ok(self.def.get_or_init(|| def).clone())
    }
}

/// A topic between the two sides.
pub(super) struct Topic<'a> {
    pub sink: &'a Arc<str>,
    pub topic: &'a Arc<str>,
    pub source: &'a Arc<str>,
}

impl Topic<'_> {
    /// The sink and the source of the topic.
    pub fn add<K: Data, V: Data<Present = V>>(
        self,
        graph: &mut Graph,
        parents: &[NodeId],
        serdes: impl Fn() -> Result<(SerdeRef<K::Present>, SerdeRef<V>), Error> + Clone + 'static,
        partitioner: Option<StreamPartitioner<K, V>>,
    ) -> NodeId {
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

pub(super) fn subscribe_node<K: Data, V: Data, KO: Data, VO: Data, F>(
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

pub(super) fn receive_node<K: Data, V: Data, KO: Data, VO: Data>(
    names: &Names,
    subscriptions: Rc<Subscriptions<K, V, KO, VO>>,
) -> GraphNode {
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

pub(super) fn answer_node<K: Data, KO: Data<Present = KO>, VO: Data<Present = VO>>(names: &Names, other: &KTable<KO, VO>) -> GraphNode {
    let (name, view) = (names.answer.clone(), other.table.view());
    GraphNode::new(name.clone(), Kind::Plain, move |topology: &mut Topology, written: &Written| {
        let make = maker::<Option<KO>, Subscription<K>, _, _>(move |assembly| {
            Ok(Answer { rows: (view.make)(assembly)?, children: assembly.children()? })
        });
        topology.add_processor(&name, &written.parents, make)?;
        view.stores.iter().try_for_each(|store| topology.connect(&name, store))
    })
}

pub(super) fn fan_out_node<K: Data, V: Data, KO: Data, VO: Data>(
    names: &Names,
    subscriptions: Rc<Subscriptions<K, V, KO, VO>>,
) -> GraphNode {
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

pub(super) fn resolve_node<K, V, KO, VO, W, F>(
    names: &Names,
    this: &KTable<K, V>,
    serdes: Arc<Serdes<K, V, KO, VO>>,
    joiner: Arc<F>,
) -> GraphNode
where
    K: Data<Present = K>,
    V: Data<Present = V>,
    KO: Data,
    VO: Data,
    W: Data,
    F: Fn(&V, Option<&VO>) -> Option<W> + Send + Sync + 'static,
{
    let (name, view) = (names.resolve.clone(), this.table.view());
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
