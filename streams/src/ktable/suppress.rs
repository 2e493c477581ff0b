//! Holding back updates of a table.

use std::{rc::Rc, sync::Arc};

use millstream_topology::{Assembly, Data, ErrorKind, Topology, store::SuppressBuffer};

use super::{KTable, TableNode, View};
use crate::{
    builder::{
        graph::{Graph, GraphNode, Kind, NodeId, Written},
        need,
    },
    kstream::maker,
    operator::{Suppress, SuppressedRows},
    options::Suppressed,
};

impl<K: Data<Present = K>, V: Data<Present = V>> KTable<K, V> {
    /// Holds updates back: until a time limit, or until their window closes (KIP-328). The table below shows what has gone on.
    pub fn suppress(&self, suppressed: Suppressed<K>) -> Self {
        let Suppressed { name: given, wait_ms, time_of, buffer: bounds } = suppressed;
        let mut graph = self.builder.graph.borrow_mut();
        if graph.nodes[self.node].output_versioned == Some(true) {
            graph.fail(ErrorKind::Topology, format!("{}: a versioned table cannot be suppressed: suppress one that is not", self.name));
        }
        let name: Arc<str> = given.clone().unwrap_or_else(|| graph.generate("KTABLE-SUPPRESS-")).into();
        let wait_ms = wait_ms.unwrap_or_else(|| graph.window_grace(self.node));
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
            let (name, store, key, value) = (name.clone(), store.clone(), self.key.clone(), self.value.clone());
            move |topology: &mut Topology, written: &Written| {
                let (of, this) = (store.clone(), name.clone());
                let make = move |assembly: &mut Assembly<'_>| {
                    let (buffer, children) = (assembly.store(&of)?, assembly.children()?);
                    Ok(Suppress::<K, V> { name: this.clone(), buffer, children, bounds, wait_ms, time_of, stream_time: -1 })
                };
                topology.add_processor(&name, &written.parents, maker(make))?;
                let mut def = SuppressBuffer::def(store.clone(), need(key, &store, "key")?, need(value, &store, "value")?);
                def.logging = bounds.logging;
                topology.add_store(def, &[&name])
            }
        };
        let mut node = GraphNode::new(name.clone(), Kind::Suppress, write);
        node.output_versioned = Some(false);
        let node = graph.add(&[self.node], node);
        Self {
            name,
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
    fn window_grace(&mut self, node: NodeId) -> i64 {
        self.longest_grace(node).unwrap_or_else(|| {
            let name = self.nodes[node].name.clone();
            self.fail(ErrorKind::Topology, format!("{name}: windows close only where there are some: suppress until a time limit instead"));
            0
        })
    }

    fn longest_grace(&self, node: NodeId) -> Option<i64> {
        let GraphNode { grace, parents, .. } = &self.nodes[node];
        grace.or_else(|| parents.iter().map(|&parent| self.longest_grace(parent)).collect::<Option<Vec<_>>>()?.into_iter().max())
    }
}
