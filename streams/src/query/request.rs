//! What is asked.

use std::{collections::BTreeSet, sync::Arc};

use super::Position;

/// Where a question begins: with the store.
#[derive(Clone, Debug)]
pub struct InStore(Arc<str>);

/// A question to a store, of all its partitions that are here unless it says otherwise.
///
/// ```
/// use millstream::query::{KeyQuery, StateQueryRequest};
///
/// let request = StateQueryRequest::in_store("counts").with_query(KeyQuery::<String, i64>::with_key("be".into())).with_partitions([2]);
/// assert_eq!(request.store(), "counts");
/// ```
#[derive(Clone, Debug)]
pub struct StateQueryRequest<Q> {
    pub(crate) store: Arc<str>,
    pub(crate) query: Q,
    pub(crate) partitions: Option<BTreeSet<i32>>,
    pub(crate) bound: PositionBound,
}

impl StateQueryRequest<()> {
    /// Of this store.
    pub fn in_store(name: impl Into<Arc<str>>) -> InStore {
        InStore(name.into())
    }
}

impl InStore {
    /// This question.
    pub fn with_query<Q: super::Query>(self, query: Q) -> StateQueryRequest<Q> {
        StateQueryRequest { store: self.0, query, partitions: None, bound: PositionBound::unbounded() }
    }
}

impl<Q> StateQueryRequest<Q> {
    /// Of all partitions that are here.
    pub fn with_all_partitions(self) -> Self {
        Self { partitions: None, ..self }
    }

    /// Of these partitions; one that is not here answers [`QueryFailure::NotPresent`](super::QueryFailure::NotPresent).
    pub fn with_partitions(self, partitions: impl IntoIterator<Item = i32>) -> Self {
        Self { partitions: Some(partitions.into_iter().collect()), ..self }
    }

    /// Only from partitions that have come at least so far.
    pub fn with_position_bound(self, bound: PositionBound) -> Self {
        Self { bound, ..self }
    }

    /// The store.
    pub fn store(&self) -> &str {
        &self.store
    }
}

/// How far a partition must have come to answer. With the position of an earlier answer, nobody reads what is older.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PositionBound(pub(crate) Position);

impl PositionBound {
    /// Wherever it is.
    pub fn unbounded() -> Self {
        Self::default()
    }

    /// At least here, as far as it reads these partitions.
    pub fn at(position: Position) -> Self {
        Self(position)
    }
}
