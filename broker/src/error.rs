//! What can go wrong between a broker and its clients.

/// What went wrong, and what to do.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The broker cannot be reached.
    #[error("broker {0} cannot be reached: check that it runs and that the address is right")]
    Unreachable(String),
    /// The deadline passed; whether it happened is not known.
    #[error("{0} did not finish before its deadline")]
    Timeout(&'static str),
    /// No such topic.
    #[error("topic {0} does not exist: create it first")]
    UnknownTopic(String),
    /// No such partition.
    #[error("topic {topic} has no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition that was asked for.
        partition: i32,
    },
    /// The topic is there with another number of partitions.
    #[error("topic {topic} exists with {partitions} partitions: delete it, or ask for as many")]
    TopicExists {
        /// The topic.
        topic: String,
        /// How many it has.
        partitions: i32,
    },
    /// Another producer or member took over.
    #[error("fenced: another instance with the same transactional id or a newer generation of the group took over ({0})")]
    Fenced(String),
    /// The record is larger than the broker takes.
    #[error("record of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The producer's queue is full.
    #[error("the producer's queue is full: slow down, or wait for acknowledgements")]
    QueueFull,
    /// No committed offset, and the policy is to fail.
    #[error("group has no committed offset for {0}: choose where to start")]
    NoOffset(String),
    /// The call does not fit the state: not in a transaction, not a member of a group …
    #[error("{0}")]
    State(String),
    /// The data directory cannot be used.
    #[error("data directory {path}: {reason}")]
    Storage {
        /// Where.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The producer's state at the broker is not what it believes.
    #[error("the producer cannot go on ({0}): make a new one")]
    Broken(String),
    /// Another answer of the broker's.
    #[error("broker: {0}")]
    Other(String),
}

impl Error {
    /// Whether the producer or consumer that returned it can only be thrown away.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Fenced(_) | Self::Broken(_) | Self::Storage { .. })
    }
}
