//! Up to where each pipeline has read its topics: a compacted topic, one partition for each partition of the data plane.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use millstream_broker::{Broker, Consumer, ConsumerOptions, Position, ProduceBatch, Producer, ProducerOptions, Record, TopicPartition};

use crate::EngineError;

/// How long the broker may take to answer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Offsets by pipeline and topic.
pub(crate) type Offsets = HashMap<(Arc<str>, Arc<str>), i64>;

/// Commits progress under the replica's transactional id.
///
/// **Law.** Whoever takes a lane over fences this id first and reads then: what is committed here later fails, and what was is seen.
pub(crate) struct Progress {
    topic: Arc<str>,
    producer: Arc<dyn Producer>,
}

impl Progress {
    pub fn open(broker: &dyn Broker, topic: Arc<str>, transactional_id: &str) -> Result<Self, EngineError> {
        let producer =
            broker.producer(ProducerOptions { transactional_id: Some(transactional_id.into()), ..ProducerOptions::default() })?;
        producer.init_transactions(DEADLINE)?;
        Ok(Self { topic, producer })
    }

    /// Commits these offsets of the lanes of each partition, all or nothing.
    pub fn commit(&self, offsets: impl IntoIterator<Item = (i32, Offsets)>) -> Result<(), EngineError> {
        let mut offsets = offsets.into_iter().filter(|(_, offsets)| !offsets.is_empty()).peekable();
        if offsets.peek().is_none() {
            return Ok(());
        }
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64);
        let commit = || -> Result<(), millstream_broker::Error> {
            self.producer.begin_transaction()?;
            for (partition, offsets) in offsets {
                let record = |((pipeline, topic), offset): ((Arc<str>, Arc<str>), i64)| Record {
                    key: Some(format!("{pipeline}/{topic}").into()),
                    value: Some(offset.to_string().into()),
                    timestamp: now,
                    ..Record::default()
                };
                let to = TopicPartition { topic: self.topic.clone(), partition };
                self.producer.send(ProduceBatch { to, records: offsets.into_iter().map(record).collect() }, None)?;
            }
            self.producer.commit_transaction(DEADLINE)
        };
        commit().map_err(|error| match error {
            millstream_broker::Error::Fenced(_) => EngineError::Fenced,
            error => error.into(),
        })
    }
}

/// Fences a former owner: none of its commits succeed from now on.
pub(crate) fn fence(broker: &dyn Broker, transactional_id: &str) -> Result<(), EngineError> {
    let producer = broker.producer(ProducerOptions { transactional_id: Some(transactional_id.into()), ..ProducerOptions::default() })?;
    Ok(producer.init_transactions(DEADLINE)?)
}

/// Reads the committed offsets of these partitions, on a thread of its own: a consumer takes a while to begin, and to end.
pub(crate) fn read(broker: Arc<dyn Broker>, topic: Arc<str>, partitions: BTreeSet<i32>) -> Result<Reading, EngineError> {
    let (send, reading) = mpsc::sync_channel(1);
    let run = move || match broker.consumer(ConsumerOptions { max_poll_records: 10_000, ..ConsumerOptions::default() }) {
        // Nobody waits for the consumer's end.
        Ok(mut consumer) => drop(send.send(read_all(&mut *consumer, &topic, &partitions))),
        Err(error) => drop(send.send(Err(error.into()))),
    };
    std::thread::Builder::new()
        .name("engine-progress".into())
        .spawn(run)
        .map_err(|error| EngineError::System(format!("no thread for reading progress: {error}")))?;
    Ok(reading)
}

/// Gives one answer.
pub(crate) type Reading = mpsc::Receiver<Result<HashMap<i32, Offsets>, EngineError>>;

fn read_all(consumer: &mut dyn Consumer, topic: &Arc<str>, partitions: &BTreeSet<i32>) -> Result<HashMap<i32, Offsets>, EngineError> {
    let all: Vec<_> = partitions.iter().map(|&partition| TopicPartition { topic: topic.clone(), partition }).collect();
    let ends = consumer.end_offsets(&all, DEADLINE)?;
    consumer.assign(&all.iter().map(|partition| (partition.clone(), Position::Beginning)).collect::<Vec<_>>())?;
    let mut offsets: HashMap<i32, Offsets> = HashMap::new();
    let until = Instant::now() + DEADLINE;
    loop {
        let mut behind = false;
        for partition in &all {
            behind |= consumer.position(partition)? < ends.get(partition).copied().unwrap_or(0);
        }
        if !behind {
            return Ok(offsets);
        }
        if Instant::now() > until {
            return Err(millstream_broker::Error::Timeout("reading the progress of pipelines").into());
        }
        for batch in consumer.poll(Duration::from_millis(100))? {
            for stored in batch.records {
                let text = |bytes: &Option<Bytes>| bytes.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok().map(str::to_string));
                let (Some(key), Some(value)) = (text(&stored.record.key), text(&stored.record.value)) else { continue };
                if let (Some((pipeline, topic)), Ok(offset)) = (key.split_once('/'), value.parse()) {
                    offsets.entry(batch.from.partition).or_default().insert((pipeline.into(), topic.into()), offset);
                }
            }
        }
    }
}
