//! JSON ↔ protobuf of the Open Inference Protocol, without loss.
//!
//! | file | what |
//! | --- | --- |
//! | [`datatype`] | the datatypes and their widths |
//! | `tensor` | a tensor apart from the message that it is in; its shape |
//! | [`contents`] | typed contents ↔ raw little-endian bytes |
//! | `elements` | the text of a JSON array → contents, and back |
//! | [`parameters`] | parameters ↔ JSON |
//! | [`decode`] | JSON, with or without binary tensors → message |
//! | [`encode`] | message → JSON, with or without binary tensors |
//! | [`mod@validate`] | whether a message holds what it says |
//! | [`payload`] | what a record's value is: protobuf, framed protobuf or JSON |
//!
//! What JSON cannot say is written so that nothing is lost:
//! * 64-bit integers are read and written digit by digit, never through a floating-point number.
//! * `NaN`, `Infinity` and `-Infinity` are the strings `"NaN"`, `"Infinity"` and `"-Infinity"`, in both directions.
//! * FP16 and BF16 have no typed contents. A request with such a tensor travels with raw contents, all of its tensors: servers
//!   refuse a mixture.
//! * BYTES are strings. A response tensor of which an element is not UTF-8 is written whole in base64, and its parameter
//!   `content_type` says `base64`. In requests strings are taken as they are: an element that is not UTF-8 is sent as a binary
//!   tensor or over gRPC.

pub mod contents;
pub mod datatype;
pub mod decode;
mod elements;
pub mod encode;
pub mod parameters;
pub mod payload;
pub(crate) mod tensor;
pub mod validate;

pub use datatype::Datatype;
pub use decode::{BinaryOutputs, Decoded, request_from_json, response_from_json};
pub use encode::{Encoded, request_to_json, response_to_json, response_to_rest};
pub use validate::validate;

/// Why something is not an inference request or response.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// Not JSON.
    #[error("malformed JSON: {0}")]
    Json(String),
    /// JSON, but of another shape.
    #[error("not an inference {what}: {reason}")]
    Structure {
        /// Request or response.
        what: &'static str,
        /// What is missing or wrong, and where.
        reason: String,
    },
    /// A tensor is wrong.
    #[error("tensor {tensor}: {reason}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A parameter is wrong.
    #[error("parameter {parameter}: {reason}")]
    Parameter {
        /// Its name.
        parameter: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl CodecError {
    pub(crate) fn tensor(tensor: &str, reason: impl Into<String>) -> Self {
        Self::Tensor { tensor: tensor.into(), reason: reason.into() }
    }

    pub(crate) fn parameter(parameter: &str, reason: impl Into<String>) -> Self {
        Self::Parameter { parameter: parameter.into(), reason: reason.into() }
    }
}
