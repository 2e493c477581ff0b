//! Repartitioning: through a topic of the application's own, so that records of one key meet in one task.

use std::{rc::Rc, sync::Arc};

use millstream_topology::{Data, DefaultSerde, InvalidTimestamp, SerdeRef, SinkDef, SinkTopic, SourceDef, StreamPartitioner};

use super::{KStream, maker};
use crate::{
    builder::{
        graph::{GraphNode, RepartitionNames},
        need,
    },
    operator::Filter,
    options::Repartitioned,
};

impl<K: Data, V: Data> KStream<K, V> {
    /// Writes the stream to a topic of the application's own and reads it back.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.select_key(|_, amount| amount / 100).repartition().to("by-hundreds");
    /// assert!(builder.build()?.describe().contains("-repartition"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn repartition(&self) -> Self
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.repartition_with(Repartitioned::new())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.repartition_with(Repartitioned::new().name("spread").partitions(8)).to("copy");
    /// assert_eq!(builder.build()?.internal_topics()["spread-repartition"].partitions, Some(8));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn repartition_with(&self, repartitioned: Repartitioned<K, V>) -> Self {
        let mut graph = self.builder.graph.borrow_mut();
        let base = repartitioned.name.clone().unwrap_or_else(|| graph.generate("KSTREAM-REPARTITION-"));
        let serdes = (repartitioned.key.resolve(self.key.as_ref()), repartitioned.value.resolve(self.value.as_ref()));
        let names = RepartitionNames::new(&mut graph, &base, repartitioned.name.is_some());
        let node = repartition_node::<K, V>(false, names, serdes.clone(), repartitioned.partitions, repartitioned.partitioner);
        let source = node.name.clone();
        let node = graph.add(&[self.node], node);
        let mut stream = self.derived(source.clone(), node, false, serdes);
        stream.sources = [source].into();
        stream
    }

    /// The stream behind an automatic repartition, which the optimiser may move.
    pub(crate) fn repartitioned_for_join(
        &self,
        base: &str,
        serdes: (Option<SerdeRef<K::Present>>, Option<SerdeRef<V::Present>>),
        named_by_user: bool,
    ) -> Self {
        let mut graph = self.builder.graph.borrow_mut();
        let serdes = (serdes.0.or(self.key.clone()), serdes.1.or(self.value.clone()));
        let names = RepartitionNames::new(&mut graph, base, named_by_user);
        let name: Arc<str> = names.source.clone().into();
        let shared = self.repartition.borrow().clone().filter(|_| *self.name == *base);
        let node = match shared {
            // Joins of one handle share its repartition; the numbers of the names above are spent all the same.
            Some((node, _)) => node,
            None => {
                let node = graph.add(&[self.node], repartition_node::<K, V>(true, names, serdes.clone(), None, None));
                *self.repartition.borrow_mut() = Some((node, name.to_string()));
                node
            }
        };
        let mut stream = self.derived(name.clone(), node, false, serdes);
        stream.sources = [name].into();
        stream
    }
}

/// A repartition: a filter of null keys, a sink, a topic, and a source.
pub(crate) fn repartition_node<K: Data, V: Data>(
    optimizable: bool,
    names: RepartitionNames,
    (key, value): (Option<SerdeRef<K::Present>>, Option<SerdeRef<V::Present>>),
    partitions: Option<i32>,
    partitioner: Option<StreamPartitioner<K, V>>,
) -> GraphNode {
    let write =
        Rc::new(move |topology: &mut millstream_topology::Topology, written: &crate::builder::graph::Written, names: &RepartitionNames| {
            let topic: Arc<str> = names.topic.clone().into();
            let (key, value) = (need(key.clone(), &names.sink, "key")?, need(value.clone(), &names.sink, "value")?);
            topology.add_internal_topic(topic.clone(), partitions);
            let drop_null_keys = written.drop_null_keys;
            let filter = move |assembly: &mut millstream_topology::Assembly<'_>| {
                let predicate = Arc::new(move |key: &K, _: &V| !drop_null_keys || !key.is_null());
                Ok(Filter { predicate, children: assembly.children()? })
            };
            topology.add_processor(&names.filter, &written.parents, maker::<K, V, _, _>(filter))?;
            let sink = SinkDef {
                key: key.clone(),
                value: value.clone(),
                topic: SinkTopic::Internal(topic.clone()),
                partitioner: partitioner.clone(),
                partition_key: None,
            };
            topology.add_sink(&names.sink, Some(topic.clone()), &[&names.filter], sink.into_maker())?;
            let source: SourceDef<K, V> = SourceDef { key, value, extractor: Arc::new(InvalidTimestamp::Fail) };
            topology.add_source(&names.source, &[topic], None, source.into_maker())
        });
    GraphNode::repartition(optimizable, names, write)
}
