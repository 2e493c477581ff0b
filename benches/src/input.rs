//! Records in bytes, and how long they take.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use bytes::Bytes;
use millstream_topology::{Headers, RawRecord};

use crate::engine::Engine;

/// How many records are pushed before the engine runs: what a poll hands out.
const BATCH: u64 = 1_000;

/// Records on their way to the engine. Like those of a fetch, they are slices of one buffer.
#[derive(Default)]
pub struct Batch {
    buffer: Vec<u8>,
    rows: Vec<(&'static str, Range<usize>, Range<usize>, i64)>,
}

impl Batch {
    /// Appends a record.
    pub fn add(&mut self, topic: &'static str, key: &[u8], value: &[u8], timestamp: i64) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(key);
        let middle = self.buffer.len();
        self.buffer.extend_from_slice(value);
        self.rows.push((topic, start..middle, middle..self.buffer.len(), timestamp));
    }

    /// The records and their topics, in order.
    pub fn into_records(self) -> Vec<(&'static str, RawRecord)> {
        let buffer = Bytes::from(self.buffer);
        let record = |(topic, key, value, timestamp)| {
            (topic, RawRecord { key: Some(buffer.slice(key)), value: Some(buffer.slice(value)), timestamp, headers: Headers::empty() })
        };
        self.rows.into_iter().map(record).collect()
    }
}

/// An engine and an endless source of records for it: `source` is called with the number of each record, from 0.
pub struct Workload<S> {
    engine: Engine,
    source: S,
    epoch: u64,
    next: u64,
}

impl<S: FnMut(u64, &mut Batch)> Workload<S> {
    /// A commit follows every `epoch` records.
    pub fn new(engine: Engine, epoch: u64, source: S) -> Self {
        Self { engine, source, epoch, next: 0 }
    }

    /// How long so many records take: measured over whole epochs, so that each has its share of a commit.
    pub fn time(&mut self, records: u64) -> Duration {
        let whole = records.next_multiple_of(self.epoch);
        self.run(whole).mul_f64(records as f64 / whole as f64)
    }

    /// Runs so many records. The time is the engine's alone: from records in bytes to outputs in bytes, with commits.
    pub fn run(&mut self, records: u64) -> Duration {
        let (end, mut took) = (self.next + records, Duration::ZERO);
        while self.next < end {
            let stop = end.min(self.next + BATCH).min((self.next / self.epoch + 1) * self.epoch);
            let mut batch = Batch::default();
            (self.next..stop).for_each(|number| (self.source)(number, &mut batch));
            let records = batch.into_records();
            let began = Instant::now();
            for (topic, record) in records {
                self.engine.push(topic, record).expect("the topology reads the topic");
            }
            self.engine.run().expect("the topology takes its records");
            if stop % self.epoch == 0 {
                self.engine.commit().expect("the stores can be written");
            }
            drop(self.engine.take_written());
            took += began.elapsed();
            self.next = stop;
        }
        took
    }
}

/// A number that looks like chance and is always the same for the same `seed`: the finaliser of splitmix64.
pub fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
