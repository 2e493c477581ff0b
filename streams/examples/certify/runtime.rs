//! Drives a scenario through the runtime on an embedded broker, one record after the other, each committed before the next: what the test
//! driver does.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use millstream::{
    Error, Header, KafkaStreams, RawRecord, StreamsConfig, StreamsError,
    query::{Query, StateQueryRequest},
    store::AnyStore,
};
use millstream_broker::{
    Broker, Consumer, ConsumerOptions, EmbeddedBroker, NewTopic, Position, ProduceBatch, ProducerOptions, Record, StoredRecord,
    TopicPartition,
};
use serde_json::{Map, Value as Json, json};

use crate::{
    records::{input, outputs, symbol},
    run::{Stop, guarantee, task_config},
    scenario::{Scenario, Step, StoreFormat},
    stores::rows,
    topology::Built,
};

/// No wait is longer.
const SOON: Duration = Duration::from_secs(30);
/// The fields of an answer that the runtime can give.
pub const FIELDS: [&str; 5] = ["build_error", "describe", "branches", "steps", "stores"];

pub fn drive(scenario: &Scenario, built: Built, answer: &mut Map<String, Json>) -> Result<(), Stop> {
    refuse(scenario, &built)?;
    answer.insert("describe".into(), built.topology.describe().into());
    if !built.branches.is_empty() {
        answer.insert("branches".into(), built.branches.clone().into());
    }
    let mut run = Run::start(scenario, built)?;
    let mut steps = vec![];
    for step in &scenario.steps {
        let Step::Record(record) = step else { continue };
        run.produce(&record.topic, input(record, &scenario.topics)?)?;
        if let Err(error) = run.settle() {
            let StreamsError::Topology(error) = error else { return Err(bad(error)) };
            steps.push(json!({"error": symbol(error.kind())}));
            answer.insert("steps".into(), steps.into());
            return Ok(());
        }
        steps.push(outputs(run.read()?, &scenario.topics)?);
    }
    answer.insert("steps".into(), steps.into());
    answer.insert("stores".into(), run.stores()?.into());
    Ok(())
}

/// What is another matter on a broker.
fn refuse(scenario: &Scenario, built: &Built) -> Result<(), Stop> {
    let expected = serde_json::Value::from(scenario.expect.clone()).to_string();
    let has_clock = scenario.steps.iter().any(|step| matches!(step, Step::Wall(_))) || expected.contains("wall");
    let is_split = built.topology.internal_topics().values().any(|topic| topic.partitions.is_some_and(|count| count != 1));
    let why = match () {
        _ if scenario.config.cache_bytes > 0 => "caches: they are flushed as often as is committed",
        _ if has_clock => "the clock",
        _ if !built.topology.global_topics().is_empty() => "global tables: they are read beside the records",
        _ if is_split => "several partitions",
        _ if scenario.config.store_format == StoreFormat::Headers => "rows with headers",
        _ => return Ok(()),
    };
    Err(Stop::Unsupported(format!("on the runtime: {why}")))
}

fn bad(error: impl std::fmt::Display) -> Stop {
    Stop::Bad(error.to_string())
}

struct Run {
    broker: Arc<EmbeddedBroker>,
    streams: KafkaStreams,
    stores: Vec<Arc<str>>,
    /// What the application reads, and everything that is written.
    sources: Vec<TopicPartition>,
    group: Box<dyn Consumer>,
    reader: Box<dyn Consumer>,
    read: Vec<TopicPartition>,
    _directory: tempfile::TempDir,
}

impl Run {
    fn start(scenario: &Scenario, built: Built) -> Result<Self, Stop> {
        let broker = EmbeddedBroker::temporary().map_err(bad)?;
        let topology = built.topology;
        let task = task_config(scenario);
        let source_topics: Vec<Arc<str>> = topology.source_topics().cloned().collect();
        let is_internal = |topic: &Arc<str>| topology.internal_topics().contains_key(topic);
        let mut topics: Vec<Arc<str>> = scenario.topics.keys().map(|topic| topic.as_str().into()).collect();
        topics.extend(source_topics.iter().chain(&topology.sink_topics().collect::<Vec<_>>()).filter(|topic| !is_internal(topic)).cloned());
        topics.extend(task.dead_letter_topic.clone());
        topics.sort();
        topics.dedup();
        let topics: Vec<_> = topics.iter().map(|topic| NewTopic::new(&**topic, 1)).collect();
        broker.admin().create_topics(&topics, SOON).map_err(bad)?;
        let full = |topic: &Arc<str>| if is_internal(topic) { format!("oracle-{topic}").into() } else { topic.clone() };
        let globals = topology.global_topics().clone();
        let sources = source_topics.iter().filter(|topic| !globals.contains(*topic)).map(full);
        let sources = sources.map(|topic| TopicPartition::new(topic, 0)).collect();
        let stores = topology.store_names().cloned().collect();
        let directory = tempfile::tempdir().map_err(bad)?;
        let config = StreamsConfig {
            guarantee: guarantee(scenario),
            compatibility: task.compatibility,
            commit_interval: Duration::ZERO,
            state_dir: directory.path().into(),
            cache_max_bytes: 0,
            emit_interval_ms: 0,
            on_deserialization_error: task.on_deserialization_error,
            on_processing_error: task.on_processing_error,
            dead_letter_topic: task.dead_letter_topic.map(|topic| topic.to_string()),
            ..StreamsConfig::new("oracle")
        };
        let streams = KafkaStreams::new(topology, config, broker.clone()).map_err(bad)?;
        streams.start().map_err(bad)?;
        streams.wait_until_running(SOON).map_err(bad)?;
        let group = broker.consumer(ConsumerOptions::group("oracle")).map_err(bad)?;
        let mut reader = broker.consumer(ConsumerOptions::default()).map_err(bad)?;
        let inputs: Vec<_> =
            scenario.steps.iter().filter_map(|step| if let Step::Record(record) = step { Some(&*record.topic) } else { None }).collect();
        let all = broker.admin().list_topics(SOON).map_err(bad)?;
        let read: Vec<_> =
            all.into_iter().map(|topic| TopicPartition::new(topic, 0)).filter(|partition| !inputs.contains(&&*partition.topic)).collect();
        reader.assign(&read.iter().map(|partition| (partition.clone(), Position::Beginning)).collect::<Vec<_>>()).map_err(bad)?;
        Ok(Self { broker, streams, stores, sources, group, reader, read, _directory: directory })
    }

    fn produce(&self, topic: &str, record: RawRecord) -> Result<(), Stop> {
        let headers = record.headers.to_vec().into_iter().map(|h| millstream_broker::Header { name: h.name, value: h.value }).collect();
        let record = Record { key: record.key, value: record.value, timestamp: record.timestamp, headers };
        let producer = self.broker.producer(ProducerOptions::default()).map_err(bad)?;
        producer.send(ProduceBatch { to: TopicPartition::new(topic, 0), records: vec![record] }, None).map_err(bad)
    }

    /// Waits until all that is there to be read is committed.
    fn settle(&mut self) -> Result<(), StreamsError> {
        let until = Instant::now() + SOON;
        loop {
            if let Some(error) = self.streams.error() {
                return Err(error);
            }
            // Offsets first: what follows from a commit is there before it.
            let committed = self.group.committed(&self.sources, SOON)?;
            let ends = self.group.end_offsets(&self.sources, SOON)?;
            if self.sources.iter().all(|partition| committed.get(partition).map_or(0, |at| at.offset) >= ends[partition]) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(StreamsError::Timeout("a step"));
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    /// What was written since the last call.
    fn read(&mut self) -> Result<BTreeMap<Arc<str>, Vec<RawRecord>>, Stop> {
        let ends = self.reader.end_offsets(&self.read, SOON).map_err(bad)?;
        let mut written: BTreeMap<Arc<str>, Vec<RawRecord>> = BTreeMap::new();
        loop {
            let mut is_at_end = true;
            for partition in &self.read {
                is_at_end &= self.reader.position(partition).map_err(bad)? >= ends[partition];
            }
            if is_at_end {
                return Ok(written);
            }
            for batch in self.reader.poll(Duration::from_millis(10)).map_err(bad)? {
                written.entry(batch.from.topic).or_default().extend(batch.records.into_iter().map(raw));
            }
        }
    }

    fn stores(&self) -> Result<Map<String, Json>, Stop> {
        let mut shown = Map::new();
        for store in &self.stores {
            let result = self.streams.query(&StateQueryRequest::in_store(store.clone()).with_query(Show), SOON).map_err(bad)?;
            if let Some((_, rows)) = result.successes().next() {
                shown.insert(store.to_string(), rows.clone());
            }
        }
        Ok(shown)
    }
}

/// All rows of a store.
#[derive(Clone)]
struct Show;

impl Query for Show {
    type Result = Json;
    fn answer(&self, store: &(dyn AnyStore + 'static)) -> Option<Result<Json, Error>> {
        rows(store)
    }
}

fn raw(StoredRecord { record, .. }: StoredRecord) -> RawRecord {
    /// The times of scenarios are small; what the producer dated is not.
    const A_CLOCKS: i64 = 1_000_000_000_000;
    let timestamp = if record.timestamp > A_CLOCKS { -1 } else { record.timestamp };
    let headers = record.headers.iter().map(|h| Header { name: h.name.clone(), value: h.value.clone() }).collect::<Vec<_>>().into();
    RawRecord { key: record.key, value: record.value, timestamp, headers }
}
