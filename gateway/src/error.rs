//! Why a gateway does not start.

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The port is taken, or the address is not this machine's.
    #[error("cannot listen on {address} ({source}): stop what uses the port, or choose another with `listen`")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// An address that is none.
    #[error("{what} address {address:?} is not host:port: {reason}")]
    Address {
        /// Whose.
        what: &'static str,
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option whose value does not do.
    #[error("option {option}: {reason}")]
    Option {
        /// Which.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The broker.
    #[error(transparent)]
    Broker(#[from] millstream_broker::Error),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}
