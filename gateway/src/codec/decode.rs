//! JSON → message. Binary tensors stand behind the JSON, in the order of the inputs that state a `binary_data_size`.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use millstream_proto::inference::{ModelInferRequest, ModelInferResponse, model_infer_request::InferRequestedOutputTensor};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    CodecError, contents,
    elements::{self, Problem, ProblemKind},
    parameters,
    tensor::{self, Data, Tensor},
};

/// A request, and which outputs its sender wants as binary data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The request; its `model_name` is empty.
    pub request: ModelInferRequest,
    /// How to answer.
    pub binary: BinaryOutputs,
}

/// Which outputs are answered as binary data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BinaryOutputs {
    /// Those that are not named below.
    pub all: bool,
    /// By name.
    pub named: HashMap<String, bool>,
}

impl BinaryOutputs {
    /// Whether this output is.
    pub fn wants(&self, output: &str) -> bool {
        self.named.get(output).copied().unwrap_or(self.all)
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    model_name: Option<String>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(borrow, default)]
    parameters: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow, default)]
    inputs: Option<Vec<JsonTensor<'a>>>,
    #[serde(borrow, default)]
    outputs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct JsonTensor<'a> {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(borrow, default)]
    parameters: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RequestedOutput<'a> {
    name: String,
    #[serde(borrow, default)]
    parameters: Option<BTreeMap<String, &'a RawValue>>,
}

/// Reads a request. `json_length` says how many bytes of the body are JSON (`Inference-Header-Content-Length`); all if absent.
///
/// A *response* is read as a request with its outputs as the inputs, as models that are chained by hand need it.
pub fn request_from_json(body: &Bytes, json_length: Option<usize>) -> Result<Decoded, CodecError> {
    let mut blobs = Blobs { body, at: json_length.unwrap_or(body.len()) };
    let json = body.get(..blobs.at).ok_or_else(|| CodecError::Structure {
        what: "request",
        reason: format!("Inference-Header-Content-Length says {} bytes, the body has {}", blobs.at, body.len()),
    })?;
    let message: Message<'_> = parse(json, "request")?;
    let mut decoded = Decoded::default();
    let (tensors, requested) = match (message.inputs, message.outputs) {
        (Some(inputs), None) => (inputs, Vec::new()),
        (Some(inputs), Some(outputs)) => (inputs, inner::<Vec<RequestedOutput<'_>>>(json, outputs, "request")?),
        (None, Some(outputs)) if outputs.get().contains("\"data\"") => (inner(json, outputs, "request")?, Vec::new()),
        (None, _) => {
            return Err(CodecError::Structure { what: "request", reason: "it has no field `inputs`, the list of its tensors".into() });
        }
    };
    let request = &mut decoded.request;
    request.id = message.id.unwrap_or_default();
    request.model_version = message.model_version.unwrap_or_default();
    request.parameters = parameters::from_json(message.parameters)?;
    decoded.binary.all = parameters::take_bool(&mut request.parameters, parameters::BINARY_OUTPUTS)?.unwrap_or(false);
    for output in requested {
        let mut parameters = parameters::from_json(output.parameters)?;
        if let Some(wanted) = parameters::take_bool(&mut parameters, parameters::BINARY_OUTPUT)? {
            decoded.binary.named.insert(output.name.clone(), wanted);
        }
        request.outputs.push(InferRequestedOutputTensor { name: output.name, parameters });
    }
    let tensors = read_tensors(json, tensors, &mut blobs)?;
    if blobs.at != body.len() {
        let reason = format!("{} bytes follow the JSON and the binary tensors: check binary_data_size", body.len() - blobs.at);
        return Err(CodecError::Structure { what: "request", reason });
    }
    tensor::put_inputs(request, tensors)?;
    Ok(decoded)
}

/// Reads a response without binary tensors.
pub fn response_from_json(body: &Bytes) -> Result<ModelInferResponse, CodecError> {
    let message: Message<'_> = parse(body, "response")?;
    let outputs = message.outputs.ok_or_else(|| CodecError::Structure { what: "response", reason: "it has no field `outputs`".into() })?;
    let mut response = ModelInferResponse {
        model_name: message.model_name.unwrap_or_default(),
        model_version: message.model_version.unwrap_or_default(),
        id: message.id.unwrap_or_default(),
        parameters: parameters::from_json(message.parameters)?,
        ..ModelInferResponse::default()
    };
    let tensors = read_tensors(body, inner(body, outputs, "response")?, &mut Blobs { body, at: body.len() })?;
    tensor::put_outputs(&mut response, tensors)?;
    Ok(response)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8], what: &'static str) -> Result<T, CodecError> {
    serde_json::from_slice(json).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => CodecError::Structure { what, reason: e.to_string() },
        _ => CodecError::Json(e.to_string()),
    })
}

/// Reads a part that was kept as text; errors are placed in the whole.
fn inner<'a, T: Deserialize<'a>>(json: &'a [u8], part: &'a RawValue, what: &'static str) -> Result<T, CodecError> {
    serde_json::from_str(part.get()).map_err(|e| {
        let message = e.to_string();
        let reason = message.rsplit_once(" at line ").map_or(message.as_str(), |(reason, _)| reason);
        CodecError::Structure { what, reason: format!("{reason} in `outputs`, which begins {}", place(json, part, 0)) }
    })
}

/// "at line 3 column 7" of a byte of a part.
fn place(json: &[u8], part: &RawValue, at: usize) -> String {
    let offset = (part.get().as_ptr() as usize).saturating_sub(json.as_ptr() as usize) + at;
    let before = &json[..offset.min(json.len())];
    let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    format!("at line {} column {}", before.iter().filter(|&&b| b == b'\n').count() + 1, before.len() - line_start + 1)
}

struct Blobs<'a> {
    body: &'a Bytes,
    at: usize,
}

impl Blobs<'_> {
    fn take(&mut self, tensor: &str, size: usize) -> Result<Bytes, CodecError> {
        let left = self.body.len() - self.at;
        if size > left {
            return Err(CodecError::tensor(tensor, format!("binary_data_size is {size}, {left} bytes are left in the body")));
        }
        self.at += size;
        Ok(self.body.slice(self.at - size..self.at))
    }
}

fn read_tensors(json: &[u8], tensors: Vec<JsonTensor<'_>>, blobs: &mut Blobs<'_>) -> Result<Vec<Tensor>, CodecError> {
    let mut names = HashSet::with_capacity(tensors.len());
    if let Some(twice) = tensors.iter().find(|t| !names.insert(t.name.as_str())) {
        return Err(CodecError::tensor(&twice.name, "there are two of this name"));
    }
    tensors.into_iter().map(|tensor| read_tensor(json, tensor, blobs)).collect()
}

fn read_tensor(json: &[u8], tensor: JsonTensor<'_>, blobs: &mut Blobs<'_>) -> Result<Tensor, CodecError> {
    let JsonTensor { name, datatype: type_name, shape, parameters, data } = tensor;
    let datatype = tensor::datatype(&name, &type_name)?;
    let expected = tensor::elements(&name, &shape)?;
    let wrong = |reason: String| CodecError::tensor(&name, reason);
    let mut parameters = parameters::from_json(parameters).map_err(|e| wrong(e.to_string()))?;
    let size = parameters::take_size(&mut parameters, parameters::BINARY_SIZE).map_err(|e| wrong(e.to_string()))?;
    let data = match (data, size) {
        (Some(_), Some(_)) => return Err(wrong("it has both `data` and binary_data_size: leave one out".into())),
        (None, None) => return Err(wrong("it has no `data`".into())),
        (None, Some(size)) => {
            let raw = blobs.take(&name, size)?;
            super::validate::raw(datatype, &raw, expected).map_err(wrong)?;
            Data::Raw(raw)
        }
        (Some(text), None) => {
            let read = elements::read(datatype, text.get(), &shape, expected).map_err(|Problem { at, kind }| {
                wrong(match kind {
                    ProblemKind::Element(token) => format!("{token} {} is no {datatype}", place(json, text, at)),
                    ProblemKind::Nesting { depth, found, expected } => {
                        format!(
                            "a list that ends {} has {found} elements, dimension {depth} of shape {shape:?} says {expected}",
                            place(json, text, at)
                        )
                    }
                    ProblemKind::Count(found) => format!("shape {shape:?} takes {expected} elements, data has {found}"),
                })
            })?;
            if datatype.raw_only() { Data::Raw(contents::to_raw(datatype, &read).map_err(wrong)?) } else { Data::Typed(read) }
        }
    };
    Ok(Tensor { name, datatype: type_name, shape, parameters, data })
}
