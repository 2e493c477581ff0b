//! The topics of an application: what must be there, what it creates, and which task reads what.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use millstream_broker::{Broker, Error as BrokerError, NewTopic, TopicPartition};
use millstream_topology::{Error, ErrorKind, OffsetReset, Subtopology, TaskId, Topology, store::StoreType};

use super::{StreamsConfig, StreamsError};

/// How long one request about topics may take.
pub(super) const TOPIC_DEADLINE: Duration = Duration::from_secs(30);

/// A logged store and its changelog.
pub(crate) struct Logged {
    pub store: Arc<str>,
    pub topic: Arc<str>,
    /// Whether its rows survive a restart, so that only what follows them is replayed.
    pub persistent: bool,
    /// Whether the changelog is a source topic.
    pub is_source: bool,
}

/// What an application reads and writes.
pub struct Plan {
    /// The sub-topologies, with the full names of their source topics.
    pub parts: Vec<Subtopology>,
    /// How many partitions each topic has.
    pub partitions: HashMap<Arc<str>, i32>,
    /// The topics that the group's members share.
    pub subscription: Vec<Arc<str>>,
    /// The topics of global tables.
    pub global_topics: BTreeSet<Arc<str>>,
    /// Whether a store is to be on RocksDB.
    pub needs_rocks: bool,
    pub(crate) persistent_globals: BTreeSet<Arc<str>>,
    repartitions: BTreeSet<Arc<str>>,
    resets: HashMap<Arc<str>, OffsetReset>,
    stores: HashMap<Arc<str>, (usize, bool)>,
    by_topic: HashMap<Arc<str>, usize>,
    changelogs: HashMap<usize, Vec<Logged>>,
    /// The topics that matched a pattern.
    matched: BTreeSet<Arc<str>>,
}

impl Plan {
    /// Looks up the topics that must be there and creates the others.
    ///
    /// # Errors
    /// A source topic that is not there, or the broker's.
    pub fn make(topology: &Topology, config: &StreamsConfig, broker: &dyn Broker) -> Result<Self, StreamsError> {
        let prefix = |topic: &str| -> Arc<str> { format!("{}-{topic}", config.application_id).into() };
        let is_internal = |topic: &Arc<str>| topology.internal_topics().contains_key(topic);
        let full = |topic: &Arc<str>| if is_internal(topic) { prefix(topic) } else { topic.clone() };
        let admin = broker.admin();
        let mut partitions: HashMap<Arc<str>, i32> = HashMap::new();
        for topic in topology.source_topics().filter(|topic| !is_internal(topic)) {
            let description = admin.describe_topic(topic, TOPIC_DEADLINE).map_err(|error| match error {
                BrokerError::UnknownTopic(topic) => StreamsError::MissingSourceTopic(topic),
                error => error.into(),
            })?;
            partitions.insert(topic.clone(), description.partitions);
        }
        for topic in topology.sink_topics().filter(|topic| !is_internal(topic)) {
            if let Ok(description) = admin.describe_topic(&topic, TOPIC_DEADLINE) {
                partitions.insert(topic, description.partitions);
            }
        }
        let mut parts = topology.subtopologies();
        let matched = matched(topology, broker)?;
        for topic in &matched {
            partitions.insert(topic.clone(), admin.describe_topic(topic, TOPIC_DEADLINE)?.partitions);
        }
        for part in &mut parts {
            part.sources.extend(matched.iter().filter(|topic| part.patterns.iter().any(|pattern| pattern.matches(topic))).cloned());
        }
        decide_internal(topology, &parts, config, &mut partitions);
        check_copartitions(topology, &partitions)?;

        let mut create = vec![];
        for topic in topology.internal_topics().keys() {
            if partitions[topic] < 1 {
                let text = format!("repartition topic {topic} is to have {} partitions: give it at least one", partitions[topic]);
                return Err(Error::new(ErrorKind::IllegalArgument, text).into());
            }
            create.push(NewTopic::new(&*prefix(topic), partitions[topic]));
        }
        let mut changelogs: HashMap<usize, Vec<Logged>> = HashMap::new();
        let (mut needs_rocks, mut persistent_globals, mut stores) = (false, BTreeSet::new(), HashMap::new());
        for part in &parts {
            let count = part.sources.iter().filter_map(|topic| partitions.get(topic)).copied().max().unwrap_or(config.default_partitions);
            for store in topology.stores_of(part) {
                let Some(def) = topology.store(&store) else { continue };
                let persistent = def.store_type == StoreType::RocksDb;
                needs_rocks |= persistent;
                stores.insert(store.clone(), (part.id, part.is_global));
                if let Some(source) = topology.source_changelog(&store).cloned() {
                    if part.is_global && persistent {
                        persistent_globals.insert(source.clone());
                    }
                    changelogs.entry(part.id).or_default().push(Logged { store, topic: source, persistent, is_source: true });
                } else if def.logging && !part.is_global {
                    let topic = prefix(&format!("{store}-changelog"));
                    let new = NewTopic {
                        compact: def.changelog.compact,
                        retention_ms: def.changelog.retention_ms,
                        ..NewTopic::new(&*topic, count)
                    };
                    create.push(new);
                    changelogs.entry(part.id).or_default().push(Logged { store, topic, persistent, is_source: false });
                }
            }
        }
        admin.create_topics(&create, TOPIC_DEADLINE)?;

        let partitions: HashMap<Arc<str>, i32> = partitions.into_iter().map(|(topic, count)| (full(&topic), count)).collect();
        for part in &mut parts {
            part.sources = part.sources.iter().map(full).collect();
        }
        let tasks = parts.iter().filter(|part| !part.is_global);
        let by_topic: HashMap<_, _> = tasks.flat_map(|part| part.sources.iter().map(move |topic| (topic.clone(), part.id))).collect();
        let mut subscription: Vec<_> = by_topic.keys().cloned().collect();
        subscription.sort();
        let global_topics = topology.global_topics().clone();
        let repartitions = topology.internal_topics().keys().map(full).collect();
        let by_pattern = |topic: &str| topology.patterns().iter().find(|(pattern, _)| pattern.matches(topic)).and_then(|(_, reset)| *reset);
        let reset = |topic: &Arc<str>| Some((topic.clone(), topology.offset_reset(topic).or_else(|| by_pattern(topic))?));
        let resets = by_topic.keys().filter_map(reset).collect();
        Ok(Self {
            parts,
            partitions,
            subscription,
            global_topics,
            needs_rocks,
            persistent_globals,
            repartitions,
            resets,
            stores,
            by_topic,
            changelogs,
            matched,
        })
    }

    /// Whether other topics match the topology's patterns by now.
    pub(crate) fn is_stale(&self, topology: &Topology, broker: &dyn Broker) -> Result<bool, StreamsError> {
        Ok(!topology.patterns().is_empty() && matched(topology, broker)? != self.matched)
    }

    /// The task that reads a topic-partition.
    pub fn task_of(&self, partition: &TopicPartition) -> Option<TaskId> {
        self.task_at(&partition.topic, partition.partition)
    }

    /// The task that reads a partition of a topic.
    pub fn task_at(&self, topic: &str, partition: i32) -> Option<TaskId> {
        self.by_topic.get(topic).map(|&subtopology| TaskId { subtopology, partition })
    }

    /// Whether a task reads more than one topic, so that the order of their records is to be chosen.
    pub(crate) fn reads_several(&self, task: TaskId) -> bool {
        let part = self.parts.iter().find(|part| part.id == task.subtopology);
        let read = |topic: &&Arc<str>| self.partitions.get(*topic).is_some_and(|count| *count > task.partition);
        part.is_some_and(|part| part.sources.iter().filter(read).nth(1).is_some())
    }

    /// Whether the application owns a topic that it reads.
    pub(crate) fn is_repartition(&self, topic: &str) -> bool {
        self.repartitions.contains(topic)
    }

    /// Where a topic begins without a committed offset, if its source says so.
    pub(crate) fn offset_reset(&self, topic: &str) -> Option<OffsetReset> {
        self.resets.get(topic).copied()
    }

    /// Which sub-topology a store belongs to, and whether it is a global store.
    pub(crate) fn store(&self, name: &str) -> Option<(usize, bool)> {
        self.stores.get(name).copied()
    }

    /// The names of all stores, sorted.
    pub(crate) fn store_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.stores.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }

    /// How many partitions a sub-topology has tasks for.
    pub(crate) fn tasks_of(&self, subtopology: usize) -> i32 {
        let part = self.parts.iter().find(|part| part.id == subtopology);
        let counts = part.into_iter().flat_map(|part| part.sources.iter().filter_map(|topic| self.partitions.get(topic)));
        counts.copied().max().unwrap_or(0)
    }

    /// The logged stores of a sub-topology.
    pub(crate) fn changelogs(&self, subtopology: usize) -> &[Logged] {
        self.changelogs.get(&subtopology).map_or(&[], Vec::as_slice)
    }
}

/// The topics that match a pattern of the topology's.
fn matched(topology: &Topology, broker: &dyn Broker) -> Result<BTreeSet<Arc<str>>, StreamsError> {
    if topology.patterns().is_empty() {
        return Ok(BTreeSet::new());
    }
    let topics = broker.admin().list_topics(TOPIC_DEADLINE)?.into_iter();
    Ok(topics.filter(|topic| topology.patterns().iter().any(|(pattern, _)| pattern.matches(topic))).map(Arc::from).collect())
}

/// Internal topics have as many partitions as the user said, or as what they are read with, or as what writes them.
fn decide_internal(topology: &Topology, parts: &[Subtopology], config: &StreamsConfig, partitions: &mut HashMap<Arc<str>, i32>) {
    for (topic, internal) in topology.internal_topics() {
        if let Some(count) = internal.partitions {
            partitions.insert(topic.clone(), count);
        }
    }
    // Each round settles the topics behind those of the round before.
    for _ in 0..=parts.len() {
        for group in topology.copartition_groups() {
            let Some(most) = group.iter().filter_map(|topic| partitions.get(*topic)).copied().max() else { continue };
            for topic in group.into_iter().filter(|topic| topology.internal_topics().contains_key(*topic)) {
                partitions.entry(topic.clone()).or_insert(most);
            }
        }
        for part in parts {
            let read: Vec<_> = part.sources.iter().filter_map(|topic| partitions.get(topic)).copied().collect();
            let Some(&most) = read.iter().max() else { continue };
            for topic in part.sources.iter().chain(&topology.sinks_of(part)) {
                if topology.internal_topics().contains_key(topic) {
                    partitions.entry(topic.clone()).or_insert(most);
                }
            }
        }
    }
    for topic in topology.internal_topics().keys() {
        partitions.entry(topic.clone()).or_insert(config.default_partitions);
    }
}

/// Topics of the user's that are joined need as many partitions as each other.
fn check_copartitions(topology: &Topology, partitions: &HashMap<Arc<str>, i32>) -> Result<(), Error> {
    for group in topology.copartition_groups() {
        let counts: BTreeMap<&str, i32> = group.iter().filter_map(|topic| Some((&***topic, *partitions.get(*topic)?))).collect();
        if counts.values().collect::<BTreeSet<_>>().len() > 1 {
            let text =
                format!("topics that are joined need as many partitions as each other, but have {counts:?}: repartition one of them");
            return Err(Error::new(ErrorKind::Topology, text));
        }
    }
    Ok(())
}
