//! One stream of a cogroup: its type is known only here.

use std::{cell::Cell, collections::BTreeSet, rc::Rc, sync::Arc};

use millstream_topology::{Data, Error, NodeMaker, Windowed, store::StoreDef};

use super::Initializer;
use crate::{
    EmitStrategy, KGroupedStream, SessionWindows,
    builder::graph::{Graph, NodeId, RepartitionNames},
    kstream::repartition_node,
    ktable::{StoreSpec, TableNode},
    operator::{Aggregate, AggregateNode, Fold, MergingFold, SessionAggregateNode, SlidingAggregateNode, WindowAggregateNode},
    windowed_stream::{TimeKind, WindowedNode},
};

/// Unites the aggregates of two sessions.
pub(crate) type Merger<K, A> = Arc<dyn Fn(&K, A, A) -> A + Send + Sync>;

/// A stream of a cogroup.
pub(crate) trait Input<K: Data<Present = K>, A: Data> {
    /// The same for handles of one grouped stream.
    fn id(&self) -> *const ();
    fn sources(&self) -> &BTreeSet<Arc<str>>;
    /// Where its aggregation belongs: below the stream, or its repartition.
    fn parent(&self, graph: &mut Graph, store: &str, store_named: bool) -> NodeId;
    fn plain(&self, store: &StoreSpec<K, A::Present>, initializer: &Initializer<A>) -> Drawn<K, A::Present>;
    fn time(
        &self,
        store: &StoreSpec<K, A::Present>,
        initializer: &Initializer<A>,
        kind: TimeKind,
        retention_ms: i64,
    ) -> Drawn<Windowed<K>, A::Present>;
    fn sessions(
        &self,
        store: &StoreSpec<K, A::Present>,
        folds: (&Initializer<A>, &Merger<K, A>),
        windows: SessionWindows,
        retention_ms: i64,
    ) -> Drawn<Windowed<K>, A::Present>;
}

/// An aggregation's node: how it is made, its store, and what it is to the operations below it.
pub(crate) struct Drawn<W: Data, A: Data> {
    pub make: NodeMaker,
    pub store_def: Box<dyn Fn() -> Result<StoreDef, Error>>,
    pub table: Rc<dyn TableNode<W, A>>,
}

type Aggregator<K, V, A> = Arc<dyn Fn(&K, &V, A) -> A + Send + Sync>;

/// A grouped stream and its aggregator.
pub(super) struct Member<L: Data, V: Data, A> {
    grouped: KGroupedStream<L, V>,
    aggregator: Aggregator<L::Present, V, A>,
    repartition: Cell<Option<NodeId>>,
}

impl<L: Data, V: Data, A: Data> Member<L, V, A> {
    pub fn new(grouped: &KGroupedStream<L, V>, aggregator: impl Fn(&L::Present, &V, A) -> A + Send + Sync + 'static) -> Self {
        Self { grouped: grouped.clone(), aggregator: Arc::new(aggregator), repartition: Cell::default() }
    }

    fn fold(&self, initializer: &Initializer<A>) -> impl Aggregate<L::Present, V, A::Present> + use<L, V, A> {
        let (initializer, aggregator) = (initializer.clone(), self.aggregator.clone());
        Fold::new(move || initializer(), move |key: &L::Present, value: &V, aggregate: A| aggregator(key, value, aggregate))
    }

    fn windowed<N: WindowedNode<L::Present, A::Present>>(node: N) -> Drawn<Windowed<L::Present>, A::Present> {
        let def = node.clone();
        Drawn { make: node.maker::<L>(), store_def: Box::new(move || def.store_def()), table: Rc::new(node) }
    }
}

impl<L: Data, V: Data, A: Data> Input<L::Present, A> for Member<L, V, A> {
    fn id(&self) -> *const () {
        self.grouped.id()
    }

    fn sources(&self) -> &BTreeSet<Arc<str>> {
        &self.grouped.stream.sources
    }

    fn parent(&self, graph: &mut Graph, store: &str, store_named: bool) -> NodeId {
        let KGroupedStream { stream, key, value, name, .. } = &self.grouped;
        if !stream.repartition_required {
            return stream.node;
        }
        // The numbers of the names are spent also where the repartition is there already.
        let names = RepartitionNames::new(graph, name.as_deref().unwrap_or(store), name.is_some() || store_named);
        let repartition = self.repartition.get().unwrap_or_else(|| {
            let node = repartition_node::<L, V>(true, names, (key.clone(), value.clone()), None, None);
            graph.add(&[stream.node], node)
        });
        self.repartition.set(Some(repartition));
        repartition
    }

    fn plain(&self, store: &StoreSpec<L::Present, A::Present>, initializer: &Initializer<A>) -> Drawn<L::Present, A::Present> {
        let (node, store) = (AggregateNode::new(store.clone(), self.fold(initializer)), store.clone());
        Drawn { make: node.maker::<L>(), store_def: Box::new(move || store.def()), table: Rc::new(node) }
    }

    fn time(
        &self,
        store: &StoreSpec<L::Present, A::Present>,
        initializer: &Initializer<A>,
        kind: TimeKind,
        retention_ms: i64,
    ) -> Drawn<Windowed<L::Present>, A::Present> {
        let (store, emit, fold) = (store.clone(), EmitStrategy::OnWindowUpdate, self.fold(initializer));
        match kind {
            TimeKind::Sliding(windows) => Self::windowed(SlidingAggregateNode::new(store, windows, emit, retention_ms, fold)),
            kind => Self::windowed(WindowAggregateNode::new(store, kind, emit, retention_ms, fold)),
        }
    }

    fn sessions(
        &self,
        store: &StoreSpec<L::Present, A::Present>,
        (initializer, merger): (&Initializer<A>, &Merger<L::Present, A>),
        windows: SessionWindows,
        retention_ms: i64,
    ) -> Drawn<Windowed<L::Present>, A::Present> {
        let (initializer, aggregator, merger) = (initializer.clone(), self.aggregator.clone(), merger.clone());
        let fold = Fold::new(move || initializer(), move |key: &L::Present, value: &V, aggregate: A| aggregator(key, value, aggregate));
        let fold = MergingFold::new(fold, move |key: &L::Present, one: A, other: A| merger(key, one, other));
        Self::windowed(SessionAggregateNode::new(store.clone(), windows, EmitStrategy::OnWindowUpdate, retention_ms, fold))
    }
}
