//! Message → JSON, with binary tensors behind it where the sender of the request asked for them.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use millstream_proto::inference::{InferTensorContents, ModelInferRequest, ModelInferResponse, infer_parameter::ParameterChoice};

use super::{
    BinaryOutputs, CodecError, Datatype, contents, elements, parameters,
    tensor::{self, Parameters, View},
};

/// A body, and how much of it is JSON if it is not all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// JSON, then the binary tensors.
    pub body: Vec<u8>,
    /// The value of `Inference-Header-Content-Length`.
    pub json_length: Option<usize>,
}

/// Writes a request as JSON.
pub fn request_to_json(request: &ModelInferRequest) -> Result<Vec<u8>, CodecError> {
    let mut out = head(&request.model_name, &request.model_version, &request.id, &request.parameters);
    out.extend_from_slice(b",\"inputs\":");
    tensors(&mut out, tensor::inputs(request), &BinaryOutputs::default(), &mut Vec::new())?;
    if !request.outputs.is_empty() {
        out.extend_from_slice(b",\"outputs\":");
        elements::array(&mut out, &request.outputs, |out, output| {
            out.extend_from_slice(b"{\"name\":");
            elements::write(out, &output.name);
            field(out, &output.parameters);
            out.push(b'}');
        });
    }
    out.push(b'}');
    Ok(out)
}

/// Writes a response as JSON, all of it.
pub fn response_to_json(response: &ModelInferResponse) -> Result<Vec<u8>, CodecError> {
    response_to_rest(response, &BinaryOutputs::default()).map(|e| e.body)
}

/// Writes a response, with those tensors binary that are wanted so.
pub fn response_to_rest(response: &ModelInferResponse, binary: &BinaryOutputs) -> Result<Encoded, CodecError> {
    let mut blobs = Vec::new();
    let mut body = head(&response.model_name, &response.model_version, &response.id, &response.parameters);
    body.extend_from_slice(b",\"outputs\":");
    tensors(&mut body, tensor::outputs(response), binary, &mut blobs)?;
    body.push(b'}');
    let json_length = (!blobs.is_empty()).then_some(body.len());
    for blob in blobs {
        body.extend_from_slice(&blob);
    }
    Ok(Encoded { body, json_length })
}

fn head(model_name: &str, model_version: &str, id: &str, parameters: &Parameters) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"model_name\":");
    elements::write(&mut out, model_name);
    for (name, value) in [("model_version", model_version), ("id", id)] {
        if !value.is_empty() {
            out.push(b',');
            elements::write(&mut out, name);
            out.push(b':');
            elements::write(&mut out, value);
        }
    }
    field(&mut out, parameters);
    out
}

fn field(out: &mut Vec<u8>, parameters: &Parameters) {
    if !parameters.is_empty() {
        out.extend_from_slice(b",\"parameters\":");
        parameters::to_json(out, parameters);
    }
}

fn tensors<'a>(
    out: &mut Vec<u8>,
    views: impl Iterator<Item = View<'a>>,
    binary: &BinaryOutputs,
    blobs: &mut Vec<Bytes>,
) -> Result<(), CodecError> {
    out.push(b'[');
    for (i, view) in views.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_tensor(out, view, binary.wants(view.name), blobs)?;
    }
    out.push(b']');
    Ok(())
}

fn write_tensor(out: &mut Vec<u8>, view: View<'_>, binary: bool, blobs: &mut Vec<Bytes>) -> Result<(), CodecError> {
    let datatype = tensor::datatype(view.name, view.datatype)?;
    let wrong = |reason| CodecError::tensor(view.name, reason);
    let mut changed = None;
    out.push(b'{');
    if binary {
        let raw = match (view.raw, view.contents) {
            (Some(raw), _) => raw.clone(),
            (None, Some(contents)) => contents::to_raw(datatype, contents).map_err(wrong)?,
            (None, None) => Bytes::new(),
        };
        let size = i64::try_from(raw.len()).map_err(|_| wrong("too large".into()))?;
        changed = Some(with(view.parameters, parameters::BINARY_SIZE, ParameterChoice::Int64Param(size)));
        blobs.push(raw);
    } else {
        let decoded;
        let contents = match (view.contents, view.raw) {
            (Some(contents), _) => contents,
            (None, Some(raw)) => {
                decoded = contents::from_raw(datatype, raw).map_err(wrong)?;
                &decoded
            }
            (None, None) => &InferTensorContents::default(),
        };
        out.extend_from_slice(b"\"data\":");
        if datatype == Datatype::Bytes && contents.bytes_contents.iter().any(|e| std::str::from_utf8(e).is_err()) {
            elements::array(out, &contents.bytes_contents, |out, element| elements::write(out, &BASE64_STANDARD.encode(element)));
            changed = Some(with(view.parameters, parameters::CONTENT_TYPE, ParameterChoice::StringParam("base64".into())));
        } else {
            elements::write_all(out, datatype, contents);
        }
        out.push(b',');
    }
    out.extend_from_slice(b"\"name\":");
    elements::write(out, view.name);
    out.extend_from_slice(b",\"shape\":");
    elements::array(out, view.shape, elements::write);
    out.extend_from_slice(b",\"datatype\":");
    elements::write(out, view.datatype);
    field(out, changed.as_ref().unwrap_or(view.parameters));
    out.push(b'}');
    Ok(())
}

fn with(parameters: &Parameters, name: &str, choice: ParameterChoice) -> Parameters {
    let mut parameters = parameters.clone();
    parameters.insert(name.into(), parameters::parameter(choice));
    parameters
}
