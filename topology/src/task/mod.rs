//! Tasks: one sub-topology at one partition, ready to run.

mod punctuation;
mod turns;

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
};

use self::turns::Turns;
use crate::{
    context::{Output, PunctuationType, RecordContext, TaskConfig, TaskContext, TaskId},
    error::{Error, ErrorKind},
    graph::{NodeKind, Subtopology, TopicPattern, Topology},
    node::{AnyNode, Assembly, catch},
    queue::SourceQueue,
    record::RawRecord,
    store::{AnyStore, StoreEnv, StoreSet, bytes::RocksState},
};

/// What a task is made with.
///
/// ```
/// use millstream_topology::{TaskConfig, TaskEnv, store::StoreSet};
///
/// let env = TaskEnv { config: TaskConfig::new("my-application"), rocks: None, global_stores: StoreSet::default(), wall_clock: 0, global_copy: 0 };
/// ```
#[derive(Clone)]
pub struct TaskEnv {
    /// What it is told of the application.
    pub config: TaskConfig,
    /// RocksDB, if there is one: without it every store is in memory.
    pub rocks: Option<Arc<RocksState>>,
    /// The global stores, made by the [`GlobalTask`](Task::new_global) of the same worker.
    pub global_stores: StoreSet,
    /// The clock at the start, in milliseconds since the epoch.
    pub wall_clock: i64,
    /// Which copy of the global stores it is: each worker has one.
    pub global_copy: i32,
}

/// A sub-topology at one partition: queues, nodes and stores.
///
/// **Law.** Single-threaded, synchronous, deterministic: what it writes follows from what was pushed, in that order, and from the
/// clock that it was told. It takes the record with the lowest timestamp among its queues' heads, pushes it depth first through its
/// nodes, and only then the next. It does no I/O but its stores'.
///
/// ```
/// use millstream_topology::{*, store::StoreSet};
/// use std::sync::Arc;
///
/// let (key, value) = (String::default_serde(), i64::default_serde());
/// let source = SourceDef::<String, i64> { key: key.clone(), value: value.clone(), extractor: Arc::new(InvalidTimestamp::Fail) };
/// let sink = SinkDef::<String, i64> { key, value, topic: SinkTopic::Fixed("out".into()), partitioner: None, partition_key: None };
/// let mut topology = Topology::new();
/// topology.add_source("source", &["in".into()], None, source.into_maker())?;
/// topology.add_sink("sink", Some("out".into()), &["source"], sink.into_maker())?;
///
/// let env = TaskEnv { config: TaskConfig::new("copy"), rocks: None, global_stores: StoreSet::default(), wall_clock: 0, global_copy: 0 };
/// let mut task = Task::new(&topology, &topology.subtopologies()[0], 0, &env)?;
/// task.init()?;
/// task.push("in", 7, RawRecord { key: Some("a".into()), value: Some(vec![0; 8].into()), ..RawRecord::default() })?;
/// while task.process()? {}
/// task.flush()?;
/// assert!(task.take_outputs().is_some_and(|outputs| &*outputs[0].topic == "out"));
/// assert_eq!(task.partition_times().collect::<Vec<_>>(), [(&"in".into(), 0)]);
/// # Ok::<(), Error>(())
/// ```
pub struct Task {
    context: TaskContext,
    queues: Vec<Box<dyn SourceQueue>>,
    /// What makes the queues of topics that match a pattern, when they come.
    patterns: Vec<(TopicPattern, Box<dyn Fn(Arc<str>) -> Box<dyn SourceQueue>>)>,
    turns: Turns,
    /// Queues that have records but no turn yet.
    arrived: VecDeque<usize>,
    /// Up to where each topic was pushed.
    positions: HashMap<Arc<str>, i64>,
    /// The queues that are waited for while they are empty.
    behind: Vec<usize>,
    nodes: Vec<AnyNode>,
    stores: StoreSet,
    has_work: bool,
}

impl Task {
    /// Makes a task of a sub-topology. Its nodes are not called yet: restore its stores, then [`init`](Task::init) it.
    pub fn new(topology: &Topology, part: &Subtopology, partition: i32, env: &TaskEnv) -> Result<Self, Error> {
        Self::assemble(topology, &part.nodes, TaskId { subtopology: part.id, partition }, env)
    }

    /// Makes one task of all sub-topologies but the global ones, as the test driver does.
    pub fn new_whole(topology: &Topology, env: &TaskEnv) -> Result<Self, Error> {
        let nodes: Vec<usize> =
            topology.subtopologies().iter().filter(|part| !part.is_global).flat_map(|part| part.nodes.clone()).collect();
        let mut nodes = nodes;
        nodes.sort_unstable();
        Self::assemble(topology, &nodes, TaskId { subtopology: 0, partition: 0 }, env)
    }

    /// Makes the task that keeps the global stores; `None` if there are none.
    pub fn new_global(topology: &Topology, env: &TaskEnv) -> Result<Option<Self>, Error> {
        let mut nodes: Vec<usize> =
            topology.subtopologies().iter().filter(|part| part.is_global).flat_map(|part| part.nodes.clone()).collect();
        nodes.sort_unstable();
        if nodes.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self::assemble(topology, &nodes, TaskId::GLOBAL, env)?))
    }

    fn assemble(topology: &Topology, nodes: &[usize], id: TaskId, env: &TaskEnv) -> Result<Self, Error> {
        let mut stores = StoreSet::default();
        for name in topology.stores_in_order(nodes) {
            stores.push(make_store(topology, &name, id.partition, env)?);
        }
        let mut visible = stores.clone();
        env.global_stores.iter().for_each(|store| visible.push(store.clone()));

        // Children first, so that each node is made with its children in hand.
        let mut made: HashMap<usize, AnyNode> = HashMap::new();
        let (mut queues, mut patterns) = (vec![], vec![]);
        let shared = RefCell::default();
        for &at in nodes.iter().rev() {
            let def = &topology.nodes[at];
            let below = nodes.iter().filter(|&&child| topology.nodes[child].parents.contains(&def.name));
            let children = below.map(|child| &made[child]).collect();
            let connected = match &def.kind {
                NodeKind::Processor { stores, .. } => Some(&stores[..]),
                _ => None,
            };
            let wrapped = matches!(def.kind, NodeKind::Processor { .. }) && !id.is_global();
            let mut assembly = Assembly {
                name: def.name.clone(),
                children,
                stores: &visible,
                connected,
                config: &env.config,
                shared: &shared,
                wrapper: topology.wrapper.as_deref().filter(|_| wrapped),
            };
            let node = match &def.kind {
                NodeKind::Processor { make, .. } | NodeKind::Sink { make, .. } => make(&mut assembly).map_err(|e| e.at(&def.name))?,
                NodeKind::Source { topics, pattern, make } => {
                    let make_queue = make(&mut assembly).map_err(|e| e.at(&def.name))?;
                    if let Some(pattern) = pattern {
                        patterns.push((pattern.clone(), make_queue));
                        continue;
                    }
                    queues.extend(topics.iter().rev().map(|topic| match topology.internal_topics.contains_key(topic) {
                        true => make_queue(env.config.internal_topic(topic)),
                        false => make_queue(topic.clone()),
                    }));
                    continue;
                }
            };
            made.insert(at, node);
        }
        queues.reverse();
        let mut in_order: Vec<_> = made.into_iter().collect();
        in_order.sort_unstable_by_key(|(at, _)| *at);
        Ok(Self {
            context: TaskContext::new(env.config.clone(), id, env.wall_clock),
            queues,
            patterns,
            turns: Turns::default(),
            arrived: VecDeque::new(),
            positions: HashMap::new(),
            behind: vec![],
            nodes: in_order.into_iter().map(|(_, node)| node).collect(),
            stores,
            has_work: false,
        })
    }

    /// Calls every node once, before the first record.
    pub fn init(&mut self) -> Result<(), Error> {
        for node in &self.nodes {
            self.context.node = node.name.clone();
            self.context.record = RecordContext::none(-1);
            (node.init)(&mut self.context).map_err(|error| error.at(&node.name))?;
        }
        Ok(())
    }

    /// Calls every node once, after the last record.
    pub fn close(&mut self) -> Result<(), Error> {
        for node in &self.nodes {
            (node.close)(&mut self.context).map_err(|error| error.at(&node.name))?;
        }
        Ok(())
    }

    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.context.task
    }

    /// The topics that it reads, in the order of its queues.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.queues.iter().map(|queue| queue.topic())
    }

    /// Appends a record to a topic's queue.
    pub fn push(&mut self, topic: &str, offset: i64, record: RawRecord) -> Result<(), Error> {
        let at = self.queue(topic)?;
        if self.queues[at].is_empty() {
            self.arrived.push_back(at);
        }
        self.queues[at].push(offset, record);
        Ok(())
    }

    /// How many records wait, by queue: what back-pressure looks at.
    pub fn waiting(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.queues.iter().map(|queue| (queue.topic(), queue.len()))
    }

    /// Processes the record with the lowest timestamp, and the stream-time punctuators that are due after it. `false`: none waits.
    pub fn process(&mut self) -> Result<bool, Error> {
        while let Some(at) = self.arrived.pop_front() {
            if let Some(timestamp) = self.queues[at].head_timestamp(&mut self.context)? {
                self.turns.offer(timestamp, at);
            }
        }
        let Some(at) = self.turns.take() else { return Ok(false) };
        self.has_work = true;
        let queue = &mut self.queues[at];
        let outcome = catch(&mut self.context, |context| queue.process(context));
        if !self.queues[at].is_empty() {
            self.arrived.push_front(at);
        }
        outcome?;
        self.punctuate(PunctuationType::StreamTime, self.context.stream_time)?;
        Ok(true)
    }

    /// Processes what there is, until a queue is empty that is [behind](Self::set_behind).
    pub fn process_ready(&mut self) -> Result<(), Error> {
        while self.behind.iter().all(|&at| !self.queues[at].is_empty()) && self.process()? {}
        Ok(())
    }

    /// Says whether a topic has more records than were pushed. While it has, and its queue is empty, nothing is processed: the record with
    /// the lowest timestamp may be among them (KIP-695).
    pub fn set_behind(&mut self, topic: &str, behind: bool) -> Result<(), Error> {
        let at = self.queue(topic)?;
        self.behind.retain(|other| *other != at);
        if behind {
            self.behind.push(at);
        }
        Ok(())
    }

    /// Tells the task what time it is, without anything following from that.
    pub fn set_wall_clock(&mut self, now: i64) {
        self.context.wall_clock = now;
    }

    /// Calls the wall-clock punctuators that are due.
    pub fn punctuate_wall_clock(&mut self) -> Result<(), Error> {
        self.punctuate(PunctuationType::WallClockTime, self.context.wall_clock)
    }

    /// When the next wall-clock punctuator is due.
    pub fn next_wall_clock_punctuation(&self) -> Option<i64> {
        self.next_punctuation(PunctuationType::WallClockTime)
    }

    /// Flushes what waits in record caches and buffers, store by store: before a commit.
    pub fn flush(&mut self) -> Result<(), Error> {
        for store in self.stores.clone().iter() {
            catch(&mut self.context, |context| store.flush(context))?;
        }
        self.context.commit_requested = false;
        Ok(())
    }

    /// The next of what was written and has not been taken, in order; `None`: nothing more.
    pub fn take_outputs(&mut self) -> Option<Vec<Output>> {
        self.context.outputs.pop_front()
    }

    /// The offsets to commit: of each topic the first record that has not been processed, where something has been read.
    pub fn offsets(&self) -> HashMap<Arc<str>, i64> {
        let mut offsets = self.positions.clone();
        offsets.extend(self.queues.iter().filter_map(|queue| Some((queue.topic().clone(), queue.head_offset()?))));
        offsets
    }

    /// Tells the task up to where its source has read, so that offsets without a record are committed too.
    pub fn set_position(&mut self, topic: &str, next_offset: i64) {
        self.has_work = true;
        match self.positions.get_mut(topic) {
            Some(position) => *position = next_offset,
            None => drop(self.positions.insert(topic.into(), next_offset)),
        }
    }

    /// The highest timestamp of each topic, −1 if it had none: committed with the offsets.
    pub fn partition_times(&self) -> impl Iterator<Item = (&Arc<str>, i64)> {
        self.queues.iter().map(|queue| (queue.topic(), queue.partition_time()))
    }

    /// Continues with the times that were committed before a restart.
    pub fn set_partition_time(&mut self, topic: &str, time: i64) -> Result<(), Error> {
        let at = self.queue(topic)?;
        self.queues[at].set_partition_time(time);
        self.context.stream_time = self.context.stream_time.max(time);
        Ok(())
    }

    /// What windowed operators remember across restarts, by node: committed with the offsets.
    pub fn processor_metadata(&self) -> &HashMap<Arc<str>, i64> {
        &self.context.processor_metadata
    }

    /// Continues with what was committed before a restart.
    pub fn set_processor_metadata(&mut self, metadata: HashMap<Arc<str>, i64>) {
        self.context.processor_metadata = metadata;
    }

    /// Whether user code has asked for a commit since the last flush.
    pub fn commit_requested(&self) -> bool {
        self.context.commit_requested
    }

    /// Whether a record was processed or a punctuator called since [`take_has_work`](Self::take_has_work).
    pub fn has_work(&self) -> bool {
        self.has_work
    }

    /// Whether a record was processed or a punctuator called since the last call.
    pub fn take_has_work(&mut self) -> bool {
        std::mem::take(&mut self.has_work)
    }

    /// How many records were dropped (`dropped-records-total`).
    pub fn dropped_records(&self) -> u64 {
        self.context.dropped
    }

    /// Its stores.
    pub fn stores(&self) -> &StoreSet {
        &self.stores
    }

    /// The context, for writes to a store from outside a node.
    pub fn context(&mut self) -> &mut TaskContext {
        &mut self.context
    }

    /// Whether it reads a topic.
    pub fn reads(&self, topic: &str) -> bool {
        self.topics().any(|read| &**read == topic) || self.patterns.iter().any(|(pattern, _)| pattern.matches(topic))
    }

    fn queue(&mut self, topic: &str) -> Result<usize, Error> {
        if let Some(at) = self.queues.iter().position(|queue| &**queue.topic() == topic) {
            return Ok(at);
        }
        let Some((_, make)) = self.patterns.iter().find(|(pattern, _)| pattern.matches(topic)) else {
            let text = format!("task {} does not read topic {topic}: name one of its source topics", self.context.task);
            return Err(Error::new(ErrorKind::IllegalArgument, text));
        };
        self.queues.push(make(topic.into()));
        Ok(self.queues.len() - 1)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.stores.iter().for_each(|store| store.detach());
    }
}

fn make_store(topology: &Topology, name: &Arc<str>, partition: i32, env: &TaskEnv) -> Result<Rc<dyn AnyStore>, Error> {
    let global = topology.global_stores.contains_key(name);
    let def = topology.store(name).ok_or_else(|| crate::error::topology(format!("store {name} is not added: add it")))?;
    let changelog = (def.logging && !global).then(|| match topology.source_changelogs.get(name) {
        Some(_) => None,
        None => Some(Arc::from(format!("{}-{name}-changelog", env.config.application_id))),
    });
    let store = StoreEnv {
        name,
        // A global store is one for all partitions, and no partition on disk is negative.
        partition: if global { env.global_copy } else { partition },
        rocks: env.rocks.as_ref(),
        changelog: changelog.flatten(),
        logged_headers: def.logged_headers,
        caching: def.caching && env.config.cache_max_bytes > 0,
        global,
        config: &env.config,
    };
    (def.make)(&store)
}
