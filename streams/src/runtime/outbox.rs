//! Where a worker's outputs become records of a broker.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use millstream_broker::{Admin, Error as BrokerError, Header, Headers, ProduceBatch, Producer, Record, TopicPartition, partition_for_key};
use millstream_topology::{
    Output, Target, TaskId,
    dataflow::{ClosedEpoch, DataflowId, EpochSink},
};
use parking_lot::Mutex;

use super::{FailedRecord, ProductionExceptionHandler, ProductionExceptionHandlerResponse, StreamsError, now_ms};

/// How long a topic's partitions may take to be looked up, once per topic.
const LOOK_UP: Duration = Duration::from_secs(10);

/// What a worker has put out and what has become of it, shared between the worker's thread and the one that commits.
#[derive(Clone)]
pub(crate) struct Outbox(Arc<Mutex<Inner>>);

/// What an outbox is made with.
pub(crate) struct OutboxOptions {
    pub producer: Arc<dyn Producer>,
    pub admin: Arc<dyn Admin>,
    pub transactional: bool,
    pub partitions: HashMap<Arc<str>, i32>,
    pub handler: Arc<dyn ProductionExceptionHandler>,
    pub dead_letter_topic: Option<Arc<str>>,
    pub wake: Box<dyn Fn() + Send>,
}

struct Inner {
    options: OutboxOptions,
    /// For records without a key: the next partition.
    next: i32,
    /// The outputs of the epoch after the one that is being committed: they wait, so that what is acknowledged is the epoch's.
    held: Option<Vec<ProduceBatch>>,
    /// A transaction is open. It is begun with its first record, so that an idle thread has none that could expire.
    in_transaction: bool,
    /// Nobody commits any more.
    abandoned: bool,
    closed: Option<ClosedEpoch>,
    failed: Option<StreamsError>,
    worked: bool,
    commit_requested: bool,
    consumed: HashMap<TopicPartition, i64>,
    fates: Arc<Mutex<Fates>>,
}

/// What became of what was sent; the broker's threads write here.
#[derive(Default)]
struct Fates {
    /// The next offset of each topic-partition, as far as acknowledged.
    acknowledged: HashMap<TopicPartition, i64>,
    /// What was not written.
    lost: Vec<(Arc<ProduceBatch>, BrokerError)>,
}

/// What has happened since the last look.
#[derive(Default)]
pub(crate) struct News {
    pub closed: Option<ClosedEpoch>,
    pub worked: bool,
    pub commit_requested: bool,
}

impl Outbox {
    pub fn new(options: OutboxOptions) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            options,
            next: 0,
            held: None,
            in_transaction: false,
            abandoned: false,
            closed: None,
            failed: None,
            worked: false,
            commit_requested: false,
            consumed: HashMap::new(),
            fates: Arc::default(),
        })))
    }

    /// What has happened, or what failed; once.
    pub fn news(&self) -> Result<News, StreamsError> {
        let mut inner = self.0.lock();
        match inner.failed.take() {
            Some(error) => Err(error),
            None => Ok(News {
                closed: inner.closed.take(),
                worked: std::mem::take(&mut inner.worked),
                commit_requested: std::mem::take(&mut inner.commit_requested),
            }),
        }
    }

    /// Notes a failure that happened elsewhere.
    pub fn fail(&self, error: StreamsError) {
        self.0.lock().fail(error);
    }

    /// Waits until all that was sent is written, or its handler has decided that it need not be.
    pub fn flush(&self, deadline: Duration) -> Result<(), StreamsError> {
        let (producer, fates) = {
            let inner = self.0.lock();
            (inner.options.producer.clone(), inner.fates.clone())
        };
        let outcome = producer.flush(deadline);
        let lost = std::mem::take(&mut fates.lock().lost);
        if lost.is_empty() {
            return Ok(outcome?);
        }
        let inner = self.0.lock();
        lost.iter().try_for_each(|(batch, error)| batch.records.iter().try_for_each(|record| inner.decide(&batch.to, record, error)))
    }

    /// Begins a transaction if none is open.
    pub fn begin_transaction(&self) -> Result<(), StreamsError> {
        Ok(self.0.lock().begin_transaction()?)
    }

    pub fn is_in_transaction(&self) -> bool {
        self.0.lock().in_transaction
    }

    /// It is committed.
    pub fn transaction_ended(&self) {
        self.0.lock().in_transaction = false;
    }

    /// From now on outputs are dropped. The answer is whether a transaction is to be aborted.
    pub fn abandon(&self) -> bool {
        let mut inner = self.0.lock();
        inner.abandoned = true;
        std::mem::take(&mut inner.in_transaction)
    }

    /// Sends what waited for the commit.
    pub fn release(&self) -> Result<(), StreamsError> {
        let mut inner = self.0.lock();
        for batch in inner.held.take().unwrap_or_default() {
            inner.send(batch)?;
        }
        Ok(())
    }

    /// The next offset of a topic-partition, if something was sent there and acknowledged.
    pub fn acknowledged(&self, partition: &TopicPartition) -> Option<i64> {
        let fates = self.0.lock().fates.clone();
        fates.lock().acknowledged.get(partition).copied()
    }

    /// Up to where a partition was processed, of tasks that read several.
    pub fn consumed(&self, partition: &TopicPartition) -> Option<i64> {
        self.0.lock().consumed.get(partition).copied()
    }

    /// Forgets how far a partition was processed.
    pub fn forget(&self, partition: &TopicPartition) {
        self.0.lock().consumed.remove(partition);
    }
}

impl EpochSink for Outbox {
    fn outputs(&mut self, _: DataflowId, _: TaskId, outputs: Vec<Output>) {
        let mut inner = self.0.lock();
        if let Err(error) = inner.take(outputs) {
            inner.fail(error);
        }
    }

    fn closed(&mut self, epoch: ClosedEpoch) {
        let mut inner = self.0.lock();
        inner.held = Some(vec![]);
        inner.closed = Some(epoch);
        (inner.options.wake)();
    }

    fn failed(&mut self, _: DataflowId, task: Option<TaskId>, error: millstream_topology::Error) {
        tracing::error!(task = task.map(|task| task.to_string()), %error, "task failed");
        self.0.lock().fail(error.into());
    }

    fn worked(&mut self, _: DataflowId, commit_requested: bool) {
        let mut inner = self.0.lock();
        inner.worked = true;
        inner.commit_requested |= commit_requested;
        (inner.options.wake)();
    }

    fn consumed(&mut self, _: DataflowId, task: TaskId, topic: Arc<str>, offset: i64) {
        let mut inner = self.0.lock();
        inner.consumed.insert(TopicPartition { topic, partition: task.partition }, offset);
        (inner.options.wake)();
    }
}

impl Inner {
    fn fail(&mut self, error: StreamsError) {
        self.failed.get_or_insert(error);
        (self.options.wake)();
    }

    fn begin_transaction(&mut self) -> Result<(), BrokerError> {
        if self.options.transactional && !self.in_transaction {
            self.options.producer.begin_transaction()?;
            self.in_transaction = true;
        }
        Ok(())
    }

    /// Sends outputs in runs of one topic-partition, in order.
    fn take(&mut self, outputs: Vec<Output>) -> Result<(), StreamsError> {
        if self.abandoned {
            return Ok(());
        }
        let mut batches: Vec<ProduceBatch> = vec![];
        let mut at: HashMap<TopicPartition, usize> = HashMap::new();
        for Output { topic, target, record } in outputs {
            let partition = self.partition(&topic, &target, record.key.as_deref())?;
            let to = TopicPartition { topic, partition };
            let headers = match record.headers.is_empty() {
                true => Headers::empty(),
                false => record.headers.to_vec().into_iter().map(|h| Header { name: h.name, value: h.value }).collect(),
            };
            // A record of no time (the buffers' changelogs) gets that of its writing, as Kafka's producer does it.
            let timestamp = if record.timestamp < 0 { now_ms() } else { record.timestamp };
            let record = Record { key: record.key, value: record.value, timestamp, headers };
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
        self.begin_transaction()?;
        let sent = Arc::new(batch.clone());
        let (fates, noted) = (self.fates.clone(), sent.clone());
        let note = move |outcome: Result<i64, BrokerError>| match outcome {
            Ok(first) => drop(fates.lock().acknowledged.insert(noted.to.clone(), first + noted.records.len() as i64)),
            Err(error) => fates.lock().lost.push((noted, error)),
        };
        let outcome = self.options.producer.send(batch, Some(Box::new(note)));
        match (outcome, &sent.records[..]) {
            (Ok(()), _) => Ok(()),
            (Err(error), [record]) => self.decide(&sent.to, record, &error),
            // One of them is at fault: each is tried by itself.
            (Err(_), records) => {
                let alone = |record: &Record| ProduceBatch { to: sent.to.clone(), records: vec![record.clone()] };
                records.iter().try_for_each(|record| self.send(alone(record)))
            }
        }
    }

    /// Asks the handler what becomes of a record that could not be written.
    fn decide(&self, to: &TopicPartition, record: &Record, error: &BrokerError) -> Result<(), StreamsError> {
        let failed = FailedRecord { topic: &to.topic, partition: to.partition, record };
        let failure = |retry| StreamsError::Production { topic: to.topic.to_string(), error: error.clone(), retry };
        match self.options.handler.handle(&failed, error) {
            ProductionExceptionHandlerResponse::Retry => Err(failure(true)),
            ProductionExceptionHandlerResponse::Fail => {
                self.dead_letter(to, record, error);
                Err(failure(false))
            }
            ProductionExceptionHandlerResponse::Continue => {
                tracing::warn!(topic = &*to.topic, partition = to.partition, %error, "record dropped");
                self.dead_letter(to, record, error);
                Ok(())
            }
        }
    }

    /// Says in the dead-letter topic what was not written. The source record is not known any more: key and value are null, as in Kafka
    /// Streams.
    fn dead_letter(&self, to: &TopicPartition, record: &Record, error: &BrokerError) {
        let Some(topic) = self.options.dead_letter_topic.clone().filter(|topic| *topic != to.topic) else { return };
        let text = |name: &str, text: String| Header { name: format!("__streams.errors.{name}").into(), value: Some(Bytes::from(text)) };
        let about = [
            text("exception", "Production".into()),
            text("message", error.to_string()),
            text("stacktrace", error.to_string()),
            text("topic", to.topic.to_string()),
            text("partition", to.partition.to_string()),
        ];
        let headers = record.headers.iter().cloned().chain(about).collect();
        let record = Record { key: None, value: None, timestamp: record.timestamp, headers };
        let batch = ProduceBatch { to: TopicPartition::new(topic, 0), records: vec![record] };
        if let Err(error) = self.options.producer.send(batch, None) {
            tracing::error!(%error, "dead letter not written");
        }
    }

    fn partition(&mut self, topic: &Arc<str>, target: &Target, key: Option<&[u8]>) -> Result<i32, StreamsError> {
        if let Target::Partition(partition) = target {
            return Ok(*partition);
        }
        let count = match self.options.partitions.get(topic) {
            Some(&count) => count,
            None => {
                let count = self.options.admin.describe_topic(topic, LOOK_UP)?.partitions;
                self.options.partitions.insert(topic.clone(), count);
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
