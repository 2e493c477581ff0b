//! The test driver's results are the runtime's: the same records in each partition of each topic, changelogs included.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use millstream::{
    Branched, EmitStrategy, JoinWindows, KStream, KTable, Materialized, RawRecord, SessionWindows, SlidingWindows, StoreType,
    StreamsBuilder, StrictBufferConfig, Suppressed, TaskConfig, TestDriverConfig, TimeWindows, Topology, TopologyTestDriver, Windowed,
};
use support::*;

const PARTITIONS: i32 = 3;

type Draw = fn(&StreamsBuilder);

fn show<V: std::fmt::Display + millstream::Data<Present = V>>(table: &KTable<Windowed<String>, V>) {
    let shown = |key: &Windowed<String>, value: &Option<V>| {
        let value = value.as_ref().map(ToString::to_string);
        (key.key.clone(), format!("{}..{}={value:?}", key.window.start, key.window.end))
    };
    table.to_stream().map(shown).to("out");
}

fn on_disk<V: millstream::DefaultSerde>() -> Materialized<String, V> {
    Materialized::store("store").store_type(StoreType::RocksDb)
}

fn in_memory<V: millstream::DefaultSerde>() -> Materialized<String, V> {
    Materialized::store("store").store_type(StoreType::InMemory)
}

/// Topologies without repartitioning: what a partition's task writes follows from that partition's input alone.
const LOCAL: &[(&str, Draw)] = &[
    ("stateless", |builder| {
        let right = builder.stream::<String, String>("right");
        let twice = |stream: KStream<String, String>| stream.flat_map_values(|value| vec![value.clone(), value.clone()]).to("other");
        builder
            .stream::<String, String>("left")
            .split()
            .branch(|_, value| value.ends_with('7'), Branched::new().with_consumer(twice))
            .default_branch(Branched::new().with_consumer(move |others| {
                others.map_values(|value| format!("{value}!")).merge(&right).to("out");
            }));
    }),
    ("count", |builder| builder.stream::<String, String>("left").group_by_key().count_with::<i64>(in_memory()).to_stream().to("out")),
    ("reduce on disk", |builder| {
        let reduced = builder.stream::<String, String>("left").group_by_key().reduce_with(|a, b| format!("{a},{b}"), on_disk());
        reduced.to_stream().to("out");
    }),
    ("tumbling", |builder| {
        let windows = TimeWindows::of_size_and_grace(100, 50);
        show(&builder.stream::<String, String>("left").group_by_key().windowed_by(windows).count_with(in_memory::<i64>()));
    }),
    ("hopping on disk", |builder| {
        let windows = TimeWindows::of_size_and_grace(100, 50).advance_by(40);
        show(&builder.stream::<String, String>("left").group_by_key().windowed_by(windows).count_with(on_disk::<i64>()));
    }),
    ("emit on close", |builder| {
        let windows = TimeWindows::of_size_and_grace(100, 10);
        let stream = builder.stream::<String, String>("left").group_by_key().windowed_by(windows);
        show(&stream.emit_strategy(EmitStrategy::OnWindowClose).count_with(on_disk::<i64>()));
    }),
    ("sliding", |builder| {
        let windows = SlidingWindows::of_time_difference_and_grace(60, 100);
        show(&builder.stream::<String, String>("left").group_by_key().windowed_by(windows).count_with(in_memory::<i64>()));
    }),
    ("session on disk", |builder| {
        let windows = SessionWindows::of_inactivity_gap_and_grace(30, 100);
        show(&builder.stream::<String, String>("left").group_by_key().windowed_by(windows).count_with(on_disk::<i64>()));
    }),
    ("suppress", |builder| {
        let windows = TimeWindows::of_size_and_grace(100, 10);
        let counted = builder.stream::<String, String>("left").group_by_key().windowed_by(windows).count_with(in_memory::<i64>());
        show(&counted.suppress(Suppressed::until_window_closes(StrictBufferConfig::unbounded())));
    }),
    ("inner stream join", |builder| {
        let (left, right) = (builder.stream::<String, String>("left"), builder.stream::<String, String>("right"));
        let windows = JoinWindows::of_time_difference_and_grace(40, 20);
        left.join(&right, |a, b| format!("{a}+{b}"), windows).to("out");
    }),
    ("outer stream join", |builder| {
        let (left, right) = (builder.stream::<String, String>("left"), builder.stream::<String, String>("right"));
        let windows = JoinWindows::of_time_difference_and_grace(40, 20);
        left.outer_join(&right, |a, b| format!("{a:?}+{b:?}"), windows).to("out");
    }),
    ("stream-table join", |builder| {
        let table = builder.table_with("right", Default::default(), on_disk::<String>());
        builder.stream::<String, String>("left").join_table(&table, |a: &String, b: &String| format!("{a}+{b}")).to("out");
    }),
    ("left table join", |builder| {
        let (left, right) = (builder.table::<String, String>("left"), builder.table::<String, String>("right"));
        left.left_join(&right, |a: &String, b: Option<&String>| format!("{a}+{b:?}")).to_stream().to("out");
    }),
    ("versioned table join", |builder| {
        let versions = on_disk::<String>().versioned(200);
        let table = builder.table_with("right", Default::default(), versions);
        builder.stream::<String, String>("left").left_join_table(&table, |a: &String, b: Option<&String>| format!("{a}+{b:?}")).to("out");
    }),
];

/// Topologies with repartitioning: what comes last for each key does not depend on the order in which partitions are read.
const REPARTITIONED: &[(&str, Draw)] = &[
    ("word count", |builder| {
        let words = builder.stream::<String, String>("left").flat_map_values(|value| vec![value.clone(), value.replace('v', "w")]);
        words.group_by(|_, word| word.clone()).count().to_stream().map_values(show_count).to("out");
    }),
    ("repartition", |builder| {
        let moved = builder.stream::<String, String>("left").select_key(|_, value| value.clone()).repartition();
        moved.group_by_key().count_with::<i64>(on_disk()).to_stream().map_values(show_count).to("out");
    }),
    ("table aggregate", |builder| {
        let grouped = builder.table::<String, String>("left").group_by(|_, value| (value.clone(), value.clone()));
        grouped.count().to_stream().map_values(show_count).to("out");
    }),
    ("foreign key", |builder| {
        let (left, right) = (builder.table::<String, String>("left"), builder.table::<String, String>("right"));
        let joined =
            left.foreign_key_left_join(&right, |_, value| value.replace('v', "k"), |a: &String, b: Option<&String>| format!("{a}+{b:?}"));
        joined.to_stream().to("out");
    }),
];

fn show_count(count: &Option<i64>) -> Option<String> {
    count.map(|count| count.to_string())
}

fn build(draw: Draw) -> Topology {
    let builder = StreamsBuilder::new();
    draw(&builder);
    builder.build().unwrap()
}

/// Rows of both topics, with timestamps that differ, and that go back now and then.
fn input(seed: u64, count: u64) -> (Vec<Row>, Vec<Row>) {
    let mut random = Random(seed);
    let (mut left, mut right) = (vec![], vec![]);
    for i in 0..count {
        let back = if random.below(6) == 0 { random.below(80) as i64 } else { 0 };
        // The last digit keeps timestamps apart.
        let timestamp = (i as i64 * 10 - back * 10).max(0) + i as i64 % 10;
        let next = row(format!("k{}", random.below(8)), format!("v{}", random.below(20)), timestamp);
        if random.below(2) == 0 { left.push(next) } else { right.push(next) }
    }
    (left, right)
}

fn driver(topology: &Topology) -> TopologyTestDriver {
    let task = TaskConfig { cache_max_bytes: 0, emit_interval_ms: 0, ..TaskConfig::new("app") };
    TopologyTestDriver::new(topology, TestDriverConfig { task, rocksdb: true, ..Default::default() }).unwrap()
}

/// Pipes both inputs in the order in which a task takes them: the one with the lower timestamp at its head.
fn pipe(driver: &TopologyTestDriver, reads: &[&str], left: &[Row], right: &[Row]) {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let left_first = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(left), Some(right)) => left.2 < right.2,
            (left, _) => left.is_some(),
        };
        let (topic, next) = if left_first { ("left", left.next()) } else { ("right", right.next()) };
        let (Some((key, value, timestamp)), true) = (next, reads.contains(&topic)) else { continue };
        let bytes = |text: &Option<String>| text.clone().map(Bytes::from);
        driver.pipe_raw(topic, RawRecord { key: bytes(key), value: bytes(value), timestamp: *timestamp, ..Default::default() }).unwrap();
    }
}

fn reads(topology: &Topology) -> Vec<&'static str> {
    ["left", "right"].into_iter().filter(|topic| topology.source_topics().any(|read| &**read == *topic)).collect()
}

/// Runs a topology on the embedded broker until all of its input is consumed.
fn run(draw: Draw, left: &[Row], right: &[Row], internal: &[&str]) -> std::sync::Arc<millstream_broker::EmbeddedBroker> {
    let (broker, directory) = (broker(), tempfile::tempdir().unwrap());
    create(&*broker, &["left", "right", "out", "other"], PARTITIONS);
    produce_by_key(&*broker, "left", PARTITIONS, left);
    produce_by_key(&*broker, "right", PARTITIONS, right);
    let topology = build(draw);
    let reads = reads(&topology);
    let config = millstream::StreamsConfig { emit_interval_ms: 0, num_stream_threads: 2, ..config("app", &directory) };
    let streams = start_and_wait(topology, config, &broker);
    wait_consumed(&*broker, "app", &reads);
    // Behind each repartition topic there may be another.
    for _ in internal {
        wait_consumed(&*broker, "app", internal);
    }
    streams.close().unwrap();
    broker
}

#[test]
fn each_partition_has_the_records_that_the_test_driver_writes_for_it() {
    for (name, draw) in LOCAL {
        let (left, right) = input(name.len() as u64, 600);
        let topology = build(*draw);
        let broker = run(*draw, &left, &right, &[]);
        for partition in 0..PARTITIONS {
            let here = |rows: &[Row]| -> Vec<Row> {
                rows.iter().filter(|row| partition_of(row.0.as_deref().unwrap(), PARTITIONS) == partition).cloned().collect()
            };
            let driver = driver(&topology);
            pipe(&driver, &reads(&topology), &here(&left), &here(&right));
            let expected = driver.drain();
            assert!(expected.contains_key("out"), "{name}: nothing comes out");
            for (topic, expected) in expected {
                // How often a buffer's changelog is written depends on how often is committed.
                if topic.contains("SUPPRESS") {
                    continue;
                }
                let written: Vec<_> = read(&*broker, &topic).swap_remove(partition as usize);
                let written: Vec<_> = written.into_iter().map(|record| (record.key, record.value, record.timestamp)).collect();
                let expected: Vec<_> = expected.into_iter().map(|record| (record.key, record.value, record.timestamp)).collect();
                assert_eq!(written, expected, "{name}: {topic} {partition}");
            }
        }
    }
}

#[test]
fn behind_a_repartition_each_key_ends_as_in_the_test_driver() {
    for (name, draw) in REPARTITIONED {
        let (left, right) = input(name.len() as u64, 400);
        let topology = build(*draw);
        let internal: Vec<String> = topology.internal_topics().keys().map(|topic| format!("app-{topic}")).collect();
        let broker = run(*draw, &left, &right, &internal.iter().map(String::as_str).collect::<Vec<_>>());
        let driver = driver(&topology);
        pipe(&driver, &reads(&topology), &left, &right);
        let expected = driver.drain().remove("out").unwrap();
        let last = |records: Vec<(Option<Bytes>, Option<Bytes>)>| -> BTreeMap<_, _> {
            let all: BTreeMap<_, _> = records.into_iter().collect();
            all.into_iter().filter(|(_, value)| value.is_some()).collect()
        };
        let written = read(&*broker, "out").into_iter().flatten().map(|record| (record.key, record.value)).collect();
        assert_eq!(last(written), last(expected.into_iter().map(|record| (record.key, record.value)).collect()), "{name}");
    }
}
