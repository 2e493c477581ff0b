//! Tensors on their way between topics: select, rename, join, and turn requests into responses and back.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use millstream_proto::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse, model_infer_request::InferInputTensor,
    model_infer_response::InferOutputTensor,
};
use prost::Message as _;

/// Which of the two messages of the Open Inference Protocol a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Request,
    Response,
}

/// Tensors without the model that they are for.
///
/// **Law.** Either no tensor has raw contents or all have: `raw` is empty, or as long as `tensors`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    id: String,
    parameters: HashMap<String, InferParameter>,
    tensors: Vec<InferInputTensor>,
    raw: Vec<Bytes>,
}

impl Message {
    /// Reads a record's value. The error says what is wrong with it.
    pub fn read(value: Bytes, shape: Shape) -> Result<Self, String> {
        let unreadable = |error| format!("the record's value cannot be read as a {shape:?} of the Open Inference Protocol: {error}");
        let message = match shape {
            Shape::Request => {
                let ModelInferRequest { id, parameters, inputs, raw_input_contents: raw, .. } =
                    ModelInferRequest::decode(value).map_err(unreadable)?;
                Self { id, parameters, tensors: inputs, raw }
            }
            Shape::Response => {
                let ModelInferResponse { id, parameters, outputs, raw_output_contents: raw, .. } =
                    ModelInferResponse::decode(value).map_err(unreadable)?;
                let tensor = |InferOutputTensor { name, datatype, shape, parameters, contents }| InferInputTensor {
                    name,
                    datatype,
                    shape,
                    parameters,
                    contents,
                };
                Self { id, parameters, tensors: outputs.into_iter().map(tensor).collect(), raw }
            }
        };
        match message.raw.len() {
            0 => Ok(message),
            raw if raw == message.tensors.len() => Ok(message),
            raw => Err(format!("the record has {} tensors but {raw} raw contents: give one for each or none", message.tensors.len())),
        }
    }

    /// Writes a record's value.
    pub fn write(self, shape: Shape) -> Bytes {
        let Self { id, parameters, tensors, raw } = self;
        match shape {
            Shape::Request => {
                ModelInferRequest { id, parameters, inputs: tensors, raw_input_contents: raw, ..Default::default() }.encode_to_vec().into()
            }
            Shape::Response => {
                let tensor = |InferInputTensor { name, datatype, shape, parameters, contents }| InferOutputTensor {
                    name,
                    datatype,
                    shape,
                    parameters,
                    contents,
                };
                let outputs = tensors.into_iter().map(tensor).collect();
                ModelInferResponse { id, parameters, outputs, raw_output_contents: raw, ..Default::default() }.encode_to_vec().into()
            }
        }
    }

    /// Keeps the tensors of these names (all, if there are none) and renames them. `None` if nothing is left.
    pub fn select(self, wanted: &[String], renames: &HashMap<String, String>) -> Option<Self> {
        let Self { id, parameters, tensors, raw } = self;
        let mut out = Self { id, parameters, ..Self::default() };
        for (i, mut tensor) in tensors.into_iter().enumerate() {
            if !wanted.is_empty() && !wanted.contains(&tensor.name) {
                continue;
            }
            if let Some(name) = renames.get(&tensor.name) {
                tensor.name.clone_from(name);
            }
            out.raw.extend(raw.get(i).cloned());
            out.tensors.push(tensor);
        }
        (!out.tensors.is_empty()).then_some(out)
    }

    /// The tensors of both sides, this one's first; id and parameters are this one's.
    pub fn join(mut self, mut other: Self) -> Self {
        match (self.raw.is_empty(), other.raw.is_empty()) {
            (true, false) => self.make_raw(),
            (false, true) => other.make_raw(),
            _ => {}
        }
        self.tensors.extend(other.tensors);
        self.raw.extend(other.raw);
        self
    }

    fn make_raw(&mut self) {
        self.raw =
            self.tensors.iter_mut().map(|tensor| raw_contents(&tensor.datatype, tensor.contents.take().unwrap_or_default())).collect();
    }
}

/// Typed contents as the protocol's raw bytes: little endian, `BYTES` elements behind their length.
fn raw_contents(datatype: &str, contents: InferTensorContents) -> Bytes {
    let mut raw = BytesMut::new();
    match datatype {
        "BOOL" => contents.bool_contents.iter().for_each(|&v| raw.put_u8(v.into())),
        "INT8" => contents.int_contents.iter().for_each(|&v| raw.put_i8(v as i8)),
        "INT16" => contents.int_contents.iter().for_each(|&v| raw.put_i16_le(v as i16)),
        "INT32" => contents.int_contents.iter().for_each(|&v| raw.put_i32_le(v)),
        "INT64" => contents.int64_contents.iter().for_each(|&v| raw.put_i64_le(v)),
        "UINT8" => contents.uint_contents.iter().for_each(|&v| raw.put_u8(v as u8)),
        "UINT16" => contents.uint_contents.iter().for_each(|&v| raw.put_u16_le(v as u16)),
        "UINT32" => contents.uint_contents.iter().for_each(|&v| raw.put_u32_le(v)),
        "UINT64" => contents.uint64_contents.iter().for_each(|&v| raw.put_u64_le(v)),
        "FP16" => contents.fp32_contents.iter().for_each(|&v| raw.put_slice(&half::f16::from_f32(v).to_le_bytes())),
        "FP32" => contents.fp32_contents.iter().for_each(|&v| raw.put_f32_le(v)),
        "FP64" => contents.fp64_contents.iter().for_each(|&v| raw.put_f64_le(v)),
        _ => contents.bytes_contents.iter().for_each(|v| {
            raw.put_u32_le(v.len() as u32);
            raw.put_slice(v);
        }),
    }
    raw.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, values: &[f32]) -> InferInputTensor {
        let contents = InferTensorContents { fp32_contents: values.to_vec(), ..Default::default() };
        InferInputTensor {
            name: name.into(),
            datatype: "FP32".into(),
            shape: vec![values.len() as i64],
            contents: Some(contents),
            ..Default::default()
        }
    }

    fn message(tensors: Vec<InferInputTensor>) -> Message {
        Message { id: "1".into(), tensors, ..Message::default() }
    }

    #[test]
    fn a_request_becomes_a_response_and_back() {
        let message = message(vec![tensor("A", &[1.0]), tensor("B", &[2.0])]);
        let response = message.clone().write(Shape::Response);
        let request = Message::read(response, Shape::Response).unwrap().write(Shape::Request);
        assert_eq!(Message::read(request, Shape::Request).unwrap(), message);
    }

    #[test]
    fn selection_keeps_raw_contents_beside_their_tensors() {
        let mut both = message(vec![tensor("A", &[1.0]), tensor("B", &[2.0])]);
        both.make_raw();
        let picked = both.select(&["B".into()], &HashMap::from([("B".into(), "C".into())])).unwrap();
        assert_eq!((picked.tensors[0].name.as_str(), &picked.raw[0][..]), ("C", &2f32.to_le_bytes()[..]));
    }

    #[test]
    fn selection_of_nothing_is_nothing() {
        assert_eq!(message(vec![tensor("A", &[1.0])]).select(&["B".into()], &HashMap::new()), None);
    }

    #[test]
    fn a_join_of_typed_and_raw_contents_is_raw() {
        let mut raw = message(vec![tensor("A", &[1.0])]);
        raw.make_raw();
        let joined = raw.join(message(vec![tensor("B", &[2.0])]));
        assert_eq!(joined.raw, [Bytes::copy_from_slice(&1f32.to_le_bytes()), Bytes::copy_from_slice(&2f32.to_le_bytes())]);
    }

    #[test]
    fn a_value_that_is_no_message_is_refused_with_the_reason() {
        let error = Message::read(Bytes::from_static(b"{\"inputs\": []}"), Shape::Request).unwrap_err();
        assert!(error.contains("cannot be read as a Request"), "{error}");
    }
}
