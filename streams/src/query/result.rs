//! What is answered.

use std::{collections::BTreeMap, sync::Arc};

use millstream_topology::Error;

/// Rows, up to the query's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The rows, in the order of the query.
    pub rows: Vec<T>,
    /// Whether there are no more. Otherwise ask again from the last row on.
    pub is_complete: bool,
}

impl<T> IntoIterator for Listing<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

/// How far a partition of a store has come: the offset of the last record that was processed, by input topic and partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(BTreeMap<Arc<str>, BTreeMap<i32, i64>>);

impl Position {
    /// Nowhere.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The same, and at least this offset of that partition.
    pub fn with(mut self, topic: impl Into<Arc<str>>, partition: i32, offset: i64) -> Self {
        let at = self.0.entry(topic.into()).or_default().entry(partition).or_insert(offset);
        *at = offset.max(*at);
        self
    }

    /// As far as either.
    pub fn merge(self, other: &Self) -> Self {
        other.iter().fold(self, |merged, (topic, partition, offset)| merged.with(topic.clone(), partition, offset))
    }

    /// The offset of the last record of a partition that was processed.
    pub fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(topic)?.get(&partition).copied()
    }

    /// All of it: topic, partition, offset.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i32, i64)> {
        self.0.iter().flat_map(|(topic, offsets)| offsets.iter().map(move |(partition, offset)| (topic, *partition, *offset)))
    }
}

/// A partition's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuerySuccess<R> {
    /// The answer.
    pub result: R,
    /// Up to where the partition has processed its input. Empty for a global store.
    pub position: Position,
}

/// Why a partition has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryFailure {
    /// The store does not know such queries, or holds other types.
    #[error("store {0} cannot answer this query: ask a store of that kind, with the types that it holds")]
    UnknownQueryType(Arc<str>),
    /// It has not come as far as was asked for.
    #[error("partition {partition} is at {position:?}, which is before the bound: ask again")]
    NotUpToBound {
        /// The partition.
        partition: i32,
        /// How far it has come.
        position: Position,
    },
    /// The partition is in another instance of the application, or is being restored.
    #[error("partition {0} is not here or not restored yet: ask the instance that has it, or later")]
    NotPresent(i32),
    /// There is no such partition.
    #[error("there is no partition {0} of this store: it has fewer")]
    DoesNotExist(i32),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(Error),
}

/// Why a query was not asked at all.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateQueryError {
    /// There is no such store.
    #[error("there is no store {0}: the topology has {1}")]
    UnknownStateStore(String, String),
    /// The application was not started.
    #[error("the application is not started: start it before asking")]
    NotStarted,
    /// The application has ended.
    #[error("the application has ended: start another one")]
    NotRunning,
    /// The stream thread did not answer in time.
    #[error("partition {0} did not answer before the deadline: ask again, or wait longer")]
    Timeout(i32),
}

/// The answers of all partitions that were asked.
#[derive(Clone, Debug)]
pub struct StateQueryResult<R> {
    /// By partition.
    pub partition_results: BTreeMap<i32, Result<QuerySuccess<R>, QueryFailure>>,
    /// Of a global store.
    pub global_result: Option<Result<QuerySuccess<R>, QueryFailure>>,
}

impl<R> Default for StateQueryResult<R> {
    fn default() -> Self {
        Self { partition_results: BTreeMap::new(), global_result: None }
    }
}

impl<R> StateQueryResult<R> {
    /// The answers that came, by partition; that of a global store as partition 0.
    pub fn successes(&self) -> impl Iterator<Item = (i32, &R)> {
        let global = self.global_result.iter().map(|result| (&0, result));
        self.partition_results.iter().chain(global).filter_map(|(partition, result)| Some((*partition, &result.as_ref().ok()?.result)))
    }

    /// The first partition's reason not to answer, if one has none.
    pub fn failure(&self) -> Option<&QueryFailure> {
        self.partition_results.values().chain(&self.global_result).find_map(|result| result.as_ref().err())
    }

    /// As far as all answers together have come: the bound of a later question that must not see less.
    pub fn position(&self) -> Position {
        let results = self.partition_results.values().chain(&self.global_result).filter_map(|result| result.as_ref().ok());
        results.fold(Position::empty(), |merged, success| merged.merge(&success.position))
    }
}

impl<T: Clone> StateQueryResult<Option<T>> {
    /// The row that was found, in whichever partition: a key is in one of them at most.
    ///
    /// # Errors
    /// No partition has it, and one of them had no answer.
    pub fn found(&self) -> Result<Option<T>, QueryFailure> {
        match self.successes().find_map(|(_, row)| row.clone()) {
            Some(row) => Ok(Some(row)),
            None => self.failure().map_or(Ok(None), |failure| Err(failure.clone())),
        }
    }
}

impl<T> StateQueryResult<Listing<T>> {
    /// The rows of all partitions, one after the other.
    ///
    /// # Errors
    /// A partition had no answer.
    pub fn into_rows(self) -> Result<Vec<T>, QueryFailure> {
        let mut rows = vec![];
        for result in self.partition_results.into_values().chain(self.global_result) {
            rows.extend(result?.result.rows);
        }
        Ok(rows)
    }
}
