//! [`KStream`]: a stream of records, and everything that can be made of it.

mod branch;
mod group;
mod join;
mod process;
mod repartition;
mod sink;
mod stateless;
mod table_join;

use std::{cell::RefCell, collections::BTreeSet, marker::PhantomData, rc::Rc, sync::Arc};

pub use branch::BranchedKStream;
pub(crate) use join::{Joiner, Outer};
use millstream_topology::{Assembly, Data, Error, Node, NodeMaker, SerdeRef, Topology};
pub(crate) use repartition::repartition_node;
pub(crate) use table_join::TableJoiner;

use crate::{
    builder::{
        StreamsBuilder,
        graph::{GraphNode, Kind, NodeId, Written},
    },
    options::Named,
};

/// A stream of records.
///
/// **Law.** It is a description: every call draws a node and returns a new handle; nothing runs before the topology does. Null keys and
/// values exist exactly where the types say `Option`.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// # let orders = builder.stream::<String, i64>("orders");
/// let large = orders.filter(|_, amount| *amount > 100);
/// large.map_values(|amount| format!("{amount} €")).to("texts");
/// large.group_by_key().count().to_stream().to("counts");
/// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// # let input = driver.input_topic("orders"); input.pipe("a".to_string(), 50i64, 0)?; input.pipe("b".to_string(), 200, 0)?;
/// assert_eq!(driver.output_topic::<String, String>("texts").read_values()?, ["200 €"]);
/// # Ok::<(), Error>(())
/// ```
pub struct KStream<K: Data, V: Data> {
    pub(crate) name: Arc<str>,
    pub(crate) key: Option<SerdeRef<K::Present>>,
    pub(crate) value: Option<SerdeRef<V::Present>>,
    /// The sources of its sub-topology.
    pub(crate) sources: BTreeSet<Arc<str>>,
    /// Whether keys may have changed since the records were partitioned.
    pub(crate) repartition_required: bool,
    pub(crate) node: NodeId,
    pub(crate) builder: StreamsBuilder,
    /// The repartition that joins of this very handle share.
    pub(crate) repartition: Rc<RefCell<Option<(NodeId, String)>>>,
    pub(crate) types: PhantomData<(K, V)>,
}

impl<K: Data, V: Data> Clone for KStream<K, V> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            sources: self.sources.clone(),
            repartition_required: self.repartition_required,
            node: self.node,
            builder: self.builder.clone(),
            repartition: self.repartition.clone(),
            types: PhantomData,
        }
    }
}

/// What an operation does to keys and values, as the optimiser sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    Nothing,
    Value,
    Key,
}

/// What writes a processor without stores: below the parents that the graph has then.
pub(crate) fn write_processor<K, V, N, F>(name: &Arc<str>, make: F) -> impl FnOnce(&mut Topology, &Written) -> Result<(), Error> + 'static
where
    K: 'static,
    V: 'static,
    N: Node<K, V>,
    F: Fn(&mut Assembly<'_>) -> Result<N, Error> + Send + Sync + 'static,
{
    let name = name.clone();
    move |topology: &mut Topology, written: &Written| topology.add_processor(&name, &written.parents, maker(make))
}

/// A maker of typed nodes as one of nodes of any type.
pub(crate) fn maker<K, V, N, F>(make: F) -> NodeMaker
where
    K: 'static,
    V: 'static,
    N: Node<K, V>,
    F: Fn(&mut Assembly<'_>) -> Result<N, Error> + Send + Sync + 'static,
{
    Arc::new(move |assembly: &mut Assembly<'_>| {
        let node = make(assembly)?;
        Ok(assembly.node::<K, V>(node))
    })
}

impl<K: Data, V: Data> KStream<K, V> {
    /// Draws a node below this stream and returns what it puts out. Key and value serdes are those that still fit.
    pub(crate) fn draw<L: Data, W: Data, N, F>(
        &self,
        name: Option<&Named>,
        prefix: &str,
        changes: Changes,
        serdes: (Option<SerdeRef<L::Present>>, Option<SerdeRef<W::Present>>),
        make: F,
    ) -> KStream<L, W>
    where
        N: Node<K, V>,
        F: Fn(&mut Assembly<'_>) -> Result<N, Error> + Send + Sync + 'static,
    {
        let mut graph = self.builder.graph.borrow_mut();
        let name: Arc<str> = graph.name_or(name.map(|name| &*name.0), prefix).into();
        let write = write_processor::<K, V, N, F>(&name, make);
        let mut node = GraphNode::new(name.clone(), Kind::Plain, write);
        node.key_changing = changes == Changes::Key;
        node.value_changing = changes == Changes::Value;
        let node = graph.add(&[self.node], node);
        self.derived(name, node, self.repartition_required || changes == Changes::Key, serdes)
    }

    /// The stream that a node below this one puts out.
    pub(crate) fn derived<L: Data, W: Data>(
        &self,
        name: Arc<str>,
        node: NodeId,
        repartition_required: bool,
        (key, value): (Option<SerdeRef<L::Present>>, Option<SerdeRef<W::Present>>),
    ) -> KStream<L, W> {
        let stream = KStream::at(&self.builder, (name, node), self.sources.clone(), (key, value));
        KStream { repartition_required, ..stream }
    }

    /// The stream that a node puts out, partitioned as its records' keys say.
    pub(crate) fn at(
        builder: &StreamsBuilder,
        (name, node): (Arc<str>, NodeId),
        sources: BTreeSet<Arc<str>>,
        (key, value): (Option<SerdeRef<K::Present>>, Option<SerdeRef<V::Present>>),
    ) -> Self {
        Self {
            name,
            key,
            value,
            sources,
            repartition_required: false,
            node,
            builder: builder.clone(),
            repartition: Rc::default(),
            types: PhantomData,
        }
    }
}
