//! What can go wrong while a topology runs.

/// What went wrong while a topology ran.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamsError {
    /// The topology, or user code in it.
    #[error(transparent)]
    Topology(#[from] millstream_topology::Error),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] millstream_broker::Error),
    /// A source topic is not there.
    #[error("source topic {0} does not exist: create it before the application starts")]
    MissingSourceTopic(String),
    /// A record could not be written, and the production handler said to fail, or to replay it.
    #[error("a record for topic {topic} was not written ({error}): mend the cause, or drop such records with a production handler")]
    Production {
        /// The topic.
        topic: String,
        /// Why not.
        error: millstream_broker::Error,
        /// Whether the handler said to replay it: the thread goes back to what is committed.
        retry: bool,
    },
    /// It did not get ready, or did not stop, in time.
    #[error("{0} did not finish before its deadline")]
    Timeout(&'static str),
    /// Another member of the application asked all of them to stop.
    #[error("another instance of the application asked all of them to stop: look there for the cause")]
    ShutdownRequested,
    /// The call does not fit the state.
    #[error("{0}")]
    State(&'static str),
    /// Threads or directories could not be made.
    #[error("{0}")]
    System(String),
}

impl StreamsError {
    /// Whether somebody else has taken over what this thread did, or nobody knows what became of it: nobody needs to be asked before the
    /// thread goes back to what is committed and joins the group anew.
    pub(crate) fn is_migration(&self) -> bool {
        use millstream_broker::Error::{Broken, Fenced, Timeout, Unreachable};
        match self {
            Self::Broker(error) => matches!(error, Fenced(_) | Broken(_) | Timeout(_) | Unreachable(_)),
            Self::Production { retry, .. } => *retry,
            _ => false,
        }
    }
}
