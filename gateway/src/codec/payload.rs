//! What a record's value is. Values are protobuf; those of a schema registry's clients have 6 bytes of framing before it, and
//! asynchronous producers may write JSON to a model's topic and read JSON from it.

use bytes::Bytes;
use millstream_proto::inference::{ModelInferRequest, ModelInferResponse, model_infer_response::InferOutputTensor};
use prost::Message;

use super::{CodecError, request_from_json, response_from_json};

/// Says what a record's value is.
pub const INFER_TYPE: &str = "seldon-infer-type";

/// A request, and whether it was JSON and is to be answered so.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// The request.
    pub request: ModelInferRequest,
    /// It was JSON.
    pub json: bool,
}

/// Reads a record's value as a request; a response is read as a request with its outputs as inputs.
pub fn request(infer_type: Option<&[u8]>, value: &Bytes) -> Result<Payload, CodecError> {
    let value = unframed(value);
    let proto = |request| Payload { request, json: false };
    match infer_type {
        Some(b"json/inferModelRequest" | b"json/inferModelResponse") => json(&value),
        Some(b"proto/InferModelRequest") => ModelInferRequest::decode(value).map(proto).map_err(undecodable),
        Some(b"proto/InferModelResponse") => ModelInferResponse::decode(value).map(outputs_as_inputs).map(proto).map_err(undecodable),
        Some(other) => {
            Err(CodecError::Structure { what: "request", reason: format!("header {INFER_TYPE} says {:?}", String::from_utf8_lossy(other)) })
        }
        // No protobuf message of ours begins with a brace.
        None if value.first() == Some(&b'{') => json(&value),
        None => match (ModelInferRequest::decode(value.clone()), ModelInferResponse::decode(value.clone())) {
            (Ok(request), _) => Ok(proto(request)),
            (_, Ok(response)) => Ok(proto(outputs_as_inputs(response))),
            (Err(_), Err(_)) if value.trim_ascii_start().starts_with(b"{") => json(&value),
            (Err(e), Err(_)) => Err(undecodable(e)),
        },
    }
}

/// Reads a record's value as a response.
pub fn response(value: &Bytes) -> Result<ModelInferResponse, CodecError> {
    let value = unframed(value);
    if value.first() == Some(&b'{') {
        return response_from_json(&value);
    }
    ModelInferResponse::decode(value).map_err(|e| CodecError::Structure { what: "response", reason: e.to_string() })
}

fn json(value: &Bytes) -> Result<Payload, CodecError> {
    request_from_json(value, None).map(|decoded| Payload { request: decoded.request, json: true })
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn undecodable(error: prost::DecodeError) -> CodecError {
    CodecError::Structure { what: "request", reason: format!("neither protobuf nor JSON ({error})") }
}

/// Plain protobuf never begins with 0.
fn unframed(value: &Bytes) -> Bytes {
    if value.first() == Some(&0) && value.len() >= 6 { value.slice(6..) } else { value.clone() }
}

fn outputs_as_inputs(response: ModelInferResponse) -> ModelInferRequest {
    use millstream_proto::inference::model_infer_request::InferInputTensor;
    let input = |t: InferOutputTensor| InferInputTensor {
        name: t.name,
        datatype: t.datatype,
        shape: t.shape,
        parameters: t.parameters,
        contents: t.contents,
    };
    ModelInferRequest {
        id: response.id,
        parameters: response.parameters,
        inputs: response.outputs.into_iter().map(input).collect(),
        raw_input_contents: response.raw_output_contents,
        ..ModelInferRequest::default()
    }
}
