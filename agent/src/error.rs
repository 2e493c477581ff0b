//! What can go wrong, in one sentence each.

use std::net::SocketAddr;
use std::path::PathBuf;
use tonic::{Code, Status};

/// An agent could not start or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The port is taken, or the address is not of this machine.
    #[error("cannot listen on {address}: {reason}; choose another address with `listen`")]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
    /// An address in the options is no URL.
    #[error("{option} {value:?} is not an address such as http://127.0.0.1:{example}: {reason}")]
    Address {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// A usual port.
        example: u16,
        /// What is wrong with it.
        reason: String,
    },
    /// The gRPC server stopped.
    #[error("the inference server on {address} stopped: {reason}; start the agent again")]
    Serve {
        /// Where it listened.
        address: SocketAddr,
        /// Why it stopped.
        reason: String,
    },
}

/// A model could not be loaded or unloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No room.
    #[error("model {model} asks for {asked} bytes and {available} of {total} are free: unload another model or raise `memory_bytes`")]
    Memory {
        /// The model.
        model: String,
        /// What it asks for.
        asked: u64,
        /// What is free.
        available: u64,
        /// What the replica has.
        total: u64,
    },
    /// Not an address that the agent can read.
    #[error("storage URI {uri:?} cannot be read: {reason}; use file:// and a path, absolute or relative to the agent's working directory")]
    Uri {
        /// The address.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is missing or unreadable.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is no ONNX model that the runtime understands.
    #[error("{path} is not an ONNX model that can run here: {reason}; export it again", path = path.display())]
    Onnx {
        /// Which one.
        path: PathBuf,
        /// What the parser or the optimiser said.
        reason: String,
    },
    /// It took too long.
    #[error("model {model} was not {what} within {limit_ms} ms: raise `load_timeout_ms` or look at the model server")]
    Timeout {
        /// The model.
        model: String,
        /// Loaded or unloaded.
        what: &'static str,
        /// The bound.
        limit_ms: u64,
    },
    /// The neighbouring server does not answer.
    #[error("the model server at {endpoint} cannot be reached: {reason}; start it or correct `endpoint`")]
    Unreachable {
        /// Where it should be.
        endpoint: String,
        /// What the transport said.
        reason: String,
    },
    /// The neighbouring server answered with an error.
    #[error("the model server at {endpoint} refused model {model}: {reason}")]
    Refused {
        /// Where it is.
        endpoint: String,
        /// The model, as it is called there.
        model: String,
        /// What it said.
        reason: String,
    },
}

/// A request could not be answered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// No such model here.
    #[error("model {0:?} is not loaded on this server: load it or check the name")]
    UnknownModel(String),
    /// A tensor that the model does not have.
    #[error("model {model} has no {kind} {tensor:?}: it has {known}")]
    UnknownTensor {
        /// The model.
        model: String,
        /// Input or output.
        kind: &'static str,
        /// What was asked for.
        tensor: String,
        /// What there is.
        known: String,
    },
    /// A tensor that the request lacks.
    #[error("input {tensor:?} of model {model} is missing: expected {expected}")]
    MissingInput {
        /// The model.
        model: String,
        /// The input.
        tensor: String,
        /// Its datatype and shape.
        expected: String,
    },
    /// A tensor that the request has twice.
    #[error("input {tensor:?} of model {model} is given twice: send it once")]
    DuplicateInput {
        /// The model.
        model: String,
        /// The input.
        tensor: String,
    },
    /// Datatype, shape or contents do not fit.
    #[error("input {tensor:?} of model {model} has the wrong {what}: expected {expected}, got {got}")]
    WrongInput {
        /// The model.
        model: String,
        /// The input.
        tensor: String,
        /// Datatype, shape, contents …
        what: &'static str,
        /// What the model takes.
        expected: String,
        /// What came.
        got: String,
    },
    /// Raw and typed contents do not go together.
    #[error(
        "request for model {model} has {raw} raw_input_contents for {inputs} inputs: send one for each input and no typed contents, or none at all"
    )]
    RawContents {
        /// The model.
        model: String,
        /// How many raw contents.
        raw: usize,
        /// How many inputs.
        inputs: usize,
    },
    /// The runtime failed.
    #[error("model {model} failed: {reason}")]
    Failed {
        /// The model.
        model: String,
        /// What the runtime said.
        reason: String,
    },
    /// Too much at once.
    #[error("{queue} inferences wait already: try again later or add a replica")]
    Busy {
        /// The bound.
        queue: usize,
    },
}

impl InferError {
    /// The gRPC code that says the same.
    pub fn code(&self) -> Code {
        match self {
            InferError::UnknownModel(_) => Code::NotFound,
            InferError::Failed { .. } => Code::Internal,
            InferError::Busy { .. } => Code::ResourceExhausted,
            _ => Code::InvalidArgument,
        }
    }
}

impl From<InferError> for Status {
    fn from(error: InferError) -> Status {
        Status::new(error.code(), error.to_string())
    }
}

/// One line of bounded length out of what a library said.
pub(crate) fn one_line(text: &str) -> String {
    const LONGEST: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
