//! Reading.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    topic_partition_list::Offset,
    types::RDKafkaErrorCode as Code,
};

use super::{
    Cluster, MemberHandle,
    context::Context,
    errors::{from_code, from_kafka, passes},
    offsets::{self, commit, resolve},
    partition::{End, Partition, Read},
};
use crate::{
    Consumer, ConsumerOptions, Error, FetchedBatch, GroupMetadata, Isolation, OffsetReset, Offsets, Position, RebalanceListener,
    TopicPartition, Waker,
    names::Names,
    signal::{Reader, Signal},
};

/// How many bytes one poll may bring, beside the record that crosses the line.
const POLL_BYTES: usize = 16 << 20;
/// How long calls wait that have no deadline of their own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// A member polls at least so often, or its group takes it for dead.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How soon what failed is tried again.
pub(crate) const TRY_AGAIN: Duration = Duration::from_millis(50);

/// **Law.** Every partition has a queue of its own, which tells when it is no longer empty; the poll sleeps until one does. A paused
/// partition's queue is left alone: it is bounded, and what it holds is not fetched twice.
pub(crate) struct KafkaConsumer {
    // Before the client: queues belong to it.
    partitions: HashMap<u64, Partition>,
    pub(crate) slots: HashMap<TopicPartition, u64>,
    /// Ends that were asked for before the next assignment.
    asked: HashMap<TopicPartition, i64>,
    last_slot: u64,
    ready: VecDeque<u64>,
    names: Names,
    signal: Arc<Signal>,
    pub(crate) client: Arc<BaseConsumer<Context>>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) options: ConsumerOptions,
    pub(crate) membership: Option<Box<dyn RebalanceListener>>,
    pub(crate) generation: i32,
}

impl KafkaConsumer {
    pub fn new(cluster: Arc<Cluster>, options: ConsumerOptions) -> Result<Self, Error> {
        let options = ConsumerOptions { max_poll_records: options.max_poll_records.max(1), ..options };
        let settings = settings(&cluster, &options);
        let signal: Arc<Signal> = Arc::default();
        let mut client: BaseConsumer<Context> =
            cluster.config(&settings).create_with_context(Context::default()).map_err(|e| from_kafka(&e, ""))?;
        let told = signal.clone();
        client.set_nonempty_callback(move || told.nudge());
        Ok(Self {
            partitions: HashMap::new(),
            slots: HashMap::new(),
            asked: HashMap::new(),
            last_slot: 0,
            ready: VecDeque::new(),
            names: Names::default(),
            signal,
            client: Arc::new(client),
            cluster,
            options,
            membership: None,
            generation: -1,
        })
    }

    fn partition(&mut self, name: &TopicPartition) -> Result<&mut Partition, Error> {
        let unassigned = || Error::State(format!("{} {} is not assigned: assign it first", name.topic, name.partition));
        self.slots.get(name).and_then(|slot| self.partitions.get_mut(slot)).ok_or_else(unassigned)
    }

    /// Reads these, and no others.
    pub(crate) fn take(&mut self, positions: HashMap<TopicPartition, i64>) -> Result<(), Error> {
        self.drop_partitions();
        let asked = std::mem::take(&mut self.asked);
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (name, position) in positions {
            list.add_partition_offset(&name.topic, name.partition, Offset::Offset(position)).map_err(|e| from_kafka(&e, &name.topic))?;
            // Before the assignment: from its first record on, the partition has its queue.
            let queue = self.client.split_partition_queue(&name.topic, name.partition);
            let queue = queue.ok_or_else(|| Error::UnknownTopic(name.topic.to_string()))?;
            self.last_slot += 1;
            let reader = Reader::new(self.signal.clone(), self.last_slot);
            self.slots.insert(name.clone(), self.last_slot);
            let mut partition = Partition::new(name, position, reader, queue);
            // Reading begins after that end was asked for, so the first end that is reached is at it or behind.
            let known = asked.get(&partition.name).copied().filter(|end| *end > position);
            partition.end = End { reached: false, known, confirming: known.is_some() };
            self.partitions.insert(self.last_slot, partition);
        }
        self.client.assign(&list).map_err(|e| from_kafka(&e, ""))
    }

    pub(crate) fn drop_partitions(&mut self) {
        self.slots.clear();
        self.partitions.clear();
        self.ready.clear();
    }

    fn seek_to(&mut self, name: &TopicPartition, offset: i64, end: End) -> Result<(), Error> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&name.topic, name.partition, Offset::Offset(offset)).map_err(|e| from_kafka(&e, &name.topic))?;
            let answer = self.client.seek_partitions(list, PATIENCE).map_err(|e| from_kafka(&e, &name.topic))?;
            let result = answer.elements().first().map_or(Ok(()), |element| element.error());
            match result.map_err(|e| e.rdkafka_error_code()) {
                Ok(()) => break,
                // The assignment is still on its way.
                Err(Some(Code::State | Code::PreviousInProgress | Code::InProgress)) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(code) => return Err(code.map_or(Error::Timeout("seek"), |code| from_code(code, &name.topic))),
            }
        }
        let partition = self.partition(name)?;
        partition.position = offset;
        partition.end = end;
        partition.reader.tell();
        Ok(())
    }

    fn collect(&mut self) -> Result<Vec<FetchedBatch>, Error> {
        let mut batches = Vec::new();
        let (mut records, mut bytes) = (self.options.max_poll_records, POLL_BYTES);
        self.signal.take_ready(&mut self.ready);
        while records > 0
            && bytes > 0
            && let Some(slot) = self.ready.pop_front()
        {
            let Some(partition) = self.partitions.get_mut(&slot) else { continue };
            let (name, position) = (partition.name.clone(), partition.position);
            match partition.read(&mut records, &mut bytes, &mut self.names) {
                Read::Nothing => {}
                Read::Batch(batch, more) => {
                    if more {
                        self.ready.push_back(slot);
                    }
                    batches.push(batch);
                }
                Read::ConfirmEnd => {
                    let end = End { reached: false, confirming: true, ..partition.end };
                    self.seek_to(&name, position, end)?;
                }
                Read::Failed(code) if passes(code) => {
                    tracing::warn!(topic = &*name.topic, partition = name.partition, %code, "cannot be read for the moment");
                    self.ready.push_back(slot);
                }
                Read::Failed(code) => {
                    if matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) {
                        self.cluster.forget(&name.topic);
                        self.slots.remove(&name);
                        self.partitions.remove(&slot);
                    }
                    let error = from_code(code, &name.topic);
                    if batches.is_empty() {
                        return Err(error);
                    }
                    tracing::warn!(topic = &*name.topic, partition = name.partition, %error, "cannot be read");
                }
            }
        }
        Ok(batches)
    }
}

fn settings(cluster: &Cluster, options: &ConsumerOptions) -> [(&'static str, String); 16] {
    // librdkafka wants a group of every consumer; the group of one that never commits does not come to be.
    let alone = || format!("millstream-alone-{}-{}", std::process::id(), cluster.next_client());
    let session = options.session_timeout.as_millis();
    [
        ("group.id", options.group_id.clone().unwrap_or_else(alone)),
        ("enable.auto.commit", "false".into()),
        ("enable.auto.offset.store", "false".into()),
        ("partition.assignment.strategy", "range".into()),
        ("session.timeout.ms", session.to_string()),
        ("heartbeat.interval.ms", (session / 3).clamp(1, 1000).to_string()),
        ("max.poll.interval.ms", session.max(300_000).to_string()),
        (
            "auto.offset.reset",
            match options.offset_reset {
                OffsetReset::Earliest => "earliest".into(),
                OffsetReset::Latest => "latest".into(),
                OffsetReset::None => "error".into(),
            },
        ),
        (
            "isolation.level",
            match options.isolation {
                Isolation::ReadCommitted => "read_committed".into(),
                Isolation::ReadUncommitted => "read_uncommitted".into(),
            },
        ),
        // Also without isolation: a topic may end in the markers of somebody's transactions.
        ("enable.partition.eof", "true".into()),
        // With the default, a consumer that keeps up sleeps for a second whenever its queue is full.
        ("fetch.queue.backoff.ms", "5".into()),
        ("fetch.min.bytes", "1".into()),
        // A partition that is added waits for the request that is under way.
        ("fetch.wait.max.ms", "100".into()),
        ("fetch.error.backoff.ms", "50".into()),
        ("queued.min.messages", "100000".into()),
        ("queued.max.messages.kbytes", "16384".into()),
    ]
}

impl Consumer for KafkaConsumer {
    fn assign(&mut self, partitions: &[(TopicPartition, Position)]) -> Result<(), Error> {
        if self.membership.is_some() {
            return Err(Error::State("the group assigns this consumer's partitions: unsubscribe first".into()));
        }
        let positions = resolve(&self.cluster, &self.client, partitions, PATIENCE)?;
        self.take(positions)
    }

    fn subscribe(&mut self, topics: &[&str], listener: Box<dyn RebalanceListener>) -> Result<(), Error> {
        if self.options.group_id.is_none() {
            return Err(Error::State("the consumer has no group: make one with a group id".into()));
        }
        for topic in topics {
            self.cluster.partitions(topic, PATIENCE)?;
        }
        if self.membership.is_none() {
            self.drop_partitions();
            self.client.unassign().map_err(|e| from_kafka(&e, ""))?;
        }
        self.membership = Some(listener);
        self.client.subscribe(topics).map_err(|e| from_kafka(&e, ""))
    }

    fn unsubscribe(&mut self) -> Result<(), Error> {
        self.revoke()?;
        if self.membership.take().is_some() {
            self.client.unsubscribe();
            self.generation = -1;
            // What the group still has to say must not be taken for news of a later assignment.
            let until = Instant::now() + PATIENCE;
            while self.client.subscription().is_ok_and(|topics| topics.count() > 0) && Instant::now() < until {
                self.follow_group()?;
                std::thread::sleep(Duration::from_millis(1));
            }
            self.follow_group()?;
        }
        Ok(())
    }

    fn poll(&mut self, deadline: Duration) -> Result<Vec<FetchedBatch>, Error> {
        let until = Instant::now() + deadline;
        loop {
            let look_again = self.follow_group()?;
            let batches = self.collect()?;
            let now = Instant::now();
            if self.signal.take_woken() || !batches.is_empty() || now >= until {
                return Ok(batches);
            }
            if self.ready.is_empty() {
                self.signal.wait(until.min(look_again.unwrap_or(now + LONGEST_WAIT)));
            } else {
                // A partition that fails for the moment.
                self.signal.wait(until.min(now + TRY_AGAIN));
            }
        }
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.signal.clone()
    }

    fn seek(&mut self, partition: &TopicPartition, position: Position) -> Result<(), Error> {
        self.partition(partition)?;
        let resolved = resolve(&self.cluster, &self.client, &[(partition.clone(), position)], PATIENCE)?;
        resolved.into_iter().try_for_each(|(name, offset)| self.seek_to(&name, offset, End::default()))
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        partitions.iter().try_for_each(|name| {
            self.partition(name)?.paused = true;
            Ok(())
        })
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        partitions.iter().try_for_each(|name| {
            let partition = self.partition(name)?;
            partition.paused = false;
            partition.reader.tell();
            Ok(())
        })
    }

    fn position(&mut self, partition: &TopicPartition) -> Result<i64, Error> {
        Ok(self.partition(partition)?.position)
    }

    fn committed(&mut self, partitions: &[TopicPartition], deadline: Duration) -> Result<Offsets, Error> {
        if self.options.group_id.is_none() {
            return Err(Error::State("the consumer has no group: make one with a group id".into()));
        }
        if partitions.is_empty() {
            return Ok(Offsets::new());
        }
        offsets::committed(&self.client, partitions, deadline)
    }

    fn commit(&mut self, offsets: &Offsets, _deadline: Duration) -> Result<(), Error> {
        if self.options.group_id.is_none() {
            return Err(Error::State("the consumer has no group: make one with a group id".into()));
        }
        commit(&self.client, offsets)
    }

    fn end_offsets(&mut self, partitions: &[TopicPartition], deadline: Duration) -> Result<HashMap<TopicPartition, i64>, Error> {
        let ends: Vec<_> = partitions.iter().map(|name| (name.clone(), Position::End)).collect();
        let ends = resolve(&self.cluster, &self.client, &ends, deadline)?;
        for (name, end) in &ends {
            let Ok(partition) = self.partition(name) else {
                self.asked.insert(name.clone(), *end);
                continue;
            };
            if partition.position < *end {
                partition.end = End { known: Some(*end), confirming: false, ..partition.end };
                // If the end was reached before: it has to be confirmed that it is this one.
                partition.reader.tell();
            }
        }
        Ok(ends)
    }

    fn group_metadata(&self) -> Result<GroupMetadata, Error> {
        let no_group = || Error::State("the consumer has no group: make one with a group id".into());
        let group_id = self.options.group_id.clone().ok_or_else(no_group)?;
        let kafka = self.client.group_metadata().map(|metadata| MemberHandle(Arc::new(metadata)));
        let member_id = if self.membership.is_some() { format!("{:p}", Arc::as_ptr(&self.client)) } else { String::new() };
        let generation = if self.membership.is_some() { self.generation.max(0) } else { -1 };
        Ok(GroupMetadata { group_id, generation, member_id, kafka })
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.client.context().close();
        self.drop_partitions();
        // A rebalance that was noted but not done would keep librdkafka from closing.
        let _ = self.client.unassign();
    }
}
