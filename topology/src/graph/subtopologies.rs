//! Which nodes run together: those that are connected by edges or share a store.

use std::{collections::HashMap, sync::Arc};

use super::{NodeKind, TopicPattern, Topology, java_order};

/// A union-find over nodes.
#[derive(Default)]
pub(super) struct Groups(Vec<usize>);

impl Groups {
    pub fn add(&mut self, node: usize) {
        debug_assert_eq!(node, self.0.len());
        self.0.push(node);
    }

    pub fn root(&self, mut node: usize) -> usize {
        while self.0[node] != node {
            node = self.0[node];
        }
        node
    }

    pub fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

/// A part of a topology that runs as one task per partition. Kafka topics lie between parts.
///
/// ```
/// # use millstream_topology::*;
/// assert!(Topology::new().subtopologies().is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Subtopology {
    /// Its number: the first half of its tasks' ids.
    pub id: usize,
    /// Whether it only keeps a global store: it has no tasks then.
    pub is_global: bool,
    /// The topics that it reads, in the order of its sources.
    pub sources: Vec<Arc<str>>,
    /// The patterns of further topics that it reads.
    pub patterns: Vec<TopicPattern>,
    pub(crate) nodes: Vec<usize>,
}

impl Topology {
    /// The parts, in topological order.
    pub fn subtopologies(&self) -> Vec<Subtopology> {
        let mut parts: Vec<Subtopology> = vec![];
        let mut number = HashMap::new();
        for at in 0..self.nodes.len() {
            let id = *number.entry(self.groups.root(at)).or_insert_with(|| {
                parts.push(Subtopology { id: parts.len(), is_global: false, sources: vec![], patterns: vec![], nodes: vec![] });
                parts.len() - 1
            });
            let part = &mut parts[id];
            part.nodes.push(at);
            if let NodeKind::Source { topics, pattern, .. } = &self.nodes[at].kind {
                part.patterns.extend(pattern.clone());
                part.is_global |= topics.iter().any(|t| self.global_topics.contains(t));
                part.sources.extend(topics.iter().cloned());
            }
        }
        parts
    }

    /// The stores of these nodes in the order in which Kafka Streams registers, and so flushes, them.
    pub(crate) fn stores_in_order(&self, nodes: &[usize]) -> Vec<Arc<str>> {
        let mut stores: Vec<Arc<str>> = vec![];
        for &at in nodes {
            if let NodeKind::Processor { stores: used, .. } = &self.nodes[at].kind {
                for store in java_order::hash_order(used.iter().cloned(), |s| s) {
                    if !stores.contains(&store) {
                        stores.push(store);
                    }
                }
            }
        }
        stores
    }

    /// The stores that a sub-topology's tasks own.
    pub fn stores_of(&self, part: &Subtopology) -> Vec<Arc<str>> {
        self.stores_in_order(&part.nodes)
    }
}
