//! Holding back updates of a table.

use std::{rc::Rc, sync::Arc};

use millstream_topology::{
    Assembly, Data, DefaultSerde, ErrorKind, SerdeRef, Topology,
    store::{StoreDef, SuppressBuffer},
};

use super::{KTable, TableNode, View};
use crate::{
    builder::graph::{Grace, Graph, GraphNode, Kind, NodeId, Written},
    kstream::maker,
    operator::{Suppress, SuppressedRows},
    options::Suppressed,
};

impl<K: Data<Present = K>, V: Data<Present = V>> KTable<K, V> {
    /// Holds updates back: until a time limit, or until their window closes (KIP-328). The table below shows what has gone on.
    ///
    /// ```
    /// use millstream::{StreamsBuilder, StrictBufferConfig, Suppressed, TimeWindows};
    ///
    /// let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<String, String>("clicks").group_by_key();
    /// let counts = clicks.windowed_by(TimeWindows::of_size_and_grace(60_000, 5_000)).count();
    /// counts.suppress(Suppressed::until_window_closes(StrictBufferConfig::unbounded())).to_stream().to("final-counts");
    /// assert!(builder.build().unwrap().describe().contains("KTABLE-SUPPRESS-0000000003"));
    /// ```
    ///
    /// Only windows close:
    ///
    /// ```compile_fail
    /// use millstream::{StreamsBuilder, StrictBufferConfig, Suppressed};
    /// let table = StreamsBuilder::new().table::<String, i64>("numbers");
    /// table.suppress(Suppressed::until_window_closes(StrictBufferConfig::unbounded()));
    /// ```
    pub fn suppress(&self, suppressed: Suppressed<K>) -> Self
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        let key = self.key.clone().unwrap_or_else(K::default_serde);
        let value = self.value.clone().unwrap_or_else(V::default_serde);
        self.suppress_with(suppressed, key, value)
    }

    /// The same, with the serdes of what waits.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// let slow = Suppressed::until_time_limit(60_000, EagerBufferConfig::max_records(1_000));
    /// prices.suppress_with(slow, String::default_serde(), i64::default_serde());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn suppress_with(&self, suppressed: Suppressed<K>, key: SerdeRef<K>, value: SerdeRef<V>) -> Self {
        let Suppressed { name: given, wait_ms, time_of, buffer: bounds } = suppressed;
        let mut graph = self.builder.graph.borrow_mut();
        if graph.nodes[self.node].output_versioned == Some(true) {
            graph.fail(ErrorKind::Topology, format!("{}: a versioned table cannot be suppressed: suppress one that is not", self.name));
        }
        let name: Arc<str> = given.clone().unwrap_or_else(|| graph.generate("KTABLE-SUPPRESS-")).into();
        let wait = match wait_ms {
            Some(ms) => Grace { ms, is_last_included: false },
            None => graph.window_grace(self.node),
        };
        let store: Arc<str> = match given {
            Some(name) => format!("{name}-store").into(),
            None => {
                let store = graph.generate_store("KTABLE-SUPPRESS-");
                if bounds.logging {
                    graph.implicit_names.push(format!("{store}-changelog"));
                }
                store.into()
            }
        };
        self.table.send_old_values(true);
        let write = {
            let (name, store, key, value) = (name.clone(), store.clone(), key.clone(), value.clone());
            move |topology: &mut Topology, written: &Written| {
                let (of, this) = (store.clone(), name.clone());
                let make = move |assembly: &mut Assembly<'_>| {
                    let (buffer, children) = (assembly.store(&of)?, assembly.children()?);
                    let is_longer = wait.is_last_included && assembly.config().compatibility.is_sound();
                    let wait_ms = wait.ms.saturating_add(i64::from(is_longer));
                    Ok(Suppress::<K, V> { name: this.clone(), buffer, children, bounds, wait_ms, time_of, stream_time: -1 })
                };
                topology.add_processor(&name, &written.parents, maker(make))?;
                topology.add_store(StoreDef { logging: bounds.logging, ..SuppressBuffer::def(store, key, value) }, &[&name])
            }
        };
        let mut node = GraphNode::new(name.clone(), Kind::Suppress, write);
        node.output_versioned = Some(false);
        let node = graph.add(&[self.node], node);
        Self {
            name,
            key: Some(key),
            value: Some(value),
            sources: [self.name.clone()].into(),
            queryable: None,
            table: Rc::new(SuppressNode { parent: self.table.clone(), store }),
            node,
            ..self.clone()
        }
    }
}

struct SuppressNode<K: Data, V: Data> {
    parent: Rc<dyn TableNode<K, V>>,
    store: Arc<str>,
}

impl<K: Data, V: Data> TableNode<K, V> for SuppressNode<K, V> {
    fn send_old_values(&self, force: bool) -> bool {
        self.parent.send_old_values(force)
    }

    fn view(&self) -> View<K, V> {
        let (parent, store) = (self.parent.view(), self.store.clone());
        let mut stores = vec![store.clone()];
        stores.extend(parent.stores);
        let make = parent.make;
        View {
            stores,
            make: Arc::new(move |assembly| Ok(Box::new(SuppressedRows { buffer: assembly.store(&store)?, parent: make(assembly)? }))),
        }
    }
}

impl Graph {
    /// How late updates of the windows above a node may come: the longest of its branches. Every branch must have windows.
    fn window_grace(&mut self, node: NodeId) -> Grace {
        self.longest_grace(node).unwrap_or_else(|| {
            let name = self.nodes[node].name.clone();
            self.fail(ErrorKind::Topology, format!("{name}: windows close only where there are some: suppress until a time limit instead"));
            Grace { ms: 0, is_last_included: false }
        })
    }

    fn longest_grace(&self, node: NodeId) -> Option<Grace> {
        let GraphNode { grace, parents, .. } = &self.nodes[node];
        grace.or_else(|| parents.iter().map(|&parent| self.longest_grace(parent)).collect::<Option<Vec<_>>>()?.into_iter().max())
    }
}
