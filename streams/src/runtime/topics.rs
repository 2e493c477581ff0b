//! The topics of an application: what must be there, what it creates, and which task reads what.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use millstream_broker::{Broker, Error as BrokerError, NewTopic, TopicPartition};
use millstream_topology::{Error, ErrorKind, Subtopology, TaskId, Topology, store::StoreType};

use super::{StreamsConfig, StreamsError};

/// How long one request about topics may take.
pub(super) const TOPIC_DEADLINE: Duration = Duration::from_secs(30);

/// A logged store and its changelog.
pub(crate) struct Logged {
    pub store: Arc<str>,
    pub topic: Arc<str>,
    /// Whether its rows survive a restart, so that only what follows them is replayed.
    pub persistent: bool,
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
    by_topic: HashMap<Arc<str>, usize>,
    changelogs: HashMap<usize, Vec<Logged>>,
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
        let parts = topology.subtopologies();
        decide_internal(topology, &parts, config, &mut partitions);

        let mut create = vec![];
        for topic in topology.internal_topics().keys() {
            if partitions[topic] < 1 {
                let text = format!("repartition topic {topic} is to have {} partitions: give it at least one", partitions[topic]);
                return Err(Error::new(ErrorKind::IllegalArgument, text).into());
            }
            create.push(NewTopic::new(&*prefix(topic), partitions[topic]));
        }
        let mut changelogs: HashMap<usize, Vec<Logged>> = HashMap::new();
        let mut needs_rocks = false;
        for part in &parts {
            let count = part.sources.iter().filter_map(|topic| partitions.get(topic)).copied().max().unwrap_or(config.default_partitions);
            for store in topology.stores_of(part) {
                let Some(def) = topology.store(&store) else { continue };
                let persistent = def.store_type == StoreType::RocksDb;
                needs_rocks |= persistent;
                if let Some(source) = topology.source_changelog(&store).cloned() {
                    changelogs.entry(part.id).or_default().push(Logged { store, topic: source, persistent });
                } else if def.logging && !part.is_global {
                    let topic = prefix(&format!("{store}-changelog"));
                    let new = NewTopic {
                        compact: def.changelog.compact,
                        retention_ms: def.changelog.retention_ms,
                        ..NewTopic::new(&*topic, count)
                    };
                    create.push(new);
                    changelogs.entry(part.id).or_default().push(Logged { store, topic, persistent });
                }
            }
        }
        admin.create_topics(&create, TOPIC_DEADLINE)?;

        let partitions: HashMap<Arc<str>, i32> = partitions.into_iter().map(|(topic, count)| (full(&topic), count)).collect();
        let mut parts = parts;
        for part in &mut parts {
            part.sources = part.sources.iter().map(full).collect();
        }
        let tasks = parts.iter().filter(|part| !part.is_global);
        let by_topic: HashMap<_, _> = tasks.flat_map(|part| part.sources.iter().map(move |topic| (topic.clone(), part.id))).collect();
        let mut subscription: Vec<_> = by_topic.keys().cloned().collect();
        subscription.sort();
        let global_topics = topology.global_topics().clone();
        Ok(Self { parts, partitions, subscription, global_topics, needs_rocks, by_topic, changelogs })
    }

    /// The task that reads a topic-partition.
    pub fn task_of(&self, partition: &TopicPartition) -> Option<TaskId> {
        self.task_at(&partition.topic, partition.partition)
    }

    /// The task that reads a partition of a topic.
    pub fn task_at(&self, topic: &str, partition: i32) -> Option<TaskId> {
        self.by_topic.get(topic).map(|&subtopology| TaskId { subtopology, partition })
    }

    /// The logged stores of a sub-topology.
    pub(crate) fn changelogs(&self, subtopology: usize) -> &[Logged] {
        self.changelogs.get(&subtopology).map_or(&[], Vec::as_slice)
    }
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
