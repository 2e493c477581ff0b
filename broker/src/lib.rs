//! The partitioned log: one contract, two brokers.
//!
//! | file | what |
//! | --- | --- |
//! | [`record`] | records, headers, batches |
//! | [`contract`] | [`Broker`], [`Admin`], [`Producer`], [`Consumer`] and their options |
//! | [`error`] | what can go wrong |
//! | [`embedded`] | the broker inside this process |
//! | [`kafka`] | Apache Kafka |
//! | `partitioner` | which partition a key belongs to |
//! | `names`, `signal` | what both brokers' consumers use |
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod contract;
pub mod embedded;
pub mod error;
pub mod kafka;
pub mod record;

mod names;
mod partitioner;
mod signal;

use std::{path::Path, sync::Arc};

pub use contract::*;
pub use embedded::{EmbeddedBroker, EmbeddedOptions};
pub use error::Error;
pub use kafka::{KafkaBroker, KafkaOptions};
pub use partitioner::partition_for_key;
pub use record::*;

/// Kafka if there are addresses, else the embedded broker in `broker` under this directory.
pub fn connect(bootstrap_servers: Option<&str>, data_dir: &Path) -> Result<Arc<dyn Broker>, Error> {
    Ok(match bootstrap_servers {
        Some(addresses) => KafkaBroker::connect(addresses, KafkaOptions::default())?,
        None => EmbeddedBroker::open(EmbeddedOptions::new(data_dir.join("broker")))?,
    })
}
