//! Exactly-once: whatever fails in the middle, what consumers that read committed see is what one clean run writes.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use millstream::{KafkaStreams, Materialized, StoreType, StreamThreadExceptionResponse, StreamsBuilder, StreamsConfig, Topology, query::*};
use millstream_broker::{
    Broker, EmbeddedBroker, EmbeddedOptions, Error as BrokerError,
    embedded::{Faults, Operation},
};
use support::*;

const PARTITIONS: i32 = 4;
const RECORDS: u64 = 20_000;
const REPARTITION: &str = "app-moved-repartition";

/// Counts by value behind a repartition topic, on disk and in memory; each record takes so long.
fn topology(each: Duration) -> Topology {
    let builder = StreamsBuilder::new();
    let slow = move |_: &String, _: &String| {
        if !each.is_zero() {
            std::thread::sleep(each);
        }
    };
    let moved = builder.stream::<String, String>("in").peek(slow).select_key(|_, value| value.clone());
    moved.to("copies");
    let moved = moved.repartition_with(millstream::Repartitioned::new().name("moved"));
    let on_disk = Materialized::store("on-disk").store_type(StoreType::RocksDb);
    moved.group_by_key().count_with::<i64>(on_disk).to_stream().to("counts");
    let in_memory = Materialized::store("in-memory").store_type(StoreType::InMemory);
    moved.group_by_key().count_with::<i64>(in_memory).to_stream().to("more-counts");
    builder.build().unwrap()
}

fn settings(directory: &tempfile::TempDir) -> StreamsConfig {
    let config = config("app", directory).exactly_once();
    StreamsConfig { commit_interval: Duration::from_millis(20), ..config }
}

fn fill(broker: &dyn Broker) {
    create(broker, &["in", "copies", "counts", "more-counts"], PARTITIONS);
    let mut random = Random(3);
    let rows: Vec<Row> = (0..RECORDS).map(|i| row(i, format!("v{}", random.below(50)), i as i64)).collect();
    produce_by_key(broker, "in", PARTITIONS, &rows);
}

fn wait_done(broker: &dyn Broker) {
    wait_consumed(broker, "app", &["in"]);
    wait_consumed(broker, "app", &[REPARTITION]);
}

/// No record is missing, none is there twice, and every count follows the one before.
fn check(broker: &dyn Broker, streams: &KafkaStreams) {
    assert_eq!(read(broker, "copies").iter().map(Vec::len).sum::<usize>(), RECORDS as usize, "copies");
    for (topic, store) in [("counts", "on-disk"), ("more-counts", "in-memory")] {
        let mut last: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for record in read(broker, topic).iter().flatten() {
            let before = last.entry(record.key.clone().unwrap().to_vec()).or_default();
            assert_eq!(count_of(record), *before + 1, "{topic}");
            *before += 1;
        }
        assert_eq!(last.values().sum::<i64>(), RECORDS as i64, "{topic}");
        let request = StateQueryRequest::in_store(store).with_query(RangeQuery::<String, i64>::with_no_bounds());
        let rows: BTreeMap<Vec<u8>, i64> =
            streams.query(&request, SOON).unwrap().into_rows().unwrap().into_iter().map(|(key, count)| (key.into_bytes(), count)).collect();
        assert_eq!(rows, last, "{store}");
    }
}

#[test]
fn a_run_whose_commits_fail_again_and_again_writes_what_a_clean_run_writes() {
    // Every few commits one fails, and now and then a write.
    let operations = Arc::new(AtomicU64::new(0));
    let counted = operations.clone();
    let faults = Faults::new(move |operation, partition| {
        let number = counted.fetch_add(1, SeqCst);
        let ours = partition.is_none_or(|partition| &*partition.topic != "in");
        match operation {
            Operation::Commit if number % 5 == 4 && number < 400 => Err(BrokerError::Timeout("commit")),
            Operation::Append if number % 97 == 96 && ours && number < 2_000 => Err(BrokerError::Broken("on purpose".into())),
            _ => Ok(()),
        }
    });
    let broker = EmbeddedBroker::temporary_with(|options| options.faults = faults).unwrap();
    fill(&*broker);
    let directory = tempfile::tempdir().unwrap();
    let config = StreamsConfig { num_stream_threads: 2, ..settings(&directory) };
    let streams = KafkaStreams::new(topology(Duration::ZERO), config, broker.clone()).unwrap();
    streams.set_uncaught_exception_handler(Arc::new(|_| StreamThreadExceptionResponse::ReplaceThread));
    streams.start().unwrap();
    wait_done(&*broker);
    streams.wait_until_running(SOON).unwrap();
    check(&*broker, &streams);
    assert!(operations.load(SeqCst) > 400, "nothing failed");
}

const CHILD: &str = "MILLSTREAM_EXACTLY_ONCE_CHILD";

/// What is killed: not a test by itself.
#[test]
fn child() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let (broker, state) = open(&directory);
    let config = StreamsConfig { state_dir: state, ..settings(&tempfile::tempdir().unwrap()) };
    // Ten seconds of work at least: more than all children together live.
    let streams = KafkaStreams::new(topology(Duration::from_micros(500)), config, broker.clone()).unwrap();
    let done = || committed(&*broker, "app", "in").iter().map(|at| at.offset).sum::<i64>();
    let before = done();
    streams.start().unwrap();
    wait_until("something is committed", || done() > before);
    println!("at work");
    wait_done(&*broker);
}

fn open(directory: &str) -> (Arc<EmbeddedBroker>, std::path::PathBuf) {
    let directory = std::path::Path::new(directory);
    (EmbeddedBroker::open(EmbeddedOptions::new(directory.join("broker"))).unwrap(), directory.join("state"))
}

#[test]
fn a_process_that_is_killed_again_and_again_writes_what_a_clean_run_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    fill(&*open(path).0);
    let mut interrupted = 0;
    for kill_after in [5, 100, 30, 200, 60].map(Duration::from_millis) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child", "--nocapture"]).env(CHILD, path).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = child.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("at work")), "a child never ran");
        // After so long, wherever it is.
        std::thread::sleep(kill_after);
        interrupted += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(interrupted >= 2, "nothing was killed in the middle");
    let (broker, state) = open(path);
    let config = StreamsConfig { state_dir: state, ..settings(&directory) };
    let streams = KafkaStreams::new(topology(Duration::ZERO), config, broker.clone()).unwrap();
    streams.start().unwrap();
    wait_done(&*broker);
    streams.wait_until_running(SOON).unwrap();
    check(&*broker, &streams);
}
