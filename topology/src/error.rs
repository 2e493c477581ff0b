//! What can go wrong while a topology is built or runs.

use std::{any::Any, sync::Arc};

use crate::{SerdeError, store::bytes::StoreError};

/// The kind of an error: a closed set, named after what Kafka Streams throws.
///
/// ```
/// # use millstream_topology::*;
/// assert_eq!(Error::new(ErrorKind::User, "no such customer").kind(), ErrorKind::User);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The topology cannot be (`TopologyException`).
    Topology,
    /// A parameter is out of its range (`IllegalArgumentException`).
    IllegalArgument,
    /// The call does not fit the state (`IllegalStateException`).
    IllegalState,
    /// A null where none may be (`NullPointerException`).
    Null,
    /// A value of another type (`ClassCastException`).
    ClassCast,
    /// Not possible with this store or window (`UnsupportedOperationException`).
    Unsupported,
    /// A setting is wrong (`ConfigException`).
    Config,
    /// A key or value cannot be written or read.
    Serialization,
    /// The user's function failed or panicked.
    User,
    /// Any other failure of the streams engine (`StreamsException`).
    Streams,
}

/// What went wrong, where, and what to do.
///
/// ```
/// # use millstream_topology::*;
/// let error = Error::new(ErrorKind::User, "no such customer: add them first").at(&"look-up".into());
/// assert_eq!(error.to_string(), "look-up: no such customer: add them first");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{}", self.place(), self.0.message)]
pub struct Error(Box<Details>);

/// In a box, so that a result that is no error is passed in a register.
#[derive(Clone, Debug)]
struct Details {
    kind: ErrorKind,
    node: Option<Arc<str>>,
    message: String,
    handled: bool,
}

impl Error {
    /// An error; the text is a lower-case sentence that says what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Details { kind, node: None, message: message.into(), handled: false }))
    }

    /// Says at which node it happened, unless that is known already.
    pub fn at(mut self, node: &Arc<str>) -> Self {
        self.0.node.get_or_insert_with(|| node.clone());
        self
    }

    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The node's name.
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    /// What a panic of the user's code says.
    pub fn from_panic(panic: Box<dyn Any + Send>) -> Self {
        let text = match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast::<&str>().map_or_else(|_| "no text".into(), |text| text.to_string()),
        };
        Self::new(ErrorKind::User, format!("user code panicked: {text}"))
    }

    /// Whether the processing handler has already decided to fail.
    pub(crate) fn is_handled(&self) -> bool {
        self.0.handled
    }

    pub(crate) fn handled(mut self) -> Self {
        self.0.handled = true;
        self
    }

    fn place(&self) -> String {
        self.0.node.as_ref().map(|node| format!("{node}: ")).unwrap_or_default()
    }
}

impl From<SerdeError> for Error {
    fn from(error: SerdeError) -> Self {
        Self::new(ErrorKind::Serialization, error.0)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::new(ErrorKind::Streams, error.to_string())
    }
}

/// A topology error.
pub(crate) fn topology(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Topology, message)
}
