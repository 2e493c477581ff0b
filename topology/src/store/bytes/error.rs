//! What can go wrong in a state store.

/// A state store cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// RocksDB refused.
    #[error("cannot {action} {place}: {reason}; check that the state directory is writable, has space, and belongs to this process alone")]
    Rocks {
        /// What was tried.
        action: &'static str,
        /// The store or directory.
        place: String,
        /// RocksDB's own words.
        reason: String,
    },
    /// The partition of the store has an owner already.
    #[error("partition {partition} of store {store} is open already; drop its other owner first")]
    InUse {
        /// The store's name.
        store: String,
        /// The partition.
        partition: i32,
    },
    /// Two epochs cannot commit at once.
    #[error("partition {partition} of store {store} still commits an epoch; say `applied` before taking the next")]
    Committing {
        /// The store's name.
        store: String,
        /// The partition.
        partition: i32,
    },
    /// The store has no such operation.
    #[error("{0} is not possible with this store; make it with {1}")]
    Unsupported(&'static str, &'static str),
    /// The bytes of a row are not what this store writes.
    #[error("a row of {0} bytes is too short for {1}; delete the state directory, it is rebuilt from the changelog")]
    Corrupt(usize, &'static str),
}

impl StoreError {
    pub(crate) fn rocks(action: &'static str, place: impl Into<String>, reason: &rocksdb::Error) -> Self {
        Self::Rocks { action, place: place.into(), reason: reason.to_string() }
    }
}
