//! Offsets: of beginnings and ends, and those that are committed.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::KafkaError,
    topic_partition_list::Offset,
    types::RDKafkaErrorCode as Code,
};

use super::{
    Cluster,
    context::Context,
    errors::{at, from_kafka, passes},
};
use crate::{CommittedOffset, Error, Offsets, Position, TopicPartition};

/// How long a topic that the cluster knows may be unknown to the broker that leads it.
const NEW_TOPIC: Duration = Duration::from_secs(1);

/// A list for librdkafka.
pub(crate) fn list_of(offsets: &Offsets) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (TopicPartition { topic, partition }, committed) in offsets {
        let mut element = list.add_partition(topic, *partition);
        element.set_offset(Offset::Offset(committed.offset)).map_err(|e| from_kafka(&e, topic))?;
        element.set_metadata(&committed.metadata);
    }
    Ok(list)
}

/// The committed offsets of a consumer's group.
pub(crate) fn committed(client: &BaseConsumer<Context>, partitions: &[TopicPartition], deadline: Duration) -> Result<Offsets, Error> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for name in partitions {
        list.add_partition(&name.topic, name.partition);
    }
    let found = client.committed_offsets(list, deadline).map_err(|e| at(from_kafka(&e, ""), "committed offsets"))?;
    let mut offsets = Offsets::new();
    for element in found.elements() {
        element.error().map_err(|e| at(from_kafka(&e, element.topic()), "committed offsets"))?;
        if let Offset::Offset(offset) = element.offset() {
            let committed = CommittedOffset { offset, metadata: element.metadata().to_owned() };
            offsets.insert(TopicPartition::new(element.topic(), element.partition()), committed);
        }
    }
    Ok(offsets)
}

/// Commits, and waits for the answer, as long as librdkafka does (`socket.timeout.ms`).
pub(crate) fn commit(client: &BaseConsumer<Context>, offsets: &Offsets) -> Result<(), Error> {
    if offsets.is_empty() {
        return Ok(());
    }
    client.commit(&list_of(offsets)?, CommitMode::Sync).map_err(|e| at(from_kafka(&e, ""), "commit"))
}

/// Turns beginnings and ends into offsets, as they are now: what comes after this call comes after the end.
pub(crate) fn resolve(
    cluster: &Cluster,
    client: &BaseConsumer<Context>,
    places: &[(TopicPartition, Position)],
    deadline: Duration,
) -> Result<HashMap<TopicPartition, i64>, Error> {
    let mut resolved = HashMap::with_capacity(places.len());
    let mut asked = TopicPartitionList::new();
    for (name, position) in places {
        cluster.check(name, deadline)?;
        let offset = match position {
            Position::Offset(offset) => {
                resolved.insert(name.clone(), *offset);
                continue;
            }
            Position::Beginning => Offset::Beginning,
            Position::End => Offset::End,
        };
        asked.add_partition_offset(&name.topic, name.partition, offset).map_err(|e| from_kafka(&e, &name.topic))?;
    }
    if asked.count() > 0 {
        list_offsets(client, &asked, deadline, &mut resolved)?;
    }
    Ok(resolved)
}

fn list_offsets(
    client: &BaseConsumer<Context>,
    asked: &TopicPartitionList,
    deadline: Duration,
    resolved: &mut HashMap<TopicPartition, i64>,
) -> Result<(), Error> {
    let began = Instant::now();
    let until = began + deadline;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let failed = match client.offsets_for_times(asked.clone(), left) {
            Ok(answers) => answers.elements().iter().find_map(|answer| match (answer.error(), answer.offset()) {
                (Ok(()), Offset::Offset(offset)) => {
                    resolved.insert(TopicPartition::new(answer.topic(), answer.partition()), offset);
                    None
                }
                (Ok(()), _) => Some((KafkaError::MetadataFetch(Code::NoOffset), answer.topic().to_owned())),
                (Err(error), _) => Some((error, answer.topic().to_owned())),
            }),
            Err(error) => Some((error, String::new())),
        };
        let Some((error, topic)) = failed else { return Ok(()) };
        // A new topic's leader may not yet know that it is, or of the topic.
        let passes = |code| passes(code) || code == Code::UnknownTopicOrPartition && began.elapsed() < NEW_TOPIC;
        if !error.rdkafka_error_code().is_some_and(passes) || Instant::now() >= until {
            return Err(at(from_kafka(&error, &topic), "list offsets"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
