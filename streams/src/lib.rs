//! Kafka Streams for Rust on timely dataflow.
#![deny(missing_docs)]

mod builder;
mod grouped_stream;
mod kstream;
mod ktable;
mod operator;
mod options;
mod test_driver;

pub use builder::{Optimization, StreamsBuilder, TopologyConfig};
pub use grouped_stream::KGroupedStream;
pub use kstream::{BranchedKStream, KStream};
pub use ktable::KTable;
pub use millstream_topology::{
    Change, Data, DefaultSerde, Error, ErrorKind, Header, Headers, InvalidTimestamp, OffsetReset, OnError, RawRecord, Record, Serde,
    SerdeError, SerdeRef, TaskConfig, TaskContext, TimestampExtractor, Topology, ValueAndTimestamp, data, store::StoreType,
};
pub use options::{Branched, Consumed, Grouped, Materialized, Named, Produced, Repartitioned};
pub use test_driver::{TestDriverConfig, TestInputTopic, TestOutputTopic, TestRecord, TopologyTestDriver};
