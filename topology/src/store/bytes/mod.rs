//! State stores by bytes: what lies below serdes, caches and changelogs.
//!
//! Each kind answers as Kafka Streams' store of that kind does, to the order of its iterators, also where its stores in memory and on disk
//! differ. Nothing here has a clock: time is what was put.
//!
//! | file | what |
//! | --- | --- |
//! | `rocks` | one RocksDB for all stores, and the epoch's writes in front of it |
//! | `map` | an ordered map, in memory or on disk; `ordered_hash` is the one in memory |
//! | `key_value`, `lru` | key-value stores |
//! | `segments` | rows that expire a segment at a time; what windows, sessions and versions on disk are made of |
//! | `window`, `session`, `versioned` | the other kinds of store |
//! | `sorted` | a small ordered map: the windows or sessions of one key in memory |
//! | `keys` | windows and sessions as bytes |

mod error;
mod key_value;
mod keys;
mod lru;
mod map;
mod ordered_hash;
mod rocks;
mod segments;
mod session;
mod sorted;
mod versioned;
mod window;

pub use error::StoreError;
pub use key_value::KeyValueBytes;
pub use keys::{SessionKey, WindowKey, session_from_bytes, session_to_bytes, window_from_bytes, window_to_bytes};
pub use lru::LruMap;
pub use map::{Map, MemoryMap, Rows};
pub(crate) use ordered_hash::OrderedHash;
pub use rocks::{EpochWrites, RocksHandle, RocksMap, RocksState, StateBatch, StateOptions};
pub use segments::Put;
pub use session::{SessionBytes, SessionOptions, SessionOrder, SessionRows};
pub(crate) use sorted::Sorted;
pub use versioned::{VersionedBytes, VersionedOptions, VersionedPut, VersionedValue, default_version_interval};
pub use window::{WindowBytes, WindowOptions, WindowOrder, WindowRows, default_segment_interval};

#[cfg(test)]
mod tests;
