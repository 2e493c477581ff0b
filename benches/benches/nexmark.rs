//! The NEXMark queries: what an event costs on one core, from bytes to bytes, without a broker; in memory and on RocksDB.
//!
//! `cargo bench --workspace --bench nexmark`. A time is that of one event, a rate is events per second: all that happens at the auction house
//! counts, also what a query leaves aside after it has read it.

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use millstream::{StoreType, StreamsBuilder, TaskConfig, TopologyConfig};
use millstream_benches::{
    engine::Engine,
    input::Workload,
    nexmark::{QUERIES, generator::Generator},
};

/// Programs of many small allocations should choose an allocator for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many events a commit follows.
const EPOCH: u64 = 25_000;
const WARM_UP: u64 = 200_000;

fn queries(c: &mut Criterion) {
    for store_type in [StoreType::InMemory, StoreType::RocksDb] {
        let is_on_disk = store_type == StoreType::RocksDb;
        let mut group = c.benchmark_group(if is_on_disk { "nexmark on RocksDB" } else { "nexmark in memory" });
        group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(1));
        for (name, draw) in QUERIES {
            let start = || {
                let builder = StreamsBuilder::with_config(TopologyConfig { store_type, ..TopologyConfig::default() });
                draw(&builder);
                let topology = builder.build().expect("the query is sound");
                let engine = Engine::new(&topology, TaskConfig::new("nexmark"), is_on_disk).expect("it starts");
                let mut workload = Workload::new(engine, EPOCH, |number, batch| Generator::default().add_to(batch, number));
                workload.run(WARM_UP);
                workload
            };
            let mut workload = None;
            group.bench_function(name, |b| b.iter_custom(|events| workload.get_or_insert_with(start).time(events)));
        }
    }
}

criterion_group! {
    name = nexmark;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(3)).measurement_time(Duration::from_secs(3));
    targets = queries
}
criterion_main!(nexmark);
