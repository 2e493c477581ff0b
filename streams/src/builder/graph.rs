//! The graph that DSL calls draw, before it is optimised and written as a topology.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, sync::Arc};

use millstream_topology::{Error, ErrorKind, OffsetReset, Topology};

/// A node's place in the graph.
pub(crate) type NodeId = usize;

pub(crate) const ROOT: NodeId = 0;

/// The names of a repartition: of the topic (without the application's prefix), and of the nodes around it.
#[derive(Clone, Debug)]
pub(crate) struct RepartitionNames {
    pub topic: String,
    pub filter: String,
    pub sink: String,
    pub source: String,
}

/// What the graph knows when a node is written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The names of the nodes above it.
    pub parents: Vec<Arc<str>>,
    /// A repartition: whether records without a key are dropped before it.
    pub drop_null_keys: bool,
    /// A table source: whether its topic is its changelog.
    pub reuse_source_topic: bool,
    /// A stream-stream join: whether both sides are one.
    pub self_join: bool,
    /// The names of the parents whose output is versioned.
    pub versioned: Vec<Arc<str>>,
}

impl RepartitionNames {
    /// The names around the topic of that base; numbers are spent also where the user named it.
    pub fn new(graph: &mut Graph, base: &str, named_by_user: bool) -> Self {
        let topic = if base.ends_with("-repartition") { base.to_string() } else { format!("{base}-repartition") };
        if !named_by_user {
            graph.implicit_names.push(topic.clone());
        }
        let sink = graph.generate("KSTREAM-SINK-");
        let filter = graph.generate("KSTREAM-FILTER-");
        let source = graph.generate("KSTREAM-SOURCE-");
        match is_generated(base) {
            true => Self { topic, filter, sink, source },
            false => Self { filter: format!("{topic}-filter"), sink: format!("{topic}-sink"), source: format!("{topic}-source"), topic },
        }
    }
}

/// Whether it is a name as the builder generates them: `KSTREAM…-` and ten digits.
fn is_generated(name: &str) -> bool {
    let number = name.len().checked_sub(10).filter(|&at| name.is_char_boundary(at)).map(|at| name.split_at(at));
    number.is_some_and(|(prefix, digits)| {
        prefix.starts_with("KSTREAM") && prefix.ends_with('-') && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

type Write = Box<dyn FnOnce(&mut Topology, &Written) -> Result<(), Error>>;
type WriteRepartition = Rc<dyn Fn(&mut Topology, &Written, &RepartitionNames) -> Result<(), Error>>;

/// What a node is to the optimiser.
pub(crate) enum Kind {
    /// Nothing special.
    Plain,
    /// Reads topics.
    Source { topics: Vec<Arc<str>>, reset: Option<OffsetReset> },
    /// Reads a table's topic.
    TableSource,
    /// Writes and reads a repartition topic; the optimiser may move those that it put there itself.
    Repartition { optimizable: bool, names: RepartitionNames, write: WriteRepartition },
    /// Joins two streams over the nodes that put them into windows.
    StreamJoin { other_windowed: String },
    /// Puts a side of a join into its window.
    Windowed,
    /// Holds back updates of a table.
    Suppress,
}

pub(crate) struct GraphNode {
    pub name: Arc<str>,
    pub kind: Kind,
    pub parents: Vec<NodeId>,
    pub children: Vec<NodeId>,
    pub priority: usize,
    pub key_changing: bool,
    pub value_changing: bool,
    pub is_merge: bool,
    /// Lets records without a key pass upstream repartitions.
    pub relaxed_null_key: bool,
    /// Whether the node heeds the versions of its parents.
    pub heeds_versions: bool,
    /// Whether its table is versioned; `None`: as its parents.
    pub output_versioned: Option<bool>,
    pub grace: Option<Grace>,
    write: Option<Write>,
    written: bool,
}

/// How late a window's updates may come: what `suppress` looks for upstream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grace {
    pub ms: i64,
    /// Whether windows still take records when stream time is exactly so much after their end: sliding ones and sessions do.
    pub is_last_included: bool,
}

impl GraphNode {
    pub fn new(name: impl Into<Arc<str>>, kind: Kind, write: impl FnOnce(&mut Topology, &Written) -> Result<(), Error> + 'static) -> Self {
        Self {
            name: name.into(),
            kind,
            parents: vec![],
            children: vec![],
            priority: 0,
            key_changing: false,
            value_changing: false,
            is_merge: false,
            relaxed_null_key: false,
            heeds_versions: false,
            output_versioned: None,
            grace: None,
            write: Some(Box::new(write)),
            written: false,
        }
    }

    pub fn repartition(optimizable: bool, names: RepartitionNames, write: WriteRepartition) -> Self {
        let (name, written) = (names.source.clone(), names.clone());
        let again = write.clone();
        Self::new(name, Kind::Repartition { optimizable, names, write }, move |topology, env| again(topology, env, &written))
    }
}

/// The graph, and the counter that numbers what the user does not name.
pub(crate) struct Graph {
    pub nodes: Vec<GraphNode>,
    pub copartitioned: Vec<BTreeSet<Arc<str>>>,
    pub implicit_names: Vec<String>,
    /// Key-changing and merge nodes, with the repartitions below them that may become one.
    pub(super) key_changers: Vec<(NodeId, Vec<NodeId>)>,
    pub(super) merges: Vec<NodeId>,
    pub(super) self_joins: Vec<NodeId>,
    pub(super) reuse_source_topics: bool,
    index: usize,
    next_priority: usize,
    error: Option<Error>,
}

/// The graph as all handles of one builder share it.
pub(crate) type SharedGraph = Rc<RefCell<Graph>>;

impl Graph {
    pub fn new() -> Self {
        let root = GraphNode::new("root", Kind::Plain, |_, _| Ok(()));
        Self {
            nodes: vec![root],
            copartitioned: vec![],
            implicit_names: vec![],
            key_changers: vec![],
            merges: vec![],
            self_joins: vec![],
            reuse_source_topics: false,
            index: 0,
            next_priority: 0,
            error: None,
        }
    }

    /// Remembers the first error of a call that cannot return one; `build` returns it.
    pub fn fail(&mut self, kind: ErrorKind, message: impl Into<String>) {
        self.error.get_or_insert(Error::new(kind, message));
    }

    /// The same, of a check.
    pub fn check(&mut self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            self.error.get_or_insert(error);
        }
    }

    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    fn number(&mut self) -> usize {
        self.index += 1;
        self.index - 1
    }

    /// A generated name; the number is spent.
    pub fn generate(&mut self, prefix: &str) -> String {
        format!("{prefix}{:010}", self.number())
    }

    /// The user's name, or a generated one. A number is spent in either case only if `prefix` is used.
    pub fn name_or(&mut self, name: Option<&str>, prefix: &str) -> String {
        match name {
            // Kafka Streams spends a number on named nodes too, so that adding a name moves no others.
            Some(name) => {
                self.number();
                let outcome = millstream_topology::check_name(name);
                self.check(outcome);
                name.to_string()
            }
            None => self.generate(prefix),
        }
    }

    /// The user's name with a suffix, or a generated one.
    pub fn name_with_suffix_or(&mut self, name: Option<&str>, suffix: &str, prefix: &str) -> String {
        match name {
            Some(name) => {
                self.number();
                let outcome = millstream_topology::check_name(name);
                self.check(outcome);
                let name = format!("{name}{suffix}");
                let outcome = millstream_topology::check_name(&name);
                self.check(outcome);
                name
            }
            None => self.generate(prefix),
        }
    }

    /// A generated store name.
    pub fn generate_store(&mut self, prefix: &str) -> String {
        self.generate(&format!("{prefix}STATE-STORE-"))
    }

    pub fn add(&mut self, parents: &[NodeId], node: GraphNode) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(node);
        for &parent in parents {
            self.link(parent, id);
            self.note(id);
        }
        id
    }

    /// Adds a node once more, where operations share it: it takes a later place.
    pub fn add_again(&mut self, id: NodeId) {
        self.note(id);
    }

    /// Adds a node that is linked later.
    pub fn add_unlinked(&mut self, node: GraphNode) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub fn link(&mut self, parent: NodeId, child: NodeId) {
        if !self.nodes[parent].children.contains(&child) {
            self.nodes[parent].children.push(child);
        }
        if !self.nodes[child].parents.contains(&parent) {
            self.nodes[child].parents.push(parent);
        }
    }

    pub fn unlink(&mut self, parent: NodeId, child: NodeId) {
        self.nodes[parent].children.retain(|&c| c != child);
        self.nodes[child].parents.retain(|&p| p != parent);
    }

    /// Numbers the node and tells the optimiser of it, once for every parent.
    fn note(&mut self, id: NodeId) {
        self.nodes[id].priority = self.next_priority;
        self.next_priority += 1;
        let node = &self.nodes[id];
        if node.key_changing {
            self.key_changers.retain(|(changer, _)| *changer != id);
            self.key_changers.push((id, vec![]));
        } else if matches!(node.kind, Kind::Repartition { optimizable: true, .. }) {
            if let Some(changer) = self.key_changing_parent(id)
                && let Some((_, repartitions)) = self.key_changers.iter_mut().find(|(at, _)| *at == changer)
                && !repartitions.contains(&id)
            {
                repartitions.push(id);
            }
        } else if node.is_merge && !self.merges.contains(&id) {
            self.merges.push(id);
        }
    }

    /// Writes the nodes in the order of their numbers, parents before children.
    pub fn write(&mut self, topology: &mut Topology) -> Result<(), Error> {
        let mut queue = BTreeSet::from([(self.nodes[ROOT].priority, ROOT)]);
        let relaxed = self.nodes_above_relaxed_joins();
        while let Some((_, id)) = queue.pop_first() {
            let ready = self.nodes[id].parents.iter().all(|&parent| self.nodes[parent].written);
            if ready && !self.nodes[id].written {
                let env = self.written(id, &relaxed);
                if let Some(write) = self.nodes[id].write.take() {
                    write(topology, &env)?;
                }
                self.nodes[id].written = true;
            }
            if ready {
                queue.extend(self.nodes[id].children.iter().map(|&child| (self.nodes[child].priority, child)));
            }
        }
        Ok(())
    }

    fn written(&self, id: NodeId, relaxed: &[bool]) -> Written {
        let node = &self.nodes[id];
        let names = |parents: &mut dyn Iterator<Item = NodeId>| parents.map(|parent| self.nodes[parent].name.clone()).collect();
        Written {
            parents: names(&mut node.parents.iter().copied()),
            drop_null_keys: !relaxed[id],
            reuse_source_topic: self.reuse_source_topics,
            self_join: self.self_joins.contains(&id),
            versioned: match node.heeds_versions {
                true => names(&mut node.parents.iter().copied().filter(|&parent| self.is_versioned(parent))),
                false => vec![],
            },
        }
    }

    fn nodes_above_relaxed_joins(&self) -> Vec<bool> {
        let mut above = vec![false; self.nodes.len()];
        // A child never has a smaller place than its parents, but for nodes that the optimiser added last: repeat until nothing changes.
        loop {
            let before = above.clone();
            for (id, node) in self.nodes.iter().enumerate() {
                above[id] |= node.children.iter().any(|&child| self.nodes[child].relaxed_null_key || above[child]);
            }
            if above == before {
                return above;
            }
        }
    }

    /// Whether the table that a node puts out is versioned.
    pub fn is_versioned(&self, id: NodeId) -> bool {
        self.nodes[id].output_versioned.unwrap_or_else(|| self.is_versioned_upstream(id))
    }

    pub fn is_versioned_upstream(&self, id: NodeId) -> bool {
        id != ROOT && self.nodes[id].parents.iter().all(|&parent| self.is_versioned(parent))
    }

    /// The node itself or the first above it, depth first, for which `test` holds.
    pub fn find_above(&self, id: NodeId, test: &dyn Fn(&GraphNode, NodeId) -> bool) -> Option<NodeId> {
        if test(&self.nodes[id], id) {
            return Some(id);
        }
        self.nodes[id].parents.iter().find_map(|&parent| self.find_above(parent, test))
    }

    fn key_changing_parent(&self, id: NodeId) -> Option<NodeId> {
        let changing = self.find_above(id, &|node, _| node.key_changing || node.value_changing);
        changing.filter(|_| changing == self.find_above(id, &|node, _| node.key_changing))
    }
}
