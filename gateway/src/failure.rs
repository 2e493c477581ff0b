//! A request that is not answered with a result: its gRPC code and HTTP status, one table for both faces.

use http::{HeaderMap, StatusCode};
use tonic::{Code, Status, metadata::MetadataMap};

use crate::CodecError;

/// Law: whoever waits is told what is wrong, in one line.
#[derive(Debug)]
pub(crate) struct Failure {
    pub code: Code,
    pub http: StatusCode,
    pub message: String,
    pub headers: Option<Box<HeaderMap>>,
}

impl Failure {
    fn new(code: Code, http: StatusCode, message: impl Into<String>) -> Self {
        Self { code, http, message: message.into(), headers: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, StatusCode::BAD_REQUEST, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, StatusCode::NOT_FOUND, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Code::AlreadyExists, StatusCode::CONFLICT, message)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    pub fn too_many(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, message)
    }

    pub fn deadline(message: impl Into<String>) -> Self {
        Self::new(Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// What a step of a pipeline answered instead of a result. The model gateway's text says the code that its server gave; without one
    /// it is Seldon's for all of them, 400 and UNKNOWN.
    pub fn step(step: &str, text: &str) -> Self {
        let code = text.strip_prefix("rpc error: code = ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let code = (1..=16).map(Code::from_i32).find(|known| format!("{known:?}") == code).unwrap_or(Code::Unknown);
        let http = if code == Code::Unknown { StatusCode::BAD_REQUEST } else { http(code) };
        Self::new(code, http, format!("{step} : {text}"))
    }

    /// What an inference server answered instead of a result.
    pub fn server(model: &str, status: &Status) -> Self {
        Self::new(status.code(), http(status.code()), format!("{model} : {}", status.message()))
    }

    pub fn with(self, headers: HeaderMap) -> Self {
        Self { headers: Some(Box::new(headers)), ..self }
    }
}

/// The HTTP status that says the same as a server's code.
fn http(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<CodecError> for Failure {
    fn from(error: CodecError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let metadata = failure.headers.map_or_else(MetadataMap::new, |h| MetadataMap::from_headers(*h));
        Self::with_metadata(failure.code, failure.message, metadata)
    }
}
