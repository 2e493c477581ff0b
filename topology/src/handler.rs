//! What happens to a record that cannot be read or processed (KIP-1033, KIP-1034).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    context::{Output, RecordContext, RecordMetadata, Target, TaskContext, TaskId},
    error::{Error, ErrorKind},
    record::{Header, Headers, RawRecord},
};

/// What happens to a record that cannot be read, or at which user code fails.
///
/// **Law.** What fails at a node is decided at that node: what its siblings have done with the record stays. [`Fail`](Self::Fail) and
/// [`Continue`](Self::Continue) send the source record to the dead-letter topic if one is configured; a handler sends what it says.
///
/// ```
/// use millstream_topology::{ErrorKind, OnError, Response};
///
/// let lenient = OnError::ask(|failure| match failure.error.kind() {
///     ErrorKind::Serialization => Response::resume().dead_letter(failure.dead_letter("unreadable")),
///     _ => Response::fail(),
/// });
/// assert!(matches!(lenient, OnError::Ask(_)));
/// ```
#[derive(Clone, Default)]
pub enum OnError {
    /// The task fails (`LogAndFail…`).
    #[default]
    Fail,
    /// The record is dropped and counted, and processing goes on (`LogAndContinue…`).
    Continue,
    /// Code decides.
    Ask(Arc<dyn ErrorHandler>),
}

impl OnError {
    /// Has `handler` decide.
    pub fn ask(handler: impl Fn(&Failure<'_>) -> Response + Send + Sync + 'static) -> Self {
        Self::Ask(Arc::new(handler))
    }
}

impl std::fmt::Debug for OnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fail => "Fail",
            Self::Continue => "Continue",
            Self::Ask(_) => "Ask(..)",
        })
    }
}

/// Decides about failures (`DeserializationExceptionHandler`, `ProcessingExceptionHandler`). A closure is one.
///
/// **Law.** It is called on the task's thread, once per failure. If it panics itself, the task fails.
///
/// ```
/// use millstream_topology::{ErrorHandler, Failure, OnError, Response};
///
/// /// Goes on with whatever happens in one topic.
/// struct Lenient;
/// impl ErrorHandler for Lenient {
///     fn handle(&self, failure: &Failure<'_>) -> Response {
///         match failure.metadata.topic.as_deref() {
///             Some("clicks") => Response::resume(),
///             _ => Response::fail(),
///         }
///     }
/// }
/// let on_error = OnError::Ask(std::sync::Arc::new(Lenient));
/// ```
pub trait ErrorHandler: Send + Sync {
    /// Decides about one failure.
    fn handle(&self, failure: &Failure<'_>) -> Response;
}

impl<F: Fn(&Failure<'_>) -> Response + Send + Sync> ErrorHandler for F {
    fn handle(&self, failure: &Failure<'_>) -> Response {
        self(failure)
    }
}

/// What failed, and at which record (`ErrorHandlerContext`).
///
/// ```
/// use millstream_topology::{OnError, Response};
///
/// let on_error = OnError::ask(|failure| {
///     eprintln!("{} at {}: {}", failure.task, failure.node, failure.error);
///     Response::resume().dead_letter(failure.dead_letter("dead"))
/// });
/// ```
pub struct Failure<'a> {
    /// The error.
    pub error: &'a Error,
    /// The node: a source for a record that cannot be read.
    pub node: &'a str,
    /// The task.
    pub task: TaskId,
    /// Where the source record came from; its topic is `None` in a punctuator.
    pub metadata: &'a RecordMetadata,
    /// The timestamp of the record at the node.
    pub timestamp: i64,
    /// The headers of the record at the node.
    pub headers: &'a Headers,
    /// The source record's key as it was read.
    pub source_key: Option<&'a Bytes>,
    /// The source record's value as it was read.
    pub source_value: Option<&'a Bytes>,
}

impl Failure<'_> {
    /// The dead letter that [`OnError::Fail`] and [`OnError::Continue`] write, for any topic: the source record with the headers that it
    /// has at the node, and after them `__streams.errors.exception`, `.message`, `.stacktrace`, `.topic`, `.partition` and `.offset`.
    pub fn dead_letter(&self, topic: impl Into<Arc<str>>) -> Output {
        let text = |text: String| Some(Bytes::from(text));
        let about = [
            ("exception", text(format!("{:?}", self.error.kind()))),
            ("message", text(self.error.to_string())),
            ("stacktrace", text(self.error.to_string())),
            ("topic", self.metadata.topic.as_ref().map(|topic| Bytes::copy_from_slice(topic.as_bytes()))),
            ("partition", text(self.metadata.partition.to_string())),
            ("offset", text(self.metadata.offset.to_string())),
        ];
        let mut headers = self.headers.to_vec();
        headers.extend(about.into_iter().map(|(name, value)| Header { name: format!("__streams.errors.{name}").into(), value }));
        let (key, value) = (self.source_key.cloned(), self.source_value.cloned());
        let record = RawRecord { key, value, timestamp: self.timestamp, headers: headers.into() };
        Output { topic: topic.into(), target: Target::Key, record }
    }
}

/// What a handler decides.
///
/// ```
/// use millstream_topology::Response;
/// assert_ne!(Response::resume(), Response::fail());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    resume: bool,
    dead_letters: Vec<Output>,
}

impl Response {
    /// The record is dropped and counted, and processing goes on.
    pub fn resume() -> Self {
        Self { resume: true, dead_letters: vec![] }
    }

    /// The task fails.
    pub fn fail() -> Self {
        Self { resume: false, dead_letters: vec![] }
    }

    /// Writes a dead letter too: one that [`Failure::dead_letter`] makes, or any other record.
    pub fn dead_letter(mut self, letter: Output) -> Self {
        self.dead_letters.push(letter);
        self
    }
}

/// Has a handler decide about a failure of the record in process. The error that is returned is not to be handled again.
#[cold]
pub(crate) fn decide(on_error: &OnError, context: &mut TaskContext, node: &Arc<str>, error: Error) -> Result<(), Error> {
    let error = error.at(node);
    let RecordContext { metadata, timestamp, headers, raw } = &context.record;
    let failure = Failure {
        error: &error,
        node,
        task: context.task,
        metadata,
        timestamp: *timestamp,
        headers,
        source_key: raw.as_ref().and_then(|raw| raw.0.as_ref()),
        source_value: raw.as_ref().and_then(|raw| raw.1.as_ref()),
    };
    let configured = |response: Response| match context.config.dead_letter_topic.clone() {
        Some(topic) => response.dead_letter(failure.dead_letter(topic)),
        None => response,
    };
    let response = match on_error {
        OnError::Fail => configured(Response::fail()),
        OnError::Continue => configured(Response::resume()),
        OnError::Ask(handler) => catch_unwind(AssertUnwindSafe(|| handler.handle(&failure))).map_err(|panic| {
            let text = format!("the handler of \"{error}\" failed itself: {}", Error::from_panic(panic));
            Error::new(ErrorKind::User, text).handled()
        })?,
    };
    // The global stores' task writes nothing (KIP-1034).
    if !context.task.is_global() {
        response.dead_letters.into_iter().for_each(|letter| context.send(letter));
    }
    match response.resume {
        true => {
            tracing::warn!(task = %context.task, node = &**node, %error, "record dropped");
            context.drop_record();
            Ok(())
        }
        false => Err(error.handled()),
    }
}
