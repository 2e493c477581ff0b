//! Questions to state stores from outside their tasks (KIP-796): by key, range, prefix, window, session or time.
//!
//! A query is data. It is asked of a store by name, of every partition of the store that is here or of some of them, and each partition
//! answers for itself, with the position up to which it has processed its input. A stream thread answers between two records, so an
//! answer is of one moment and contains what waits in the record cache.
//!
//! | file | what |
//! | --- | --- |
//! | `request`, `result` | what is asked, and what is answered |
//! | `key_value`, `window`, `versioned` | the queries, by the kind of store that answers them |
//! | `ask` | asking a task |

mod ask;
mod key_value;
mod request;
mod result;
mod versioned;
mod window;

use millstream_topology::{Error, store::AnyStore};

pub(crate) use ask::{answer, ask_all};
pub use key_value::{KeyQuery, RangeQuery, TimestampedKeyQuery, TimestampedRangeQuery};
pub use request::{InStore, PositionBound, StateQueryRequest};
pub use result::{Listing, Position, QueryFailure, QuerySuccess, StateQueryError, StateQueryResult};
pub use versioned::{MultiVersionedKeyQuery, VersionedKeyQuery};
pub use window::{TimestampedWindowKeyQuery, TimestampedWindowRangeQuery, WindowKeyQuery, WindowRangeQuery};

/// How many rows a partition answers with unless the query says otherwise.
pub const DEFAULT_LIMIT: usize = 10_000;

/// A question to a store.
///
/// **Law.** It is answered from one partition of one store, without changing it.
pub trait Query: Clone + Send + 'static {
    /// What is answered.
    type Result: Send + 'static;
    /// The answer; `None` if the store, or its types, do not fit the question.
    fn answer(&self, store: &(dyn AnyStore + 'static)) -> Option<Result<Self::Result, Error>>;
}

/// At most so many of these rows.
fn listed<T>(rows: impl Iterator<Item = Result<T, Error>>, limit: usize) -> Result<Listing<T>, Error> {
    let mut rows = rows.into_iter();
    let listed = rows.by_ref().take(limit).collect::<Result<Vec<T>, Error>>()?;
    Ok(Listing { is_complete: listed.len() < limit || rows.next().is_none(), rows: listed })
}
