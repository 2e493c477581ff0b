//! The logical topology: nodes, edges, topics and stores as data.

mod describe;
mod java_order;
mod pattern;
mod subtopologies;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

pub use java_order::hash_order_with_capacity;
pub use pattern::TopicPattern;
pub use subtopologies::Subtopology;

use crate::{
    error::{Error, topology},
    node::{NodeMaker, SourceMaker},
    store::StoreDef,
    wrapper::ProcessorWrapper,
};

/// What a source starts from when there is no committed offset.
///
/// ```
/// # use millstream_topology::*;
/// let yesterday = OffsetReset::ByDuration(86_400_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// The first record.
    Earliest,
    /// Only what is new.
    Latest,
    /// An error.
    None,
    /// What is younger than so many milliseconds (KIP-1106).
    ByDuration(i64),
}

/// A repartition or foreign-key topic that the application owns.
///
/// ```
/// # use millstream_topology::*;
/// let topic = InternalTopic { partitions: Some(8) };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalTopic {
    /// How many partitions, if the user said so.
    pub partitions: Option<i32>,
}

pub(crate) enum NodeKind {
    Source {
        topics: Vec<Arc<str>>,
        /// Instead of topics: those that match.
        pattern: Option<TopicPattern>,
        make: SourceMaker,
    },
    /// Stores in the order in which they were connected, which shows in the order of Java's hash sets.
    Processor {
        make: NodeMaker,
        stores: Vec<Arc<str>>,
    },
    Sink {
        topic: Option<Arc<str>>,
        make: NodeMaker,
    },
}

pub(crate) struct NodeDef {
    pub name: Arc<str>,
    pub parents: Vec<Arc<str>>,
    pub kind: NodeKind,
}

/// A topology: what is built once and run by any number of tasks.
///
/// **Law.** It is data. Two topologies that were built by the same calls are equal in names and structure, and [`describe`] prints
/// what Kafka Streams prints for the same program.
///
/// [`describe`]: Topology::describe
///
/// ```
/// # use millstream_topology::*;
/// let topology = Topology::new();
/// assert_eq!(topology.describe(), "Topologies:\n ");
/// ```
#[derive(Default)]
pub struct Topology {
    pub(crate) nodes: Vec<NodeDef>,
    index: HashMap<Arc<str>, usize>,
    pub(crate) stores: BTreeMap<Arc<str>, StoreDef>,
    pub(crate) global_stores: BTreeMap<Arc<str>, StoreDef>,
    store_users: BTreeMap<Arc<str>, Vec<usize>>,
    groups: subtopologies::Groups,
    topics: HashSet<Arc<str>>,
    patterns: Vec<(TopicPattern, Option<OffsetReset>)>,
    pub(crate) global_topics: BTreeSet<Arc<str>>,
    pub(crate) offset_resets: BTreeMap<Arc<str>, OffsetReset>,
    pub(crate) internal_topics: BTreeMap<Arc<str>, InternalTopic>,
    pub(crate) copartitioned: Vec<BTreeSet<Arc<str>>>,
    pub(crate) source_changelogs: BTreeMap<Arc<str>, Arc<str>>,
    pub(crate) wrapper: Option<Arc<dyn ProcessorWrapper>>,
}

impl Topology {
    /// A topology without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has every processor that is added from now on wrapped.
    pub fn with_wrapper(self, wrapper: Arc<dyn ProcessorWrapper>) -> Self {
        Self { wrapper: Some(wrapper), ..self }
    }

    /// Adds a source that reads `topics`.
    pub fn add_source(&mut self, name: &str, topics: &[Arc<str>], reset: Option<OffsetReset>, make: SourceMaker) -> Result<(), Error> {
        if topics.is_empty() {
            return Err(topology(format!("source {name} has no topics: name at least one")));
        }
        self.check_new(name)?;
        for topic in topics {
            self.register_topic(topic)?;
            if let Some(reset) = reset {
                self.offset_resets.insert(topic.clone(), reset);
            }
        }
        self.add(name, vec![], NodeKind::Source { topics: topics.to_vec(), pattern: None, make });
        Ok(())
    }

    /// Adds a processor below `parents`.
    pub fn add_processor<S: AsRef<str>>(&mut self, name: &str, parents: &[S], make: NodeMaker) -> Result<(), Error> {
        let parents = self.check_parents(name, parents)?;
        self.add(name, parents, NodeKind::Processor { make, stores: vec![] });
        let stores = self.wrapper.as_ref().map_or_else(Vec::new, |wrapper| wrapper.stores(name));
        stores.into_iter().try_for_each(|store| self.add_store(store, &[name]))
    }

    /// Adds a sink below `parents`; `topic` is `None` if each record says where it goes.
    pub fn add_sink<S: AsRef<str>>(&mut self, name: &str, topic: Option<Arc<str>>, parents: &[S], make: NodeMaker) -> Result<(), Error> {
        let parents = self.check_parents(name, parents)?;
        self.add(name, parents, NodeKind::Sink { topic, make });
        Ok(())
    }

    /// Adds a store and connects it to `processors`. The same definition may be added again.
    pub fn add_store<S: AsRef<str>>(&mut self, store: StoreDef, processors: &[S]) -> Result<(), Error> {
        let name = store.name.clone();
        if self.stores.get(&name).is_some_and(|other| !other.is_same(&store)) || self.global_stores.contains_key(&name) {
            return Err(topology(format!("another store is named {name}: give one of them another name")));
        }
        self.stores.insert(name.clone(), store);
        for processor in processors {
            self.connect(processor.as_ref(), &name)?;
        }
        Ok(())
    }

    /// Adds a store that every task sees whole, and the source and the processor that keep it in step with `topic`.
    pub fn add_global_store(
        &mut self,
        store: StoreDef,
        source: (&str, SourceMaker),
        topic: Arc<str>,
        processor: (&str, NodeMaker),
    ) -> Result<(), Error> {
        self.check_new(source.0)?;
        self.check_new(processor.0)?;
        if source.0 == processor.0 {
            return Err(topology(format!("{}: the source and the processor of a global store need two names", source.0)));
        }
        if self.stores.contains_key(&store.name) || self.global_stores.contains_key(&store.name) {
            return Err(topology(format!("another store is named {}: give one of them another name", store.name)));
        }
        self.register_topic(&topic)?;
        self.global_topics.insert(topic.clone());
        self.source_changelogs.insert(store.name.clone(), topic.clone());
        self.add(source.0, vec![], NodeKind::Source { topics: vec![topic], pattern: None, make: source.1 });
        let stores = vec![store.name.clone()];
        self.add(processor.0, vec![source.0.into()], NodeKind::Processor { make: processor.1, stores });
        self.global_stores.insert(store.name.clone(), store);
        Ok(())
    }

    /// Connects a processor and a store that are there already: the processor may use it, and both end up in one sub-topology.
    pub fn connect(&mut self, processor: &str, store: &str) -> Result<(), Error> {
        if self.global_stores.contains_key(store) {
            return Err(topology(format!("{store} is a global store: every processor may use it, connect none")));
        }
        let Some((store, _)) = self.stores.get_key_value(store) else {
            return Err(topology(format!("{processor}: store {store} is not added yet: add it first")));
        };
        let store = store.clone();
        let at = *self.index.get(processor).ok_or_else(|| topology(format!("processor {processor} is not added yet: add it first")))?;
        let NodeKind::Processor { stores, .. } = &mut self.nodes[at].kind else {
            return Err(topology(format!("{processor}: stores connect to processors, not to sources or sinks")));
        };
        if !stores.contains(&store) {
            stores.push(store.clone());
        }
        let users = self.store_users.entry(store).or_default();
        if let Some(&first) = users.first() {
            self.groups.unite(first, at);
        }
        users.push(at);
        Ok(())
    }

    /// Declares a topic that the application creates and owns.
    pub fn add_internal_topic(&mut self, topic: impl Into<Arc<str>>, partitions: Option<i32>) {
        self.internal_topics.insert(topic.into(), InternalTopic { partitions });
    }

    /// Declares that the topics of these sources have equally many partitions.
    pub fn copartition<S: AsRef<str>>(&mut self, sources: &[S]) {
        self.copartitioned.push(sources.iter().map(|s| Arc::from(s.as_ref())).collect());
    }

    /// In all co-partition groups, `by` takes the place of `source`.
    pub fn replace_in_copartition(&mut self, source: &str, by: &str) {
        for group in &mut self.copartitioned {
            if group.remove(source) {
                group.insert(by.into());
            }
        }
    }

    /// Makes a source topic the changelog of a store, so that it needs none of its own.
    pub fn use_source_as_changelog(&mut self, store: &str, topic: &str) {
        self.source_changelogs.insert(store.into(), topic.into());
    }

    /// Fails if internal topics that must have equally many partitions were given different numbers.
    pub fn check_copartitions(&self) -> Result<(), Error> {
        for group in &self.copartitioned {
            let topics: BTreeSet<&Arc<str>> = group.iter().flat_map(|source| self.topics_of(source)).collect();
            let counts: BTreeMap<_, _> = topics
                .iter()
                .filter_map(|t| Some((t, self.internal_topics.get(*t)?.partitions?)))
                .map(|(t, n)| (t.to_string(), n))
                .collect();
            let differ = counts.values().collect::<HashSet<_>>().len() > 1;
            if counts.len() == topics.len() && differ {
                return Err(topology(format!("topics that are joined need as many partitions as each other, but have {counts:?}")));
            }
        }
        Ok(())
    }

    /// The groups of topics that must have equally many partitions.
    pub fn copartition_groups(&self) -> impl Iterator<Item = BTreeSet<&Arc<str>>> {
        self.copartitioned.iter().map(|group| group.iter().flat_map(|source| self.topics_of(source)).collect())
    }

    /// The topics that a source reads; none if it is not a source.
    pub fn topics_of(&self, source: &str) -> &[Arc<str>] {
        match self.index.get(source).map(|&at| &self.nodes[at].kind) {
            Some(NodeKind::Source { topics, .. }) => topics,
            _ => &[],
        }
    }

    /// The definition of a store, also of a global one.
    pub fn store(&self, name: &str) -> Option<&StoreDef> {
        self.stores.get(name).or_else(|| self.global_stores.get(name))
    }

    /// The names of all stores that tasks own.
    pub fn store_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.stores.keys()
    }

    /// Mutable access to the definitions of stores, to change options before the first task.
    pub fn stores_mut(&mut self) -> impl Iterator<Item = &mut StoreDef> {
        self.stores.values_mut().chain(self.global_stores.values_mut())
    }

    /// Whether there is a node of that name.
    pub fn contains(&self, node: &str) -> bool {
        self.index.contains_key(node)
    }

    /// The topics that sources read: those of tasks, and those of global stores.
    pub fn source_topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.iter()
    }

    /// The topics that sinks write to, as far as records do not choose them.
    pub fn sink_topics(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::Sink { topic, .. } => topic.clone(),
            _ => None,
        })
    }

    /// The topics that a sub-topology's sinks write to, as far as records do not choose them.
    pub fn sinks_of(&self, part: &Subtopology) -> Vec<Arc<str>> {
        let topic = |&at: &usize| match &self.nodes[at].kind {
            NodeKind::Sink { topic, .. } => topic.clone(),
            _ => None,
        };
        part.nodes.iter().filter_map(topic).collect()
    }

    /// The source topic that is a store's changelog, if one is.
    pub fn source_changelog(&self, store: &str) -> Option<&Arc<str>> {
        self.source_changelogs.get(store)
    }

    /// The topics that feed global stores.
    pub fn global_topics(&self) -> &BTreeSet<Arc<str>> {
        &self.global_topics
    }

    /// Topics that the application owns, without changelogs.
    pub fn internal_topics(&self) -> &BTreeMap<Arc<str>, InternalTopic> {
        &self.internal_topics
    }

    /// Where a source topic starts without a committed offset, if the user said so.
    pub fn offset_reset(&self, topic: &str) -> Option<OffsetReset> {
        self.offset_resets.get(topic).copied()
    }

    pub(crate) fn at(&self, node: &str) -> Option<usize> {
        self.index.get(node).copied()
    }

    fn check_new(&self, name: &str) -> Result<(), Error> {
        match self.index.contains_key(name) {
            true => Err(topology(format!("node {name} is there already: give one of them another name"))),
            false => Ok(()),
        }
    }

    fn check_parents<S: AsRef<str>>(&self, name: &str, parents: &[S]) -> Result<Vec<Arc<str>>, Error> {
        self.check_new(name)?;
        if parents.is_empty() {
            return Err(topology(format!("{name} has no parents: name at least one")));
        }
        let check = |parent: &S| {
            let parent = parent.as_ref();
            let &at = self.index.get(parent).ok_or_else(|| topology(format!("{name}: parent {parent} is not added yet: add it first")))?;
            match self.nodes[at].kind {
                NodeKind::Sink { topic: Some(_), .. } => Err(topology(format!("{name}: {parent} is a sink and cannot be a parent"))),
                _ => Ok(self.nodes[at].name.clone()),
            }
        };
        parents.iter().map(check).collect()
    }

    fn register_topic(&mut self, topic: &Arc<str>) -> Result<(), Error> {
        if let Some((pattern, _)) = self.patterns.iter().find(|(pattern, _)| pattern.matches(topic)) {
            return Err(topology(format!("topic {topic} matches pattern {}, which another source reads: narrow that", pattern.as_str())));
        }
        match self.topics.insert(topic.clone()) {
            true => Ok(()),
            false => Err(topology(format!("topic {topic} is read by another source already: read it once and branch from there"))),
        }
    }

    fn add(&mut self, name: &str, parents: Vec<Arc<str>>, kind: NodeKind) {
        let at = self.nodes.len();
        let name: Arc<str> = name.into();
        self.groups.add(at);
        for parent in &parents {
            self.groups.unite(at, self.index[parent]);
        }
        self.index.insert(name.clone(), at);
        self.nodes.push(NodeDef { name, parents, kind });
    }
}
