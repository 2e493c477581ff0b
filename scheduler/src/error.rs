//! Why a scheduler does not run.

use std::net::SocketAddr;

/// What went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option that cannot be.
    #[error("option {0}")]
    Option(String),
    /// Somebody else listens there.
    #[error("port {} of {} is in use: stop the process that listens there, or choose another address", .0.port(), .0.ip())]
    PortInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The state topic cannot be read or written.
    #[error("state topic {topic}: {source}")]
    Journal {
        /// Its name.
        topic: String,
        /// Why.
        source: millstream_broker::Error,
    },
    /// Another scheduler of this namespace took over.
    #[error("another scheduler of namespace {0} took over: run one at a time")]
    Fenced(String),
    /// A record of the state topic is not readable.
    #[error(
        "state topic {topic}: record {key} cannot be read ({reason}): it is of a newer release, or damaged; delete it to go on without"
    )]
    Corrupt {
        /// The topic.
        topic: String,
        /// The record's key.
        key: String,
        /// Why.
        reason: String,
    },
    /// A bug: a part of the scheduler is gone.
    #[error("the scheduler's {0} stopped unexpectedly: look at its log")]
    Stopped(&'static str),
}
