//! Rewrites of the graph (`topology.optimization`, KIP-295), and the one that always happens: sources of equal topics become one.

use std::{collections::BTreeMap, sync::Arc};

use millstream_topology::{Error, ErrorKind};

use super::graph::{Graph, GraphNode, Kind, NodeId, ROOT, RepartitionNames};

/// Which rewrites are allowed.
///
/// ```
/// use millstream::{Optimization, StreamsBuilder, TopologyConfig};
///
/// let optimization = Optimization { reuse_ktable_source_topics: true, ..Optimization::NONE };
/// let builder = StreamsBuilder::with_config(TopologyConfig { optimization, ..TopologyConfig::default() });
/// builder.table::<String, i64>("prices").to_stream().to("changes");
/// assert_ne!(Optimization::ALL, Optimization::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Optimization {
    /// A table's source topic is its changelog.
    pub reuse_ktable_source_topics: bool,
    /// Repartitions of one key change share a topic.
    pub merge_repartition_topics: bool,
    /// An inner join of a stream with itself has one store.
    pub single_store_self_join: bool,
}

impl Optimization {
    /// All of them (`all`).
    pub const ALL: Self = Self { reuse_ktable_source_topics: true, merge_repartition_topics: true, single_store_self_join: true };
    /// None of them (`none`).
    pub const NONE: Self = Self { reuse_ktable_source_topics: false, merge_repartition_topics: false, single_store_self_join: false };
}

impl Graph {
    /// Sources of the same topics become one; of overlapping ones: an error.
    pub fn merge_duplicate_sources(&mut self) -> Result<(), Error> {
        let mut readers: BTreeMap<Arc<str>, NodeId> = BTreeMap::new();
        for id in self.nodes[ROOT].children.clone() {
            let Kind::Source { topics, reset } = &self.nodes[id].kind else { continue };
            let (topics, reset) = (topics.clone(), *reset);
            for topic in &topics {
                let &mut main = readers.entry(topic.clone()).or_insert(id);
                if main == id {
                    continue;
                }
                let Kind::Source { topics: others, reset: other } = &self.nodes[main].kind else { continue };
                if *others != topics {
                    let text = format!(
                        "{} reads {others:?} and {} {topics:?}: read equal or disjoint topics",
                        self.nodes[main].name, self.nodes[id].name
                    );
                    return Err(Error::new(ErrorKind::Topology, text));
                }
                if *other != reset {
                    let text = format!(
                        "{} and {} read {topic} with different offset resets: choose one",
                        self.nodes[main].name, self.nodes[id].name
                    );
                    return Err(Error::new(ErrorKind::Topology, text));
                }
                for child in self.nodes[id].children.clone() {
                    self.unlink(id, child);
                    self.link(main, child);
                }
                self.unlink(ROOT, id);
            }
        }
        Ok(())
    }

    /// Applies the rewrites that are allowed.
    pub fn optimize(&mut self, allowed: Optimization) -> Result<(), Error> {
        self.reuse_source_topics = allowed.reuse_ktable_source_topics;
        if allowed.merge_repartition_topics {
            self.merge_repartition_topics()?;
        }
        if allowed.single_store_self_join {
            self.rewrite_self_joins();
        }
        Ok(())
    }

    /// A join whose sides are one stream keeps only its left window.
    fn rewrite_self_joins(&mut self) {
        for id in 0..self.nodes.len() {
            let Kind::StreamJoin { other_windowed, .. } = &self.nodes[id].kind else { continue };
            let [parent] = self.nodes[id].parents[..] else { continue };
            let right = self.nodes[parent].children.iter().copied().find(|&child| *self.nodes[child].name == **other_windowed);
            if let Some(right) = right {
                self.unlink(parent, right);
                self.self_joins.push(id);
            }
        }
    }

    fn merge_repartition_topics(&mut self) -> Result<(), Error> {
        self.move_key_changers_to_merges();
        for (changer, repartitions) in std::mem::take(&mut self.key_changers) {
            let Some(&first) = repartitions.first() else { continue };
            let Kind::Repartition { names, write, .. } = &self.nodes[first].kind else { continue };
            let (topic, write) = (names.topic.clone(), write.clone());
            let names = RepartitionNames::new(self, &topic, true);
            let merged = self.add_unlinked(GraphNode::repartition(true, names, write));
            self.nodes[merged].priority = self.nodes[changer].priority;
            for replaced in repartitions {
                let above = self.find_above(replaced, &|node, _| node.parents.contains(&changer)).ok_or_else(|| {
                    let text =
                        format!("{}: its repartition cannot be merged: turn off merge_repartition_topics", self.nodes[replaced].name);
                    Error::new(ErrorKind::Streams, text)
                })?;
                self.link(merged, above);
                self.unlink(changer, above);
                let (children, parents) = (self.nodes[replaced].children.clone(), self.nodes[replaced].parents.clone());
                for &child in &children {
                    for &parent in &parents {
                        self.link(parent, child);
                    }
                }
                parents.iter().for_each(|&parent| self.unlink(parent, replaced));
                children.iter().for_each(|&child| self.unlink(replaced, child));
                let (old, new) = (self.nodes[replaced].name.clone(), self.nodes[merged].name.clone());
                for group in &mut self.copartitioned {
                    if group.remove(&old) {
                        group.insert(new.clone());
                    }
                }
            }
            self.link(changer, merged);
        }
        Ok(())
    }

    /// Where key changers meet in a merge above their repartitions, the merge takes their place.
    fn move_key_changers_to_merges(&mut self) {
        let mut moved: Vec<(NodeId, Vec<NodeId>)> = vec![];
        for &merge in &self.merges {
            let below_merge = |repartitions: &[NodeId]| {
                repartitions.iter().all(|&at| self.find_above(at, &|node, _| node.parents.contains(&merge)).is_some())
            };
            let changers = self.key_changers.iter().filter(|(changer, repartitions)| {
                below_merge(repartitions) && self.find_above(merge, &|node, _| node.parents.contains(changer)).is_some()
            });
            moved.push((merge, changers.map(|(changer, _)| *changer).collect()));
        }
        let mut gone = vec![];
        for (merge, changers) in moved {
            let mut repartitions: Vec<NodeId> = vec![];
            for changer in changers {
                let below = self.key_changers.iter().filter(|(at, _)| *at == changer).flat_map(|(_, below)| below.clone());
                repartitions.extend(below.collect::<Vec<_>>().into_iter().filter(|at| !repartitions.contains(at)).collect::<Vec<_>>());
                gone.push(changer);
            }
            self.key_changers.push((merge, repartitions));
        }
        self.key_changers.retain(|(changer, _)| !gone.contains(changer));
    }

    /// Suppression of a versioned table is an error.
    pub fn check_versions(&self) -> Result<(), Error> {
        for (id, node) in self.nodes.iter().enumerate() {
            if matches!(node.kind, Kind::Suppress) && self.is_versioned_upstream(id) {
                let text = format!("{}: suppress works on tables that are not versioned: materialize the table before it", node.name);
                return Err(Error::new(ErrorKind::Topology, text));
            }
        }
        Ok(())
    }
}
