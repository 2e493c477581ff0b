//! Kafka Streams for Rust on timely dataflow.
//!
//! ```
//! use millstream::{StreamsBuilder, TopologyTestDriver};
//!
//! let builder = StreamsBuilder::new();
//! builder
//!     .stream::<Option<String>, String>("lines")
//!     .flat_map_values(|line| line.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>())
//!     .group_by(|_, word| word.clone())
//!     .count()
//!     .to_stream()
//!     .to("counts");
//!
//! let driver = TopologyTestDriver::new(&builder.build().unwrap(), Default::default()).unwrap();
//! driver.input_topic::<Option<String>, String>("lines").pipe(None, "to be or not to be".into(), 0).unwrap();
//! let counts = driver.output_topic::<String, i64>("counts").read_key_values().unwrap();
//! assert_eq!(counts.last(), Some(&("be".to_string(), 2)));
//! ```
//!
//! # Nulls
//!
//! Kafka's keys and values may be null. Here a type says whether they are:
//!
//! - A key or value of type `String` is never null, one of type `Option<String>` may be. Un-keyed lines are a
//!   `KStream<Option<String>, String>`. A null that arrives where the type has none is a record that cannot be read: the
//!   deserialization handler gets it, with an error that names the topic's source and says to use `Option`.
//! - Functions get what the type says. `map_values` on a `KStream<K, Option<V>>` sees the `None`; on a `KStream<K, V>` there is none.
//! - Operations that drop nulls (aggregations, joins) hand out the type without its null, [`Data::Present`].
//! - A table's rows are never null, so a `KTable<K, V>` has plain types, and a deletion is an event of its own:
//!   [`KTable::to_stream`] gives a `KStream<K, Option<V>>`, whose `None` writes a tombstone. It cannot be forgotten, because
//!   `KStream<K, Option<V>>` is not a `KStream<K, V>`.
//! - A left join's missing side is an `Option` in its joiner.
//! - A function that may delete a row returns `Option`; one that never does returns the value.
//!
//! A type of your own becomes a key or value with [`data!`], or implements [`Data`] if it has a null of its own.
#![deny(missing_docs)]

mod builder;
mod cogrouped_stream;
pub mod embed;
mod grouped_stream;
mod grouped_table;
mod kstream;
mod ktable;
mod operator;
mod options;
mod processor;
pub mod query;
mod runtime;
mod serdes;
mod test_driver;
mod windowed_stream;
mod windows;

pub use builder::{Optimization, StreamsBuilder, TopologyConfig};
pub use cogrouped_stream::{CogroupedKStream, SessionWindowedCogroupedKStream, TimeWindowedCogroupedKStream};
pub use grouped_stream::KGroupedStream;
pub use grouped_table::KGroupedTable;
pub use kstream::{BranchedKStream, KStream};
pub use ktable::{GlobalKTable, KTable};
pub use millstream_topology::{
    Around, Change, Compatibility, Data, DefaultSerde, Error, ErrorHandler, ErrorKind, Failure, Header, Headers, InvalidTimestamp,
    OffsetReset, OnError, ProcessorWrapper, PunctuationType, RawRecord, Record, RecordMetadata, Response, Serde, SerdeError, SerdeRef,
    SessionWindowedSerde, TaskConfig, TaskContext, TaskId, TimeWindowedSerde, TimestampExtractor, Topology, ValueAndTimestamp,
    ValueTimestampHeaders, Window, Windowed, Wrapped, data,
    store::{self, StoreType},
};
pub use operator::{Counter, TransformerContext, ValueTransformerWithKey};
pub use options::{
    Branched, BufferConfig, Consumed, EagerBufferConfig, Grouped, Joined, Materialized, Named, Printed, Produced, Repartitioned,
    StreamJoined, StrictBufferConfig, Suppressed, TableJoined,
};
pub use processor::{FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, Processor, ProcessorContext, ProcessorTopology, Schedule};
pub use runtime::{
    DefaultProductionExceptionHandler, FailedRecord, KafkaStreams, ProcessingGuarantee, ProductionExceptionHandler,
    ProductionExceptionHandlerResponse, State, StateListener, StateRestoreListener, StreamThreadExceptionResponse, StreamsConfig,
    StreamsError, UncaughtExceptionHandler,
};
#[cfg(feature = "avro")]
pub use serdes::avro;
pub use serdes::{Json, Proto};
pub use test_driver::{TestDriverConfig, TestInputTopic, TestOutputTopic, TestRecord, TopologyTestDriver};
pub use windowed_stream::{SessionWindowedKStream, TimeWindowedKStream};
pub use windows::{EmitStrategy, JoinWindows, SessionWindows, SlidingWindows, TimeWindows, UnlimitedWindows, WindowDefinition};
