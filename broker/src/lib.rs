//! The partitioned log: one contract, two brokers.
//!
//! | file | what |
//! | --- | --- |
//! | [`record`] | records, headers, batches |
//! | [`contract`] | [`Broker`], [`Admin`], [`Producer`], [`Consumer`] and their options |
//! | [`error`] | what can go wrong |
//! | [`embedded`] | the broker inside this process |
#![deny(missing_docs)]

pub mod contract;
pub mod embedded;
pub mod error;
pub mod record;

pub use contract::*;
pub use embedded::{EmbeddedBroker, EmbeddedOptions};
pub use error::Error;
pub use record::*;
