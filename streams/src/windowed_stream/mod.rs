//! Grouped streams in windows, about to be aggregated.

mod session;
mod store;
mod time;

use std::{rc::Rc, sync::Arc};

use millstream_topology::{Data, Error, ErrorKind, NodeMaker, SerdeRef, Topology, Windowed, store::StoreDef};

pub use session::SessionWindowedKStream;
pub(crate) use store::{SessionRows, WindowRows, session_def, window_def};
pub(crate) use time::TimeKind;
pub use time::TimeWindowedKStream;

use crate::{
    KGroupedStream, KTable, StreamsBuilder,
    builder::graph::{Grace, GraphNode, Kind, Written},
    ktable::{StoreSpec, TableNode},
    options::Materialized,
    windows::WindowDefinition,
};

impl<K: Data, V: Data> KGroupedStream<K, V> {
    /// Aggregates by key and window: [`TimeWindows`](crate::TimeWindows), [`SlidingWindows`](crate::SlidingWindows),
    /// [`UnlimitedWindows`](crate::UnlimitedWindows) or [`SessionWindows`](crate::SessionWindows).
    ///
    /// ```
    /// use millstream::{StreamsBuilder, TimeWindows, TopologyTestDriver, Windowed};
    ///
    /// let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<String, String>("clicks").group_by_key();
    /// clicks.windowed_by(TimeWindows::of_size_with_no_grace(10)).count().to_stream().to("counts");
    ///
    /// let driver = TopologyTestDriver::new(&builder.build().unwrap(), Default::default()).unwrap();
    /// let input = driver.input_topic::<String, String>("clicks");
    /// [1, 5, 12].map(|time| input.pipe("a".into(), "x".into(), time).unwrap());
    /// let counts = driver.output_topic::<Windowed<String>, i64>("counts").read_key_values().unwrap();
    /// let counts: Vec<_> = counts.iter().map(|(key, count)| (key.window.start, *count)).collect();
    /// assert_eq!(counts, [(0, 1), (0, 2), (10, 1)]);
    /// ```
    pub fn windowed_by<W: WindowDefinition>(&self, windows: W) -> W::Stream<K, V> {
        if let Err(text) = windows.check() {
            let text = format!("{}: {text}", self.stream.name);
            self.stream.builder.graph.borrow_mut().fail(ErrorKind::IllegalArgument, text);
        }
        windows.windowed(self)
    }
}

/// The node of a windowed aggregation, while the topology is drawn.
pub(crate) trait WindowedNode<K: Data<Present = K>, A: Data>: TableNode<Windowed<K>, A> + Clone + 'static {
    /// What makes it for a task; its keys are `L`.
    fn maker<L: Data<Present = K>>(&self) -> NodeMaker;
    /// The definition of its store.
    fn store_def(&self) -> Result<StoreDef, Error>;
}

/// Names and serdes of a windowed aggregation, and how late its updates may come.
struct Plan<K: Data, A: Data> {
    name: Arc<str>,
    store: StoreSpec<K, A>,
    key: Option<SerdeRef<Windowed<K>>>,
    grace: Grace,
}

impl<K: Data, V: Data> KGroupedStream<K, V> {
    /// The store and the node's name of a windowed aggregation, in the order in which Kafka Streams names them.
    fn windowed_names<A: Data<Present = A>>(
        &self,
        prefix: &str,
        materialized: &Materialized<K::Present, A>,
        value: Option<&SerdeRef<A>>,
    ) -> (StoreSpec<K::Present, A>, Arc<str>) {
        let builder = &self.stream.builder;
        let mut graph = builder.graph.borrow_mut();
        let store = StoreSpec::new(&mut graph, prefix, materialized, self.key.as_ref(), value, &builder.config);
        let name = graph.name_or(materialized.node_name.as_deref(), prefix).into();
        (store, name)
    }

    /// Fails unless a store keeps windows as long as they take records.
    fn check_retention(&self, store: &str, retention_ms: i64, least_ms: i64) {
        check_retention(&self.stream.builder, store, retention_ms, least_ms);
    }

    /// Draws a windowed aggregation.
    fn windowed_table<A: Data<Present = A>, N: WindowedNode<K::Present, A>>(
        &self,
        Plan { name, store, key, grace }: Plan<K::Present, A>,
        node: N,
    ) -> KTable<Windowed<K::Present>, A> {
        let builder = &self.stream.builder;
        let write = {
            let (name, node) = (name.clone(), node.clone());
            move |topology: &mut Topology, written: &Written| {
                topology.add_processor(&name, &written.parents, node.maker::<K>())?;
                topology.add_store(node.store_def()?, &[&name])
            }
        };
        let mut graph = builder.graph.borrow_mut();
        let mut graph_node = GraphNode::new(name.clone(), Kind::Plain, write);
        (graph_node.output_versioned, graph_node.grace) = (Some(false), Some(grace));
        let (id, sources) = self.add_below_repartition(&mut graph, (&store.name, store.named_by_user), graph_node);
        KTable {
            name,
            key,
            value: store.value.clone(),
            sources,
            queryable: store.queryable(),
            table: Rc::new(node),
            node: id,
            builder: builder.clone(),
        }
    }
}

/// Fails unless a store keeps windows as long as they take records.
pub(crate) fn check_retention(builder: &StreamsBuilder, store: &str, retention_ms: i64, least_ms: i64) {
    if retention_ms < least_ms {
        let text =
            format!("{store}: a retention of {retention_ms} ms is less than the {least_ms} ms in which its windows take records: raise it");
        builder.graph.borrow_mut().fail(ErrorKind::IllegalArgument, text);
    }
}
