//! Typed contents ↔ raw contents: row-major, little-endian, without padding; elements of BYTES each after their length in 4 bytes.

use bytes::{BufMut, Bytes, BytesMut};
use half::{bf16, f16};
use millstream_proto::inference::InferTensorContents;

use super::Datatype;

/// How many elements the field of this datatype has.
pub fn len(datatype: Datatype, contents: &InferTensorContents) -> usize {
    match datatype {
        Datatype::Bool => contents.bool_contents.len(),
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => contents.uint_contents.len(),
        Datatype::Uint64 => contents.uint64_contents.len(),
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => contents.int_contents.len(),
        Datatype::Int64 => contents.int64_contents.len(),
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 => contents.fp32_contents.len(),
        Datatype::Fp64 => contents.fp64_contents.len(),
        Datatype::Bytes => contents.bytes_contents.len(),
    }
}

/// Whether a field is filled that is not the datatype's.
pub fn strays(datatype: Datatype, c: &InferTensorContents) -> bool {
    let all = [
        c.bool_contents.len(),
        c.int_contents.len(),
        c.int64_contents.len(),
        c.uint_contents.len(),
        c.uint64_contents.len(),
        c.fp32_contents.len(),
        c.fp64_contents.len(),
        c.bytes_contents.len(),
    ];
    all.iter().sum::<usize>() != len(datatype, c)
}

/// Raw → typed; FP16 and BF16, which have no field of their own, as `fp32_contents`.
pub fn from_raw(datatype: Datatype, raw: &Bytes) -> Result<InferTensorContents, String> {
    let mut c = InferTensorContents::default();
    if let Some(width) = datatype.width()
        && !raw.len().is_multiple_of(width)
    {
        return Err(format!("{} raw bytes are no whole number of {datatype} elements of {width} bytes", raw.len()));
    }
    match datatype {
        Datatype::Bool => c.bool_contents = raw.iter().map(|&b| b != 0).collect(),
        Datatype::Uint8 => c.uint_contents = raw.iter().map(|&b| b.into()).collect(),
        Datatype::Int8 => c.int_contents = raw.iter().map(|&b| i8::from_le_bytes([b]).into()).collect(),
        Datatype::Uint16 => c.uint_contents = chunks(raw).map(|b| u16::from_le_bytes(b).into()).collect(),
        Datatype::Int16 => c.int_contents = chunks(raw).map(|b| i16::from_le_bytes(b).into()).collect(),
        Datatype::Uint32 => c.uint_contents = chunks(raw).map(u32::from_le_bytes).collect(),
        Datatype::Int32 => c.int_contents = chunks(raw).map(i32::from_le_bytes).collect(),
        Datatype::Uint64 => c.uint64_contents = chunks(raw).map(u64::from_le_bytes).collect(),
        Datatype::Int64 => c.int64_contents = chunks(raw).map(i64::from_le_bytes).collect(),
        Datatype::Fp16 => c.fp32_contents = chunks(raw).map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Datatype::Bf16 => c.fp32_contents = chunks(raw).map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
        Datatype::Fp32 => c.fp32_contents = chunks(raw).map(f32::from_le_bytes).collect(),
        Datatype::Fp64 => c.fp64_contents = chunks(raw).map(f64::from_le_bytes).collect(),
        Datatype::Bytes => {
            let mut rest = raw.clone();
            while !rest.is_empty() {
                let (length, _) = rest.split_first_chunk::<4>().ok_or("the length of the last raw BYTES element is cut off")?;
                let end = 4 + u32::from_le_bytes(*length) as usize;
                if end > rest.len() {
                    return Err(format!("a raw BYTES element claims {} bytes, {} are left", end - 4, rest.len() - 4));
                }
                c.bytes_contents.push(rest.slice(4..end));
                rest = rest.slice(end..);
            }
        }
    }
    Ok(c)
}

/// Typed → raw. An integer that does not fit the datatype is an error.
pub fn to_raw(datatype: Datatype, c: &InferTensorContents) -> Result<Bytes, String> {
    fn narrow<T: TryFrom<V>, V: Copy + std::fmt::Display>(datatype: Datatype, value: V) -> Result<T, String> {
        T::try_from(value).map_err(|_| format!("{value} is out of range for {datatype}"))
    }
    let size = match datatype.width() {
        Some(width) => width * len(datatype, c),
        None => c.bytes_contents.iter().map(|b| 4 + b.len()).sum(),
    };
    let mut raw = BytesMut::with_capacity(size);
    match datatype {
        Datatype::Bool => c.bool_contents.iter().for_each(|&v| raw.put_u8(v.into())),
        Datatype::Uint8 => c.uint_contents.iter().try_for_each(|&v| narrow(datatype, v).map(|v| raw.put_u8(v)))?,
        Datatype::Int8 => c.int_contents.iter().try_for_each(|&v| narrow(datatype, v).map(|v| raw.put_i8(v)))?,
        Datatype::Uint16 => c.uint_contents.iter().try_for_each(|&v| narrow(datatype, v).map(|v| raw.put_u16_le(v)))?,
        Datatype::Int16 => c.int_contents.iter().try_for_each(|&v| narrow(datatype, v).map(|v| raw.put_i16_le(v)))?,
        Datatype::Uint32 => c.uint_contents.iter().for_each(|&v| raw.put_u32_le(v)),
        Datatype::Int32 => c.int_contents.iter().for_each(|&v| raw.put_i32_le(v)),
        Datatype::Uint64 => c.uint64_contents.iter().for_each(|&v| raw.put_u64_le(v)),
        Datatype::Int64 => c.int64_contents.iter().for_each(|&v| raw.put_i64_le(v)),
        Datatype::Fp16 => c.fp32_contents.iter().for_each(|&v| raw.put_slice(&f16::from_f32(v).to_le_bytes())),
        Datatype::Bf16 => c.fp32_contents.iter().for_each(|&v| raw.put_slice(&bf16::from_f32(v).to_le_bytes())),
        Datatype::Fp32 => c.fp32_contents.iter().for_each(|&v| raw.put_f32_le(v)),
        Datatype::Fp64 => c.fp64_contents.iter().for_each(|&v| raw.put_f64_le(v)),
        Datatype::Bytes => {
            for element in &c.bytes_contents {
                raw.put_u32_le(u32::try_from(element.len()).map_err(|_| "a BYTES element is over 4 GiB")?);
                raw.put_slice(element);
            }
        }
    }
    Ok(raw.freeze())
}

fn chunks<const N: usize>(raw: &[u8]) -> impl Iterator<Item = [u8; N]> {
    raw.as_chunks::<N>().0.iter().copied()
}
