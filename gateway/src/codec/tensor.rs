//! A tensor apart from the message that it is in.

use std::collections::HashMap;

use bytes::Bytes;
use millstream_proto::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse, model_infer_request::InferInputTensor,
    model_infer_response::InferOutputTensor,
};

use super::{CodecError, Datatype};

pub(crate) type Parameters = HashMap<String, InferParameter>;

/// A tensor of a request or a response, with its data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tensor {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<i64>,
    pub parameters: Parameters,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    Typed(InferTensorContents),
    Raw(Bytes),
}

impl Default for Data {
    fn default() -> Self {
        Self::Raw(Bytes::new())
    }
}

/// How many elements a shape has.
pub(crate) fn elements(tensor: &str, shape: &[i64]) -> Result<usize, CodecError> {
    shape.iter().try_fold(1usize, |product, &dimension| {
        let size = usize::try_from(dimension).map_err(|_| {
            CodecError::tensor(tensor, format!("dimension {dimension} in shape {shape:?}: state the actual size of every dimension"))
        })?;
        product.checked_mul(size).ok_or_else(|| CodecError::tensor(tensor, format!("shape {shape:?} is larger than any memory")))
    })
}

/// The datatype that a tensor names.
pub(crate) fn datatype(tensor: &str, name: &str) -> Result<Datatype, CodecError> {
    Datatype::parse(name).map_err(|reason| CodecError::tensor(tensor, reason))
}

/// The tensors' data: raw contents for all where one needs them, else typed ones.
fn split(tensors: &mut [Tensor]) -> Result<(Vec<Option<InferTensorContents>>, Vec<Bytes>), CodecError> {
    let raw = tensors.iter().any(|t| matches!(t.data, Data::Raw(_)));
    let mut typed = Vec::with_capacity(tensors.len());
    let mut raws = Vec::with_capacity(if raw { tensors.len() } else { 0 });
    for tensor in tensors {
        match std::mem::take(&mut tensor.data) {
            Data::Typed(contents) if !raw => typed.push(Some(contents)),
            Data::Typed(contents) => {
                raws.push(
                    super::contents::to_raw(datatype(&tensor.name, &tensor.datatype)?, &contents)
                        .map_err(|e| CodecError::tensor(&tensor.name, e))?,
                );
                typed.push(None);
            }
            Data::Raw(bytes) => {
                raws.push(bytes);
                typed.push(None);
            }
        }
    }
    Ok((typed, raws))
}

pub(crate) fn put_inputs(request: &mut ModelInferRequest, mut tensors: Vec<Tensor>) -> Result<(), CodecError> {
    let (typed, raw) = split(&mut tensors)?;
    request.raw_input_contents = raw;
    request.inputs = tensors
        .into_iter()
        .zip(typed)
        .map(|(t, contents)| InferInputTensor { name: t.name, datatype: t.datatype, shape: t.shape, parameters: t.parameters, contents })
        .collect();
    Ok(())
}

pub(crate) fn put_outputs(response: &mut ModelInferResponse, mut tensors: Vec<Tensor>) -> Result<(), CodecError> {
    let (typed, raw) = split(&mut tensors)?;
    response.raw_output_contents = raw;
    response.outputs = tensors
        .into_iter()
        .zip(typed)
        .map(|(t, contents)| InferOutputTensor { name: t.name, datatype: t.datatype, shape: t.shape, parameters: t.parameters, contents })
        .collect();
    Ok(())
}

/// A borrowed tensor of a message; what [`Tensor`] is to decoding, this is to encoding and to validation.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub name: &'a str,
    pub datatype: &'a str,
    pub shape: &'a [i64],
    pub parameters: &'a Parameters,
    pub contents: Option<&'a InferTensorContents>,
    pub raw: Option<&'a Bytes>,
}

pub(crate) fn inputs(request: &ModelInferRequest) -> impl Iterator<Item = View<'_>> {
    request.inputs.iter().enumerate().map(|(i, t)| View {
        name: &t.name,
        datatype: &t.datatype,
        shape: &t.shape,
        parameters: &t.parameters,
        contents: t.contents.as_ref(),
        raw: request.raw_input_contents.get(i),
    })
}

pub(crate) fn outputs(response: &ModelInferResponse) -> impl Iterator<Item = View<'_>> {
    response.outputs.iter().enumerate().map(|(i, t)| View {
        name: &t.name,
        datatype: &t.datatype,
        shape: &t.shape,
        parameters: &t.parameters,
        contents: t.contents.as_ref(),
        raw: response.raw_output_contents.get(i),
    })
}
