//! Faults on purpose: how tests see what the rest does when the broker fails.

use std::{fmt, sync::Arc};

use crate::{Error, TopicPartition};

/// What the broker is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Append a batch.
    Append,
    /// Read a partition.
    Fetch,
    /// Commit a transaction, or offsets.
    Commit,
}

/// Decides before each operation whether it fails, and how; it may also wait. The partition is there where there is one.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<dyn Fn(Operation, Option<&TopicPartition>) -> Result<(), Error> + Send + Sync>>);

impl Faults {
    /// Faults that this function decides.
    pub fn new(decide: impl Fn(Operation, Option<&TopicPartition>) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(decide)))
    }

    pub(crate) fn before(&self, operation: Operation, partition: Option<&TopicPartition>) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |decide| decide(operation, partition))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Faults(some)" } else { "Faults(none)" })
    }
}
