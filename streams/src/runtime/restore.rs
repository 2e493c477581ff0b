//! Restoring a task's stores from their changelogs.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use millstream_broker::{Broker, Consumer, ConsumerOptions, Isolation, Position, TopicPartition};
use millstream_topology::{
    TaskId,
    dataflow::{Command, DataflowId, WorkerHandle},
    store::bytes::RocksState,
};

use super::{Status, StreamsError, tasks::Fetched, topics::Plan};

/// How long nothing may come while a changelog is not at its end.
const STALLED: Duration = Duration::from_secs(60);

/// Replays what a task's changelogs hold after what local state has.
///
/// # Errors
/// The broker's, or that nothing came for a minute.
pub fn restore(
    broker: &dyn Broker,
    plan: &Plan,
    rocks: Option<&Arc<RocksState>>,
    worker: &WorkerHandle,
    dataflow: DataflowId,
    task: TaskId,
    committed_only: bool,
) -> Result<(), StreamsError> {
    let changelogs = plan.changelogs(task.subtopology);
    if changelogs.is_empty() {
        return Ok(());
    }
    let isolation = if committed_only { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    let mut consumer = broker.consumer(ConsumerOptions { isolation, max_poll_records: 10_000, ..ConsumerOptions::default() })?;
    let partitions: Vec<_> = changelogs.iter().map(|logged| TopicPartition::new(logged.topic.clone(), task.partition)).collect();
    let ends = consumer.end_offsets(&partitions, STALLED)?;
    let mut start = vec![];
    for (partition, logged) in partitions.iter().zip(changelogs) {
        let stored = rocks.filter(|_| logged.persistent).map(|rocks| rocks.offset(&partition.topic, partition.partition)).transpose();
        let stored = stored.map_err(millstream_topology::Error::from)?.flatten();
        start.push((partition.clone(), stored.map_or(Position::Beginning, Position::Offset)));
    }
    consumer.assign(&start)?;
    let mut open: Vec<_> = partitions.clone();
    let mut last = Instant::now();
    loop {
        let mut still = vec![];
        for partition in open {
            if consumer.position(&partition)? < ends.get(&partition).copied().unwrap_or(0) {
                still.push(partition);
            }
        }
        open = still;
        if open.is_empty() {
            return Ok(());
        }
        for batch in consumer.poll(Duration::from_millis(100))? {
            last = Instant::now();
            let store = changelogs.iter().find(|logged| logged.topic == batch.from.topic).map(|logged| logged.store.clone());
            if let (Some(store), false) = (store, batch.records.is_empty()) {
                let command = Command::Restore(dataflow, task, store, Box::new(Fetched(batch)));
                worker.send(command).map_err(|error| StreamsError::System(error.to_string()))?;
            }
        }
        if last.elapsed() > STALLED {
            return Err(StreamsError::Timeout("restoring a store from its changelog"));
        }
    }
}

/// Reads the topics of global tables to their ends, then follows them on a thread of its own until the application stops.
pub(super) fn follow_globals(
    broker: &dyn Broker,
    topics: &BTreeSet<Arc<str>>,
    worker: &WorkerHandle,
    dataflow: DataflowId,
    status: Arc<Status>,
) -> Result<(), StreamsError> {
    if topics.is_empty() {
        return Ok(());
    }
    let mut consumer = broker.consumer(ConsumerOptions { max_poll_records: 10_000, ..ConsumerOptions::default() })?;
    let mut partitions = vec![];
    for topic in topics {
        let count = broker.admin().describe_topic(topic, STALLED)?.partitions;
        partitions.extend((0..count).map(|partition| TopicPartition::new(topic.clone(), partition)));
    }
    let ends = consumer.end_offsets(&partitions, STALLED)?;
    consumer.assign(&partitions.iter().map(|partition| (partition.clone(), Position::Beginning)).collect::<Vec<_>>())?;
    let worker = worker.clone();
    let feed = move |consumer: &mut dyn Consumer| -> Result<bool, StreamsError> {
        let batches = consumer.poll(Duration::from_millis(100))?;
        let some = !batches.is_empty();
        for batch in batches {
            let command = Command::FeedGlobal(dataflow, batch.from.topic.clone(), Box::new(Fetched(batch)));
            worker.send(command).map_err(|error| StreamsError::System(error.to_string()))?;
        }
        Ok(some)
    };
    let mut last = Instant::now();
    loop {
        let mut behind = false;
        for partition in &partitions {
            behind |= consumer.position(partition)? < ends.get(partition).copied().unwrap_or(0);
        }
        if !behind {
            break;
        }
        if feed(&mut *consumer)? {
            last = Instant::now();
        } else if last.elapsed() > STALLED {
            return Err(StreamsError::Timeout("reading a global table"));
        }
    }
    let follow = move || {
        while !status.stop.load(SeqCst) {
            if let Err(error) = feed(&mut *consumer) {
                return status.fail(error);
            }
        }
    };
    std::thread::Builder::new()
        .name("GlobalStreamThread".into())
        .spawn(follow)
        .map_err(|error| StreamsError::System(format!("no thread: {error}")))?;
    Ok(())
}
