//! What can go wrong in an engine replica.

/// What went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The pipeline cannot be run.
    #[error("{0}")]
    Pipeline(String),
    /// The pipeline's topology cannot be.
    #[error(transparent)]
    Topology(#[from] millstream::Error),
    /// A topology does not run.
    #[error(transparent)]
    Streams(#[from] millstream::StreamsError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] millstream_broker::Error),
    /// The scheduler's address.
    #[error("scheduler address {0:?} is none: write host:port")]
    Scheduler(String),
    /// Another replica has taken over.
    #[error("this replica was fenced: another one with its lanes or its name has taken over")]
    Fenced,
    /// No thread could be made, or one has died.
    #[error("{0}")]
    System(String),
}
