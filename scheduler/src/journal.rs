//! The state topic: one compacted partition, written by one scheduler at a time.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use millstream_broker::{
    Broker, Consumer, ConsumerOptions, Error as BrokerError, NewTopic, Position, ProduceBatch, Producer, ProducerOptions, Record,
    TopicPartition,
};
use tokio::sync::{mpsc, oneshot};

use crate::Error;

const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(500);
/// How often a write is tried, and how long to wait before each next attempt.
const BACK_OFF: [Duration; 4] = [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(2), Duration::from_secs(5)];
/// How many writes wait for the thread that writes.
const QUEUE: usize = 4;

/// Writes, newest per key; without a value: a tombstone.
pub(crate) type Writes = BTreeMap<String, Option<Vec<u8>>>;

type Request = (Writes, oneshot::Sender<Result<(), BrokerError>>);

/// **Law.** [`Journal::write`] returns when the writes are durable, all of them or none. Who opened the journal before is fenced before it
/// is read, so what is read is all that was ever acknowledged.
#[derive(Debug)]
pub(crate) struct Journal {
    topic: String,
    namespace: String,
    requests: mpsc::Sender<Request>,
}

impl Journal {
    /// Fences the scheduler before, reads the newest record of each key, and starts the thread that writes. Blocks.
    pub(crate) fn open(broker: &dyn Broker, topic: &str, namespace: &str) -> Result<(Self, BTreeMap<String, Bytes>), Error> {
        let failed = |error| failure(topic, namespace, error);
        broker.admin().create_topics(&[NewTopic::new(topic, 1).compacted()], DEADLINE).map_err(failed)?;
        let options = ProducerOptions { transactional_id: Some(format!("millstream-scheduler-{namespace}")), ..Default::default() };
        let producer = broker.producer(options).map_err(failed)?;
        producer.init_transactions(DEADLINE).map_err(failed)?;
        let partition = TopicPartition::new(topic, 0);
        let mut consumer = broker.consumer(ConsumerOptions::default()).map_err(failed)?;
        let records = replay(consumer.as_mut(), &partition).map_err(failed)?;
        let (requests, receiver) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("scheduler-journal".into())
            .spawn(move || serve(producer, &partition, receiver))
            .map_err(|error| failed(BrokerError::Other(format!("cannot start a thread: {error}"))))?;
        Ok((Self { topic: topic.into(), namespace: namespace.into(), requests }, records))
    }

    pub(crate) async fn write(&self, writes: Writes) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.requests.send((writes, done)).await.map_err(|_| Error::Stopped("journal"))?;
        let result = answer.await.map_err(|_| Error::Stopped("journal"))?;
        result.map_err(|error| failure(&self.topic, &self.namespace, error))
    }
}

fn failure(topic: &str, namespace: &str, error: BrokerError) -> Error {
    match error {
        BrokerError::Fenced(_) => Error::Fenced(namespace.into()),
        source => Error::Journal { topic: topic.into(), source },
    }
}

fn replay(consumer: &mut dyn Consumer, partition: &TopicPartition) -> Result<BTreeMap<String, Bytes>, BrokerError> {
    let end = consumer.end_offsets(std::slice::from_ref(partition), DEADLINE)?.get(partition).copied().unwrap_or(0);
    consumer.assign(&[(partition.clone(), Position::Beginning)])?;
    let mut records = BTreeMap::new();
    let start = std::time::Instant::now();
    let mut position = consumer.position(partition)?;
    while position < end {
        if start.elapsed() > DEADLINE {
            return Err(BrokerError::Timeout("reading the state topic"));
        }
        for batch in consumer.poll(POLL)? {
            for stored in batch.records {
                let Some(key) = stored.record.key.and_then(|key| String::from_utf8(key.into()).ok()) else { continue };
                match stored.record.value {
                    Some(value) => records.insert(key, value),
                    None => records.remove(&key),
                };
            }
            position = batch.next_offset;
        }
    }
    Ok(records)
}

fn serve(producer: Arc<dyn Producer>, partition: &TopicPartition, mut requests: mpsc::Receiver<Request>) {
    while let Some((writes, done)) = requests.blocking_recv() {
        let result = persist(producer.as_ref(), partition, &writes);
        let fatal = result.is_err();
        let _ = done.send(result); // nobody waits when the scheduler stops
        if fatal {
            return;
        }
    }
}

/// Writing the same again does no harm, so what failed is written again; but never by a producer that initialised itself anew: that would
/// fence the scheduler that took over.
fn persist(producer: &dyn Producer, partition: &TopicPartition, writes: &Writes) -> Result<(), BrokerError> {
    let mut pauses = BACK_OFF.iter();
    loop {
        let Err(error) = attempt(producer, partition, writes) else { return Ok(()) };
        let pause = pauses.next().filter(|_| !error.is_fatal());
        let Some(pause) = pause.filter(|_| producer.abort_transaction(DEADLINE).is_ok()) else { return Err(error) };
        tracing::warn!(%error, "state topic not written, trying again");
        std::thread::sleep(*pause);
    }
}

fn attempt(producer: &dyn Producer, partition: &TopicPartition, writes: &Writes) -> Result<(), BrokerError> {
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let record = |(key, value): (&String, &Option<Vec<u8>>)| Record {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.as_deref().map(Bytes::copy_from_slice),
        timestamp,
        ..Default::default()
    };
    producer.begin_transaction()?;
    producer.send(ProduceBatch { to: partition.clone(), records: writes.iter().map(record).collect() }, None)?;
    producer.commit_transaction(DEADLINE)
}
