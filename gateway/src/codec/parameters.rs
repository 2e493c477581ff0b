//! Parameters of requests, responses and tensors: a string, a whole number or a boolean.

use std::collections::BTreeMap;

use millstream_proto::inference::{InferParameter, infer_parameter::ParameterChoice};
use serde_json::value::RawValue;

use super::{CodecError, tensor::Parameters};

/// Says that a tensor's elements are binary data of this size behind the JSON.
pub const BINARY_SIZE: &str = "binary_data_size";
/// Asks for one output as binary data, or not.
pub const BINARY_OUTPUT: &str = "binary_data";
/// Asks for all outputs as binary data.
pub const BINARY_OUTPUTS: &str = "binary_data_output";
/// What the elements of a BYTES tensor are.
pub const CONTENT_TYPE: &str = "content_type";

/// A parameter.
pub fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(choice) }
}

pub(crate) fn from_json(json: Option<BTreeMap<String, &RawValue>>) -> Result<Parameters, CodecError> {
    let mut parameters = Parameters::new();
    for (name, value) in json.into_iter().flatten() {
        let text = value.get();
        let choice = match text.as_bytes().first() {
            Some(b'n') => continue,
            Some(b't') => ParameterChoice::BoolParam(true),
            Some(b'f') => ParameterChoice::BoolParam(false),
            Some(b'"') => {
                ParameterChoice::StringParam(serde_json::from_str(text).map_err(|e| CodecError::parameter(&name, e.to_string()))?)
            }
            Some(b'{' | b'[') => return Err(CodecError::parameter(&name, "lists and objects cannot be parameters: use a string")),
            _ => ParameterChoice::Int64Param(
                super::elements::integer(text)
                    .ok_or_else(|| CodecError::parameter(&name, format!("{text} is no whole number of 64 bits: use a string")))?,
            ),
        };
        parameters.insert(name, parameter(choice));
    }
    Ok(parameters)
}

/// Writes an object with sorted keys, so that equal messages give equal text.
pub(crate) fn to_json(out: &mut Vec<u8>, parameters: &Parameters) {
    let sorted: BTreeMap<_, _> = parameters.iter().collect();
    let mut first = true;
    out.push(b'{');
    for (name, value) in sorted {
        let Some(choice) = &value.parameter_choice else { continue };
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        super::elements::write(out, name);
        out.push(b':');
        match choice {
            ParameterChoice::BoolParam(v) => super::elements::write(out, v),
            ParameterChoice::Int64Param(v) => super::elements::write(out, v),
            ParameterChoice::StringParam(v) => super::elements::write(out, v),
        }
    }
    out.push(b'}');
}

/// Takes out a parameter that is a non-negative number.
pub(crate) fn take_size(parameters: &mut Parameters, name: &str) -> Result<Option<usize>, CodecError> {
    match parameters.remove(name).and_then(|p| p.parameter_choice) {
        None => Ok(None),
        Some(ParameterChoice::Int64Param(size)) if size >= 0 => Ok(usize::try_from(size).ok()),
        Some(_) => Err(CodecError::parameter(name, "expected a number of bytes")),
    }
}

/// Takes out a parameter that is a boolean.
pub(crate) fn take_bool(parameters: &mut Parameters, name: &str) -> Result<Option<bool>, CodecError> {
    match parameters.remove(name).and_then(|p| p.parameter_choice) {
        None => Ok(None),
        Some(ParameterChoice::BoolParam(value)) => Ok(Some(value)),
        Some(_) => Err(CodecError::parameter(name, "expected true or false")),
    }
}
