//! A query over a few thousand events, in each way that the benchmark runs it and without a record cache.

use std::collections::BTreeMap;

use millstream::{Data, DefaultSerde, Serde, StoreType, StreamsBuilder, TaskConfig, TopologyConfig};
use millstream_topology::Output;

use super::{
    events::{Auction, Bid, Event, Person},
    generator::Generator,
};
use crate::{engine::Engine, input::Batch};

/// 40 seconds of an auction house that has 500 events a second.
const GENERATOR: Generator = Generator { start_ms: 1_436_918_400_000, rate: 500 };
const EVENTS: u64 = 20_000;
const EPOCH: usize = 800;

pub(super) struct SmallRun {
    events: Vec<Event>,
    outputs: Vec<Output>,
}

impl SmallRun {
    /// In memory, in memory without a cache, and on RocksDB.
    pub fn all(draw: impl Fn(&StreamsBuilder)) -> impl Iterator<Item = Self> {
        [(StoreType::InMemory, true), (StoreType::InMemory, false), (StoreType::RocksDb, true)]
            .into_iter()
            .map(move |(store_type, cached)| Self::new(&draw, store_type, cached))
    }

    fn new(draw: impl Fn(&StreamsBuilder), store_type: StoreType, cached: bool) -> Self {
        let builder = StreamsBuilder::with_config(TopologyConfig { store_type, ..TopologyConfig::default() });
        draw(&builder);
        let mut config = TaskConfig::new("small-run");
        if !cached {
            config.cache_max_bytes = 0;
        }
        let mut engine = Engine::new(&builder.build().unwrap(), config, store_type == StoreType::RocksDb).unwrap();
        for first in (0..EVENTS).step_by(EPOCH) {
            let mut batch = Batch::default();
            (first..first + EPOCH as u64).for_each(|number| GENERATOR.add_to(&mut batch, number));
            batch.into_records().into_iter().for_each(|(topic, record)| engine.push(topic, record).unwrap());
            engine.run().unwrap();
            engine.commit().unwrap();
        }
        // What leaves a cache may wait in the next one.
        for _ in 0..3 {
            engine.commit().unwrap();
        }
        Self {
            events: (0..EVENTS).map(|number| GENERATOR.event(number)).collect(),
            outputs: engine.take_written().into_iter().flatten().collect(),
        }
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }

    pub fn persons(&self) -> impl Iterator<Item = &Person> {
        self.events.iter().filter_map(|event| if let Event::Person(person) = event { Some(person) } else { None })
    }

    pub fn auctions(&self) -> impl Iterator<Item = &Auction> {
        self.events.iter().filter_map(|event| if let Event::Auction(auction) = event { Some(auction) } else { None })
    }

    pub fn bids(&self) -> impl Iterator<Item = &Bid> {
        self.events.iter().filter_map(|event| if let Event::Bid(bid) = event { Some(bid) } else { None })
    }

    /// What was written to a topic, in order.
    pub fn records<K: DefaultSerde<Present = K>, V: DefaultSerde<Present = V>>(&self, topic: &str) -> Vec<(K, V)> {
        let written = self.written::<K, V>(topic, &*K::default_serde());
        written.into_iter().map(|(key, value)| (key, value.unwrap())).collect()
    }

    /// The newest value of each key of a topic.
    pub fn table<K: DefaultSerde<Present = K> + Ord, V: DefaultSerde<Present = V>>(&self, topic: &str) -> BTreeMap<K, V> {
        self.table_with(topic, &*K::default_serde())
    }

    /// The same, with keys that another serde reads.
    pub fn table_with<K: Data<Present = K> + Ord, V: DefaultSerde<Present = V>>(&self, topic: &str, keys: &dyn Serde<K>) -> BTreeMap<K, V> {
        let newest: BTreeMap<K, Option<V>> = self.written(topic, keys).into_iter().collect();
        newest.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    fn written<K, V: DefaultSerde<Present = V>>(&self, topic: &str, keys: &dyn Serde<K>) -> Vec<(K, Option<V>)> {
        let values = V::default_serde();
        let records = self.outputs.iter().filter(|output| &*output.topic == topic).map(|output| &output.record);
        records
            .map(|record| {
                let value = record.value.as_ref().map(|value| values.deserialize(value).unwrap());
                (keys.deserialize(record.key.as_ref().unwrap()).unwrap(), value)
            })
            .collect()
    }
}
