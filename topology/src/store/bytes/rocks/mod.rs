//! State on disk: one RocksDB for all stores of an application, and the epoch's writes in front of it.

mod epoch;
mod map;
mod merge;
mod object_cache;
mod state;

pub use epoch::EpochWrites;
pub use map::{RocksHandle, RocksMap};
pub use state::{RocksState, StateBatch, StateOptions};
