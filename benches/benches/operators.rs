//! The operators of the DSL: what a record costs on one core, from bytes to bytes, without a broker.
//!
//! `cargo bench --workspace --bench operators`. A time is that of one record, a rate is records per second.

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use millstream::{
    JoinWindows, KStream, SessionWindows, StoreType, StreamsBuilder, StrictBufferConfig, Suppressed, TaskConfig, TimeWindows,
    TopologyConfig,
};
use millstream_benches::{
    engine::Engine,
    input::{Batch, Workload, mix},
};

/// Programs of many small allocations should choose an allocator for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECOND: i64 = 1_000;
/// How many records a second of event time has.
const RATE: u64 = 100_000;

/// How a bench is run.
struct Setup {
    rocksdb: bool,
    /// Whether the record cache is on, as it is unless an application turns it off.
    cached: bool,
    /// How many records a commit follows.
    epoch: u64,
    /// How many records come before the first one that counts.
    warm_up: u64,
    /// What the rate counts of each record.
    elements: u64,
}

const IN_MEMORY: Setup = Setup { rocksdb: false, cached: true, epoch: 50_000, warm_up: 300_000, elements: 1 };
const UNCACHED: Setup = Setup { cached: false, ..IN_MEMORY };

fn bench(c: &mut Criterion, name: &str, setup: Setup, draw: impl Fn(&StreamsBuilder), source: impl FnMut(u64, &mut Batch) + Clone) {
    let start = || {
        let store_type = if setup.rocksdb { StoreType::RocksDb } else { StoreType::InMemory };
        let builder = StreamsBuilder::with_config(TopologyConfig { store_type, ..TopologyConfig::default() });
        draw(&builder);
        let mut config = TaskConfig::new("bench");
        if !setup.cached {
            config.cache_max_bytes = 0;
        }
        let engine = Engine::new(&builder.build().expect("the topology is sound"), config, setup.rocksdb).expect("it starts");
        let mut workload = Workload::new(engine, setup.epoch, source.clone());
        workload.run(setup.warm_up);
        workload
    };
    let mut workload = None;
    let mut group = c.benchmark_group("operators");
    // Criterion's own warm-up contains this one, and it must see more than that.
    let warm_up = Duration::from_millis(1_000 + setup.warm_up / 100);
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(setup.elements)).warm_up_time(warm_up);
    group.bench_function(name, |b| b.iter_custom(|records| workload.get_or_insert_with(start).time(records)));
}

fn time_of(number: u64) -> i64 {
    1_700_000_000_000 + (number * 1_000 / RATE) as i64
}

fn key(number: u64) -> String {
    format!("k{number:07}")
}

/// Records of the topic `in`, with keys by chance.
fn numbers(keys: u64) -> impl FnMut(u64, &mut Batch) + Clone {
    move |number, batch| batch.add("in", key(mix(number) % keys).as_bytes(), &number.to_be_bytes(), time_of(number))
}

/// A stream through so many nodes: every second one maps, every second one filters.
fn chain(builder: &StreamsBuilder, nodes: usize) {
    let mut stream: KStream<String, i64> = builder.stream("in");
    for node in 0..nodes {
        stream = if node % 2 == 0 { stream.map_values(|value| value + 1) } else { stream.filter(|_, value| *value >= 0) };
    }
    stream.to("out");
}

fn stateless(c: &mut Criterion) {
    let setup = Setup { elements: 100, ..IN_MEMORY };
    bench(c, "chain of 100 stateless nodes, rate by node", setup, |builder| chain(builder, 100), numbers(10_000));
    bench(c, "chain of 10 stateless nodes", IN_MEMORY, |builder| chain(builder, 10), numbers(10_000));
}

fn count(builder: &StreamsBuilder) {
    builder.stream::<String, i64>("in").group_by_key().count().to_stream().to("out");
}

fn counts(c: &mut Criterion) {
    bench(c, "count, 10 k keys, in memory", IN_MEMORY, count, numbers(10_000));
    bench(c, "count, 10 k keys, in memory, no record cache", UNCACHED, count, numbers(10_000));
    const KEYS: u64 = 1_000_000;
    let setup = Setup { rocksdb: true, epoch: 25_000, warm_up: KEYS + 300_000, ..IN_MEMORY };
    bench(c, "count, 1 M keys, RocksDB", setup, count, |number, batch| {
        let key = key(if number < KEYS { number } else { mix(number) % KEYS });
        batch.add("in", key.as_bytes(), &number.to_be_bytes(), time_of(number));
    });
}

fn windows(c: &mut Criterion) {
    let tumbling = |builder: &StreamsBuilder| {
        let windows = TimeWindows::of_size_with_no_grace(SECOND);
        builder.stream::<String, i64>("in").group_by_key().windowed_by(windows).count().to_stream().to("out");
    };
    bench(c, "tumbling count, 10 k keys", IN_MEMORY, tumbling, numbers(10_000));
    bench(c, "tumbling count, 10 k keys, no record cache", UNCACHED, tumbling, numbers(10_000));
    let hopping = |builder: &StreamsBuilder| {
        let windows = TimeWindows::of_size_with_no_grace(10 * SECOND).advance_by(SECOND);
        builder.stream::<String, i64>("in").group_by_key().windowed_by(windows).count().to_stream().to("out");
    };
    bench(c, "hopping count, 10 windows, 1 k keys", IN_MEMORY, hopping, numbers(1_000));
    bench(c, "hopping count, 10 windows, 1 k keys, no record cache", UNCACHED, hopping, numbers(1_000));
    // A key's records are 100 ms apart on average: of ten gaps about four are longer than 90 ms and end a session.
    let session = |builder: &StreamsBuilder| {
        let windows = SessionWindows::of_inactivity_gap_with_no_grace(90);
        builder.stream::<String, i64>("in").group_by_key().windowed_by(windows).count().to_stream().to("out");
    };
    bench(c, "session count, 10 k keys", IN_MEMORY, session, numbers(10_000));
    bench(c, "session count, 10 k keys, no record cache", UNCACHED, session, numbers(10_000));
}

fn joins(c: &mut Criterion) {
    // Half of the records are left ones; each finds one partner on average.
    let streams = |builder: &StreamsBuilder| {
        let (left, right) = (builder.stream::<String, i64>("left"), builder.stream::<String, i64>("right"));
        left.join(&right, |left, right| left + right, JoinWindows::of_time_difference_with_no_grace(SECOND)).to("out");
    };
    bench(c, "stream-stream join, one partner each", IN_MEMORY, streams, |number, batch| {
        let topic = if mix(number ^ 1).is_multiple_of(2) { "left" } else { "right" };
        batch.add(topic, key(mix(number) % 100_000).as_bytes(), &number.to_be_bytes(), time_of(number));
    });

    const ROWS: u64 = 100_000;
    let stream_table = |builder: &StreamsBuilder| {
        let table = builder.table::<String, i64>("table");
        builder.stream::<String, i64>("in").join_table(&table, |value, row| value + row).to("out");
    };
    bench(c, "stream-table join, 100 k rows", IN_MEMORY, stream_table, |number, batch| match number {
        row @ 0..ROWS => batch.add("table", key(row).as_bytes(), &row.to_be_bytes(), time_of(0)),
        _ => batch.add("in", key(mix(number) % ROWS).as_bytes(), &number.to_be_bytes(), time_of(number)),
    });

    // One change in twenty is of the right table, and reaches ten left rows.
    let foreign_key = |builder: &StreamsBuilder| {
        let (orders, customers) = (builder.table::<String, i64>("orders"), builder.table::<i64, i64>("customers"));
        orders.foreign_key_join(&customers, |_, customer| *customer, |order, customer| order + customer).to_stream().to("out");
    };
    bench(c, "foreign-key join, 100 k and 10 k rows", IN_MEMORY, foreign_key, |number, batch| {
        let customer = |number: u64| (mix(number ^ 7) % (ROWS / 10)).to_be_bytes();
        match number {
            row @ 0..ROWS => batch.add("orders", key(row).as_bytes(), &customer(number), time_of(number)),
            _ if number % 20 == 0 => batch.add("customers", &customer(number), &number.to_be_bytes(), time_of(number)),
            _ => batch.add("orders", key(mix(number) % ROWS).as_bytes(), &customer(number), time_of(number)),
        }
    });
}

fn tables(c: &mut Criterion) {
    /// Each change moves a row from one of 1,000 groups to another.
    fn aggregate(builder: &StreamsBuilder) {
        let groups = builder.table::<String, i64>("in").group_by(|_, value| (value % 1_000, *value));
        groups.aggregate(|| 0i64, |_, value, sum| sum + value, |_, value, sum| sum - value).to_stream().to("out");
    }
    bench(c, "table aggregate with retraction, 100 k rows", IN_MEMORY, aggregate, numbers(100_000));
    bench(c, "table aggregate with retraction, 100 k rows, no record cache", UNCACHED, aggregate, numbers(100_000));

    let by_time = |builder: &StreamsBuilder| {
        let wait = Suppressed::until_time_limit(SECOND, StrictBufferConfig::unbounded());
        builder.table::<String, i64>("in").suppress(wait).to_stream().to("out");
    };
    bench(c, "suppress for 1 s, 10 k rows", UNCACHED, by_time, numbers(10_000));
    let final_results = |builder: &StreamsBuilder| {
        let windows = builder.stream::<String, i64>("in").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(SECOND));
        windows.count().suppress(Suppressed::until_window_closes(StrictBufferConfig::unbounded())).to_stream().to("out");
    };
    bench(c, "tumbling count, suppressed until closed, 10 k keys", IN_MEMORY, final_results, numbers(10_000));
}

criterion_group! {
    name = operators;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3));
    targets = stateless, counts, windows, joins, tables
}
criterion_main!(operators);
