//! Where a worker's outputs become records of a broker.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use millstream_broker::{Admin, Header, Headers, ProduceBatch, Producer, Record, TopicPartition, partition_for_key};
use millstream_topology::{
    Output, Target, TaskId,
    dataflow::{ClosedEpoch, DataflowId, EpochSink},
};

use super::StreamsError;

/// How long a topic's partitions may take to be looked up, once per topic.
const LOOK_UP: Duration = Duration::from_secs(10);

/// What a worker has put out and what has become of it, shared between the worker's thread and the one that commits.
#[derive(Clone)]
pub(crate) struct Outbox(Arc<Mutex<Inner>>);

struct Inner {
    producer: Arc<dyn Producer>,
    admin: Arc<dyn Admin>,
    partitions: HashMap<Arc<str>, i32>,
    /// For records without a key: the next partition.
    next: i32,
    /// Whether outputs wait: those of the epoch after the one that is being committed in a transaction.
    transactional: bool,
    held: Option<Vec<ProduceBatch>>,
    closed: Option<ClosedEpoch>,
    failed: Option<StreamsError>,
    /// The next offset of each topic-partition, as far as acknowledged.
    acknowledged: Arc<Mutex<HashMap<TopicPartition, i64>>>,
    wake: Box<dyn Fn() + Send>,
}

impl Outbox {
    pub fn new(
        producer: Arc<dyn Producer>,
        admin: Arc<dyn Admin>,
        partitions: HashMap<Arc<str>, i32>,
        transactional: bool,
        wake: Box<dyn Fn() + Send>,
    ) -> Self {
        let acknowledged = Arc::default();
        let inner =
            Inner { producer, admin, partitions, next: 0, transactional, held: None, closed: None, failed: None, acknowledged, wake };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch that is complete, once.
    pub fn take_closed(&self) -> Option<ClosedEpoch> {
        self.lock().closed.take()
    }

    /// What failed, once.
    pub fn take_failure(&self) -> Option<StreamsError> {
        self.lock().failed.take()
    }

    /// Notes a failure that happened elsewhere.
    pub fn fail(&self, error: StreamsError) {
        self.lock().fail(error);
    }

    /// Sends what waited for the commit.
    pub fn release(&self) -> Result<(), StreamsError> {
        let mut inner = self.lock();
        for batch in inner.held.take().unwrap_or_default() {
            inner.send(batch)?;
        }
        Ok(())
    }

    /// The next offset of a topic-partition, if something was sent there and acknowledged.
    pub fn acknowledged(&self, partition: &TopicPartition) -> Option<i64> {
        let acknowledged = self.lock().acknowledged.clone();
        acknowledged.lock().unwrap_or_else(PoisonError::into_inner).get(partition).copied()
    }
}

impl EpochSink for Outbox {
    fn outputs(&mut self, _: DataflowId, _: TaskId, outputs: Vec<Output>) {
        let mut inner = self.lock();
        if let Err(error) = inner.take(outputs) {
            inner.fail(error);
        }
    }

    fn closed(&mut self, epoch: ClosedEpoch) {
        let mut inner = self.lock();
        if inner.transactional {
            inner.held = Some(vec![]);
        }
        inner.closed = Some(epoch);
        (inner.wake)();
    }

    fn failed(&mut self, _: DataflowId, task: Option<TaskId>, error: millstream_topology::Error) {
        tracing::error!(task = task.map(|task| task.to_string()), %error, "task failed");
        self.lock().fail(error.into());
    }
}

impl Inner {
    fn fail(&mut self, error: StreamsError) {
        self.failed.get_or_insert(error);
        (self.wake)();
    }

    /// Sends outputs in runs of one topic-partition, in order.
    fn take(&mut self, outputs: Vec<Output>) -> Result<(), StreamsError> {
        let mut batches: Vec<ProduceBatch> = vec![];
        let mut at: HashMap<TopicPartition, usize> = HashMap::new();
        for Output { topic, target, record } in outputs {
            let partition = self.partition(&topic, &target, record.key.as_deref())?;
            let to = TopicPartition { topic, partition };
            let headers = match record.headers.is_empty() {
                true => Headers::empty(),
                false => record.headers.to_vec().into_iter().map(|h| Header { name: h.name, value: h.value }).collect(),
            };
            let record = Record { key: record.key, value: record.value, timestamp: record.timestamp, headers };
            match batches.last_mut().filter(|last| last.to == to) {
                Some(last) => last.records.push(record),
                None => match at.get(&to) {
                    Some(&batch) => batches[batch].records.push(record),
                    None => {
                        at.insert(to.clone(), batches.len());
                        batches.push(ProduceBatch { to, records: vec![record] });
                    }
                },
            }
        }
        match &mut self.held {
            Some(held) => held.extend(batches),
            None => batches.into_iter().try_for_each(|batch| self.send(batch))?,
        }
        Ok(())
    }

    fn send(&mut self, batch: ProduceBatch) -> Result<(), StreamsError> {
        let (acknowledged, to, count) = (self.acknowledged.clone(), batch.to.clone(), batch.records.len() as i64);
        let note = move |outcome: Result<i64, millstream_broker::Error>| {
            if let Ok(first) = outcome {
                acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(to, first + count);
            }
        };
        Ok(self.producer.send(batch, Some(Box::new(note)))?)
    }

    fn partition(&mut self, topic: &Arc<str>, target: &Target, key: Option<&[u8]>) -> Result<i32, StreamsError> {
        if let Target::Partition(partition) = target {
            return Ok(*partition);
        }
        let count = match self.partitions.get(topic) {
            Some(&count) => count,
            None => {
                let count = self.admin.describe_topic(topic, LOOK_UP)?.partitions;
                self.partitions.insert(topic.clone(), count);
                count
            }
        };
        Ok(match (target, key) {
            (Target::Hash(bytes), _) => partition_for_key(bytes, count),
            (_, Some(key)) => partition_for_key(key, count),
            (_, None) => {
                self.next = (self.next + 1) % count;
                self.next
            }
        })
    }
}
