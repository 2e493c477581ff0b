//! What tests of the runtime share: topics in and out, and waits with deadlines.
#![allow(dead_code)] // each test crate uses its own part of it

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use millstream::{KafkaStreams, StreamsConfig, Topology};
use millstream_broker::*;

/// No wait is longer.
pub const SOON: Duration = Duration::from_secs(90);

/// A topology of a test, which may be built several times.
pub type Build = fn() -> Topology;

/// A record of a test: key, value, timestamp.
pub type Row = (Option<String>, Option<String>, i64);

pub fn row(key: impl ToString, value: impl ToString, timestamp: i64) -> Row {
    (Some(key.to_string()), Some(value.to_string()), timestamp)
}

pub fn broker() -> Arc<EmbeddedBroker> {
    EmbeddedBroker::temporary().unwrap()
}

pub fn create(broker: &dyn Broker, topics: &[&str], partitions: i32) {
    let topics: Vec<_> = topics.iter().map(|topic| NewTopic::new(*topic, partitions)).collect();
    broker.admin().create_topics(&topics, SOON).unwrap();
}

/// A state directory and the settings of an application in it; small intervals, no cache.
pub fn config(id: &str, directory: &tempfile::TempDir) -> StreamsConfig {
    StreamsConfig {
        state_dir: directory.path().to_owned(),
        commit_interval: Duration::from_millis(20),
        cache_max_bytes: 0,
        session_timeout: Duration::from_secs(3),
        ..StreamsConfig::new(id)
    }
}

pub fn start(topology: Topology, config: StreamsConfig, broker: &Arc<EmbeddedBroker>) -> KafkaStreams {
    let streams = KafkaStreams::new(topology, config, broker.clone()).unwrap();
    streams.start().unwrap();
    streams
}

pub fn start_and_wait(topology: Topology, config: StreamsConfig, broker: &Arc<EmbeddedBroker>) -> KafkaStreams {
    let streams = start(topology, config, broker);
    streams.wait_until_running(SOON).unwrap();
    streams
}

/// Writes to one partition.
pub fn produce(broker: &dyn Broker, topic: &str, partition: i32, rows: &[Row]) {
    let producer = broker.producer(ProducerOptions::default()).unwrap();
    let bytes = |text: &Option<String>| text.as_ref().map(|text| Bytes::from(text.clone()));
    for rows in rows.chunks(1_000) {
        let records = rows.iter().map(|(key, value, timestamp)| Record {
            key: bytes(key),
            value: bytes(value),
            timestamp: *timestamp,
            headers: Headers::empty(),
        });
        producer.send(ProduceBatch { to: TopicPartition::new(topic, partition), records: records.collect() }, None).unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// The partition of a key among so many.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    partition_for_key(key.as_bytes(), partitions)
}

/// Writes each row to the partition of its key.
pub fn produce_by_key(broker: &dyn Broker, topic: &str, partitions: i32, rows: &[Row]) {
    for partition in 0..partitions {
        let here = |row: &&Row| partition_of(row.0.as_deref().unwrap_or_default(), partitions) == partition;
        let rows: Vec<Row> = rows.iter().filter(here).cloned().collect();
        produce(broker, topic, partition, &rows);
    }
}

/// What is committed in a topic now, by partition.
pub fn read(broker: &dyn Broker, topic: &str) -> Vec<Vec<Record>> {
    let Ok(description) = broker.admin().describe_topic(topic, SOON) else { return vec![] };
    let mut consumer = broker.consumer(ConsumerOptions::default()).unwrap();
    let partitions: Vec<_> = (0..description.partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
    consumer.assign(&partitions.iter().map(|partition| (partition.clone(), Position::Beginning)).collect::<Vec<_>>()).unwrap();
    let ends = consumer.end_offsets(&partitions, SOON).unwrap();
    let mut records = vec![vec![]; partitions.len()];
    let until = Instant::now() + SOON;
    while partitions.iter().any(|partition| consumer.position(partition).unwrap() < ends[partition]) {
        assert!(Instant::now() < until, "{topic} cannot be read to its end");
        for batch in consumer.poll(Duration::from_millis(100)).unwrap() {
            records[batch.from.partition as usize].extend(batch.records.into_iter().map(|record| record.record));
        }
    }
    records
}

/// All of it as texts, partition by partition.
pub fn read_texts(broker: &dyn Broker, topic: &str) -> Vec<(String, String)> {
    let text = |bytes: &Option<Bytes>| bytes.as_ref().map_or("null".into(), |bytes| String::from_utf8_lossy(bytes).into_owned());
    read(broker, topic).iter().flatten().map(|record| (text(&record.key), text(&record.value))).collect()
}

/// A count as it is stored.
pub fn count_of(record: &Record) -> i64 {
    i64::from_be_bytes(record.value.as_ref().unwrap()[..].try_into().unwrap())
}

/// The last count of each key.
pub fn counts(broker: &dyn Broker, topic: &str) -> BTreeMap<String, i64> {
    let records = read(broker, topic).into_iter().flatten();
    records.map(|record| (String::from_utf8(record.key.clone().unwrap().to_vec()).unwrap(), count_of(&record))).collect()
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < until, "in {SOON:?} not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The offsets that an application has committed in a topic, by partition; 0 where it has none.
pub fn committed(broker: &dyn Broker, application: &str, topic: &str) -> Vec<CommittedOffset> {
    let count = broker.admin().describe_topic(topic, SOON).unwrap().partitions;
    let mut consumer = broker.consumer(ConsumerOptions::group(application)).unwrap();
    let partitions: Vec<_> = (0..count).map(|partition| TopicPartition::new(topic, partition)).collect();
    let committed = consumer.committed(&partitions, SOON).unwrap();
    partitions.iter().map(|partition| committed.get(partition).cloned().unwrap_or_default()).collect()
}

/// Waits until an application has committed all that is in these topics.
pub fn wait_consumed(broker: &dyn Broker, application: &str, topics: &[&str]) {
    for topic in topics {
        let count = broker.admin().describe_topic(topic, SOON).unwrap().partitions;
        let partitions: Vec<_> = (0..count).map(|partition| TopicPartition::new(*topic, partition)).collect();
        let mut consumer = broker.consumer(ConsumerOptions::group(application)).unwrap();
        wait_until(&format!("{application} has consumed {topic}"), || {
            let ends: HashMap<_, _> = consumer.end_offsets(&partitions, SOON).unwrap();
            let committed = consumer.committed(&partitions, SOON).unwrap();
            partitions.iter().all(|partition| committed.get(partition).map_or(0, |at| at.offset) >= ends[partition])
        });
    }
}

/// Numbers that are the same at every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
