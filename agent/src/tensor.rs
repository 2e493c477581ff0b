//! Tensors on the wire and tensors of the runtime.

use crate::error::InferError;
use bytes::Bytes;
use millstream_proto::inference::model_infer_request::InferInputTensor;
use millstream_proto::inference::model_infer_response::InferOutputTensor;
use millstream_proto::inference::model_metadata_response::TensorMetadata;
use std::fmt;
use tract_onnx::pb;
use tract_onnx::prelude::*;

/// One dimension as the model declares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Dim {
    Fixed(i64),
    /// Any size, but the same wherever the name occurs in one request.
    Named(String),
    Any,
}

/// A tensor as the model declares it; without dimensions its rank is open.
#[derive(Clone, Debug)]
pub(crate) struct TensorSpec {
    pub(crate) name: String,
    pub(crate) datatype: DatumType,
    pub(crate) dims: Option<Vec<Dim>>,
}

impl TensorSpec {
    pub(crate) fn of(value: &pb::ValueInfoProto) -> TractResult<TensorSpec> {
        use pb::tensor_shape_proto::dimension::Value;
        let name = value.name.clone();
        let Some(pb::type_proto::Value::TensorType(declared)) = value.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
            return Err(TractError::msg(format!("{name:?} is not declared as a tensor")));
        };
        let datatype = pb::tensor_proto::DataType::try_from(declared.elem_type)
            .map_err(TractError::from)
            .and_then(DatumType::try_from)
            .map_err(|error| TractError::msg(format!("{name:?} has an unknown datatype: {error}")))?;
        let dim = |d: &pb::tensor_shape_proto::Dimension| match &d.value {
            Some(Value::DimValue(size)) if *size >= 0 => Dim::Fixed(*size),
            Some(Value::DimParam(name)) if !name.is_empty() && name != "?" => Dim::Named(name.clone()),
            _ => Dim::Any,
        };
        Ok(TensorSpec { name, datatype, dims: declared.shape.as_ref().map(|shape| shape.dim.iter().map(dim).collect()) })
    }

    pub(crate) fn metadata(&self) -> TensorMetadata {
        TensorMetadata { name: self.name.clone(), datatype: datatype(self.datatype).into(), shape: self.shape(), ..Default::default() }
    }

    fn shape(&self) -> Vec<i64> {
        let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { -1 };
        self.dims.as_ref().map_or_else(|| vec![-1], |dims| dims.iter().map(size).collect())
    }

    fn accepts(&self, shape: &[i64]) -> bool {
        self.dims.as_ref().is_none_or(|dims| {
            dims.len() == shape.len()
                && dims.iter().zip(shape).all(|(dim, size)| if let Dim::Fixed(fixed) = dim { fixed == size } else { true })
        })
    }

    fn wrong(&self, model: &str, what: &'static str, expected: impl fmt::Display, got: impl fmt::Display) -> InferError {
        let (tensor, expected, got) = (self.name.clone(), expected.to_string(), got.to_string());
        InferError::WrongInput { model: model.into(), tensor, what, expected, got }
    }

    /// The runtime's tensor for an input of a request, out of its raw contents if there are any.
    pub(crate) fn decode(&self, model: &str, input: &InferInputTensor, raw: Option<&Bytes>) -> Result<Tensor, InferError> {
        let expected = datatype(self.datatype);
        if input.datatype != expected {
            return Err(self.wrong(model, "datatype", expected, &input.datatype));
        }
        let sizes = input.shape.iter().map(|size| usize::try_from(*size)).collect::<Result<TVec<_>, _>>();
        let shape = match sizes {
            Ok(sizes) if self.accepts(&input.shape) => sizes,
            _ => return Err(self.wrong(model, "shape", Shape(&self.shape()), Shape(&input.shape))),
        };
        let elements = shape
            .iter()
            .try_fold(1usize, |product, size| product.checked_mul(*size))
            .ok_or_else(|| self.wrong(model, "shape", "a size that fits into memory", Shape(&input.shape)))?;
        match raw {
            Some(raw) => self.read_raw(model, &shape, elements, raw),
            None => self.read_contents(model, &shape, elements, input),
        }
    }

    fn read_raw(&self, model: &str, shape: &[usize], elements: usize, raw: &Bytes) -> Result<Tensor, InferError> {
        if self.datatype == DatumType::String {
            let strings = split_bytes(raw).map_err(|reason| self.wrong(model, "contents", "elements preceded by their length", reason))?;
            return self.strings(model, shape, elements, strings.into_iter());
        }
        let expected = elements.checked_mul(self.datatype.size_of());
        if expected != Some(raw.len()) {
            let expected = expected.map_or("fewer".into(), |n| n.to_string());
            return Err(self.wrong(model, "contents", format!("{expected} bytes for {elements} elements"), format!("{} bytes", raw.len())));
        }
        if self.datatype == DatumType::Bool {
            // Copied one by one: a bool that is neither 0 nor 1 must not come to be.
            return self.build(model, shape, &raw.iter().map(|byte| *byte != 0).collect::<Vec<bool>>());
        }
        let mut tensor = Tensor::zero_dt(self.datatype, shape).map_err(|error| self.wrong(model, "contents", "room in memory", error))?;
        tensor.as_bytes_mut().copy_from_slice(raw);
        Ok(tensor)
    }

    fn read_contents(&self, model: &str, shape: &[usize], elements: usize, input: &InferInputTensor) -> Result<Tensor, InferError> {
        let none = Default::default();
        let contents = input.contents.as_ref().unwrap_or(&none);
        let count = |field: &str, given: usize| match given == elements {
            true => Ok(()),
            false => Err(self.wrong(model, "contents", format!("{elements} elements in {field}"), format!("{given}"))),
        };
        /// Elements of a wider type on the wire, each checked.
        macro_rules! narrow {
            ($field:ident, $t:ty) => {{
                count(stringify!($field), contents.$field.len())?;
                let narrow = |value| <$t>::try_from(value).map_err(|_| self.wrong(model, "contents", stringify!($t), value));
                self.build(model, shape, &contents.$field.iter().copied().map(narrow).collect::<Result<Vec<$t>, _>>()?)
            }};
        }
        macro_rules! same {
            ($field:ident) => {{
                count(stringify!($field), contents.$field.len())?;
                self.build(model, shape, &contents.$field)
            }};
        }
        match self.datatype {
            DatumType::Bool => same!(bool_contents),
            DatumType::I8 => narrow!(int_contents, i8),
            DatumType::I16 => narrow!(int_contents, i16),
            DatumType::I32 => same!(int_contents),
            DatumType::I64 => same!(int64_contents),
            DatumType::U8 => narrow!(uint_contents, u8),
            DatumType::U16 => narrow!(uint_contents, u16),
            DatumType::U32 => same!(uint_contents),
            DatumType::U64 => same!(uint64_contents),
            DatumType::F32 => same!(fp32_contents),
            DatumType::F64 => same!(fp64_contents),
            // No field of its own: gateways send it raw or as FP32.
            DatumType::F16 => {
                count("fp32_contents", contents.fp32_contents.len())?;
                self.build(model, shape, &contents.fp32_contents.iter().map(|value| f16::from_f32(*value)).collect::<Vec<_>>())
            }
            _ => self.strings(model, shape, elements, contents.bytes_contents.iter().map(|element| &element[..])),
        }
    }

    fn build<T: Datum + Copy>(&self, model: &str, shape: &[usize], values: &[T]) -> Result<Tensor, InferError> {
        Tensor::from_shape(shape, values).map_err(|error| self.wrong(model, "contents", Shape(&self.shape()), error))
    }

    fn strings<'a>(
        &self,
        model: &str,
        shape: &[usize],
        elements: usize,
        strings: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<Tensor, InferError> {
        if strings.len() != elements {
            return Err(self.wrong(model, "contents", format!("{elements} elements"), strings.len()));
        }
        let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|error| self.wrong(model, "contents", "UTF-8 text", error));
        let strings = strings.map(utf8).collect::<Result<Vec<_>, _>>()?;
        tract_ndarray::ArrayD::from_shape_vec(shape, strings)
            .map(Tensor::from)
            .map_err(|error| self.wrong(model, "contents", Shape(&self.shape()), error))
    }

    /// A declared output and what the runtime computed for it, as the protocol's raw contents.
    pub(crate) fn encode(&self, value: &Tensor) -> TractResult<(InferOutputTensor, Bytes)> {
        let shape = value.shape().iter().map(|size| *size as i64).collect();
        // The runtime counts in its own dimension type where the model declares INT64.
        let value = value.cast_to_dt(self.datatype)?;
        let raw = match self.datatype {
            DatumType::String => {
                let mut raw = Vec::new();
                for text in value.to_plain_array_view::<String>()? {
                    raw.extend_from_slice(&u32::try_from(text.len())?.to_le_bytes());
                    raw.extend_from_slice(text.as_bytes());
                }
                raw.into()
            }
            _ => Bytes::copy_from_slice(value.as_bytes()),
        };
        Ok((InferOutputTensor { name: self.name.clone(), datatype: datatype(self.datatype).into(), shape, ..Default::default() }, raw))
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", datatype(self.datatype), Shape(&self.shape()))
    }
}

struct Shape<'a>(&'a [i64]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<_> = self.0.iter().map(i64::to_string).collect();
        write!(f, "[{}]", sizes.join(","))
    }
}

/// The protocol's name of a datatype.
pub(crate) fn datatype(of: DatumType) -> &'static str {
    match of {
        DatumType::Bool => "BOOL",
        DatumType::I8 => "INT8",
        DatumType::I16 => "INT16",
        DatumType::I32 => "INT32",
        DatumType::I64 => "INT64",
        DatumType::U8 => "UINT8",
        DatumType::U16 => "UINT16",
        DatumType::U32 => "UINT32",
        DatumType::U64 => "UINT64",
        DatumType::F16 => "FP16",
        DatumType::F32 => "FP32",
        DatumType::F64 => "FP64",
        _ => "BYTES",
    }
}

/// The elements of raw BYTES, each preceded by its length as four bytes.
fn split_bytes(mut raw: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut elements = Vec::new();
    while !raw.is_empty() {
        let (length, rest) = raw.split_first_chunk::<4>().ok_or("a length that is cut off")?;
        let length = u32::from_le_bytes(*length) as usize;
        let (element, rest) = rest.split_at_checked(length).ok_or_else(|| format!("an element of {length} bytes that is cut off"))?;
        elements.push(element);
        raw = rest;
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_proto::inference::InferTensorContents;

    fn spec(datatype: DatumType) -> TensorSpec {
        TensorSpec { name: "X".into(), datatype, dims: Some(vec![Dim::Any]) }
    }

    fn input(of: DatumType, elements: i64, contents: Option<InferTensorContents>) -> InferInputTensor {
        InferInputTensor { name: "X".into(), datatype: datatype(of).into(), shape: vec![elements], contents, ..Default::default() }
    }

    #[test]
    fn every_datatype_comes_back_as_it_went_in() {
        let c = InferTensorContents::default;
        let cases = [
            (DatumType::Bool, InferTensorContents { bool_contents: vec![true, false], ..c() }, vec![1, 0]),
            (DatumType::I8, InferTensorContents { int_contents: vec![-1, 7], ..c() }, vec![255, 7]),
            (DatumType::I16, InferTensorContents { int_contents: vec![-2, 258], ..c() }, vec![254, 255, 2, 1]),
            (DatumType::I32, InferTensorContents { int_contents: vec![1, -1], ..c() }, vec![1, 0, 0, 0, 255, 255, 255, 255]),
            (DatumType::I64, InferTensorContents { int64_contents: vec![(1 << 53) + 1], ..c() }, ((1i64 << 53) + 1).to_le_bytes().to_vec()),
            (DatumType::U8, InferTensorContents { uint_contents: vec![200], ..c() }, vec![200]),
            (DatumType::U16, InferTensorContents { uint_contents: vec![0xfffe], ..c() }, vec![0xfe, 0xff]),
            (DatumType::U32, InferTensorContents { uint_contents: vec![u32::MAX], ..c() }, vec![255; 4]),
            (DatumType::U64, InferTensorContents { uint64_contents: vec![u64::MAX], ..c() }, vec![255; 8]),
            (DatumType::F16, InferTensorContents { fp32_contents: vec![1.5], ..c() }, vec![0, 0x3e]),
            (DatumType::F32, InferTensorContents { fp32_contents: vec![1.5], ..c() }, 1.5f32.to_le_bytes().to_vec()),
            (DatumType::F64, InferTensorContents { fp64_contents: vec![-0.1], ..c() }, (-0.1f64).to_le_bytes().to_vec()),
            (
                DatumType::String,
                InferTensorContents { bytes_contents: vec!["ö".into(), "".into()], ..c() },
                vec![2, 0, 0, 0, 0xc3, 0xb6, 0, 0, 0, 0],
            ),
        ];
        for (of, contents, raw) in cases {
            let (raw, elements) = (Bytes::from(raw), if of == DatumType::String { 2 } else { 0 });
            let elements = if elements == 0 { (raw.len() / of.size_of()) as i64 } else { elements };
            let typed = spec(of).decode("m", &input(of, elements, Some(contents)), None).unwrap();
            let from_raw = spec(of).decode("m", &input(of, elements, None), Some(&raw)).unwrap();
            assert_eq!(typed, from_raw, "{of:?}");
            let (output, encoded) = spec(of).encode(&typed).unwrap();
            assert_eq!((output.datatype.as_str(), output.shape, encoded), (datatype(of), vec![elements], raw));
        }
    }

    #[test]
    fn contents_that_do_not_fit_are_refused_with_what_was_expected() {
        let typed = |of, elements, contents| spec(of).decode("m", &input(of, elements, Some(contents)), None).unwrap_err().to_string();
        let raw =
            |of, elements, raw: &'static [u8]| spec(of).decode("m", &input(of, elements, None), Some(&raw.into())).unwrap_err().to_string();
        let c = InferTensorContents::default;
        let ints = |n| InferTensorContents { int_contents: vec![n], ..c() };
        let cases = [
            (typed(DatumType::I8, 1, ints(128)), "wrong contents: expected i8, got 128"),
            (typed(DatumType::F32, 1, ints(1)), "expected 1 elements in fp32_contents, got 0"),
            (raw(DatumType::F32, 2, &[0; 7]), "expected 8 bytes for 2 elements, got 7 bytes"),
            (raw(DatumType::F32, -1, &[]), "wrong shape: expected [-1], got [-1]"),
            (raw(DatumType::F64, i64::MAX, &[]), "wrong contents"),
            (raw(DatumType::String, 1, &[1, 0]), "a length that is cut off"),
            (raw(DatumType::String, 1, &[9, 0, 0, 0, 1]), "an element of 9 bytes that is cut off"),
            (raw(DatumType::String, 2, &[1, 0, 0, 0, b'a']), "expected 2 elements, got 1"),
            (raw(DatumType::String, 1, &[1, 0, 0, 0, 0xff]), "expected UTF-8 text"),
        ];
        for (error, part) in cases {
            assert!(error.contains(part), "{error}: {part}");
            assert!(error.contains("\"X\"") && error.contains("model m"), "{error}");
        }
    }
}
