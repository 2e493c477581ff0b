//! Instances of one application join, leave and die: tasks move with their state, and counts stay right.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use millstream::{KafkaStreams, Materialized, State, StoreType, StreamsBuilder, StreamsConfig, query::*};
use millstream_broker::EmbeddedBroker;
use support::*;

const PARTITIONS: i32 = 4;

/// Instances of one application on one broker, each with a state directory of its own.
struct Cluster {
    broker: Arc<EmbeddedBroker>,
    directories: Vec<tempfile::TempDir>,
    produced: i64,
}

impl Cluster {
    fn new() -> Self {
        let broker = broker();
        create(&*broker, &["in", "out"], PARTITIONS);
        Self { broker, directories: vec![], produced: 0 }
    }

    /// Starts an instance, which panics at every record once `dies` says so.
    fn join(&mut self, dies: &Arc<AtomicBool>, change: fn(StreamsConfig) -> StreamsConfig) -> KafkaStreams {
        let builder = StreamsBuilder::new();
        let dies = dies.clone();
        let stream = builder.stream::<String, String>("in").peek(move |_, _| assert!(!dies.load(SeqCst), "killed on purpose"));
        let grouped = stream.group_by_key();
        grouped.count_with::<i64>(Materialized::store("disk").store_type(StoreType::RocksDb)).to_stream().to("out");
        grouped.count_with::<i64>(Materialized::store("memory").store_type(StoreType::InMemory));
        let directory = tempfile::tempdir().unwrap();
        let streams = start(builder.build().unwrap(), change(config("app", &directory)), &self.broker);
        self.directories.push(directory);
        streams
    }

    fn produce(&mut self, count: usize) {
        let rows: Vec<Row> = (0..count).map(|i| row(format!("k{}", i % 40), "", i as i64)).collect();
        produce_by_key(&*self.broker, "in", PARTITIONS, &rows);
        self.produced += count as i64;
    }

    fn check(&self, instances: &[&KafkaStreams]) {
        wait_consumed(&*self.broker, "app", &["in"]);
        for store in ["disk", "memory"] {
            wait_until(store, || {
                let mut rows: BTreeMap<String, i64> = BTreeMap::new();
                for streams in instances {
                    let request = StateQueryRequest::in_store(store).with_query(RangeQuery::<String, i64>::with_no_bounds());
                    // While partitions move, some have no answer.
                    rows.extend(streams.query(&request, SOON).unwrap().into_rows().unwrap_or_default());
                }
                rows.values().sum::<i64>() == self.produced && rows.len() == 40
            });
        }
    }
}

/// The partitions that an instance has.
fn partitions(streams: &KafkaStreams) -> Vec<i32> {
    let request = StateQueryRequest::in_store("disk").with_query(KeyQuery::<String, i64>::with_key("k".into()));
    streams.query(&request, SOON).map_or_else(|_| vec![], |result| result.successes().map(|(partition, _)| partition).collect())
}

#[test]
fn tasks_move_to_an_instance_that_joins_and_back_from_one_that_leaves() {
    let alive = Arc::new(AtomicBool::new(false));
    let mut cluster = Cluster::new();
    let first = cluster.join(&alive, |config| config);
    cluster.produce(2_000);
    cluster.check(&[&first]);
    assert_eq!(partitions(&first), [0, 1, 2, 3]);

    cluster.produce(2_000);
    let second = cluster.join(&alive, |config| config);
    cluster.produce(2_000);
    wait_until("both have two partitions", || partitions(&first).len() == 2 && partitions(&second).len() == 2);
    cluster.check(&[&first, &second]);

    cluster.produce(1_000);
    second.close().unwrap();
    assert_eq!(second.state(), State::NotRunning);
    wait_until("the first has all partitions", || partitions(&first).len() == 4);
    cluster.produce(1_000);
    cluster.check(&[&first]);
    first.close().unwrap();
    assert_eq!(counts(&*cluster.broker, "out").values().sum::<i64>(), cluster.produced);
}

#[test]
fn an_instance_that_dies_is_replaced_without_a_record_counted_twice() {
    let (alive, dies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut cluster = Cluster::new();
    let first = cluster.join(&alive, StreamsConfig::exactly_once);
    let second = cluster.join(&dies, StreamsConfig::exactly_once);
    wait_until("both have two partitions", || partitions(&first).len() == 2 && partitions(&second).len() == 2);
    cluster.produce(2_000);
    cluster.check(&[&first, &second]);
    dies.store(true, SeqCst);
    cluster.produce(2_000);
    assert_eq!(second.wait_until_ended(SOON).unwrap(), State::Error);
    assert!(second.error().unwrap().to_string().contains("killed on purpose"));
    wait_until("the first has all partitions", || partitions(&first).len() == 4);
    cluster.produce(2_000);
    cluster.check(&[&first]);
}

#[test]
fn more_instances_than_partitions_all_run() {
    let alive = Arc::new(AtomicBool::new(false));
    let mut cluster = Cluster::new();
    let all: Vec<_> = (0..5).map(|_| cluster.join(&alive, |config| config)).collect();
    cluster.produce(1_000);
    wait_until("all run", || all.iter().all(|streams| streams.state() == State::Running));
    cluster.check(&all.iter().collect::<Vec<_>>());
    wait_until("four have a partition each", || all.iter().filter(|streams| partitions(streams).len() == 1).count() == 4);
}

#[test]
fn two_threads_of_one_instance_share_its_tasks_and_its_directory() {
    let alive = Arc::new(AtomicBool::new(false));
    let mut cluster = Cluster::new();
    let streams = cluster.join(&alive, |config| StreamsConfig { num_stream_threads: 3, ..config });
    cluster.produce(3_000);
    cluster.check(&[&streams]);
    assert_eq!(partitions(&streams), [0, 1, 2, 3]);
}
