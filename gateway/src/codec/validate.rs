//! Whether a message that came as protobuf holds what it says.

use bytes::Bytes;
use millstream_proto::inference::ModelInferRequest;

use super::{CodecError, Datatype, contents, tensor};

/// Checks names, datatypes, shapes and that the data fits them.
pub fn validate(request: &ModelInferRequest) -> Result<(), CodecError> {
    let raws = request.raw_input_contents.len();
    if raws != 0 && raws != request.inputs.len() {
        let reason = format!("{raws} raw_input_contents for {} inputs: give raw contents for all inputs or for none", request.inputs.len());
        return Err(CodecError::Structure { what: "request", reason });
    }
    for (i, view) in tensor::inputs(request).enumerate() {
        let wrong = |reason| CodecError::tensor(view.name, reason);
        // Few inputs: comparing them is quicker than a set.
        if request.inputs[..i].iter().any(|t| t.name == view.name) {
            return Err(wrong("there are two of this name".into()));
        }
        let datatype = tensor::datatype(view.name, view.datatype)?;
        let expected = tensor::elements(view.name, view.shape)?;
        match (view.raw, view.contents) {
            (Some(data), None) => raw(datatype, data, expected).map_err(wrong)?,
            (Some(data), Some(typed)) if contents::len(datatype, typed) == 0 && !contents::strays(datatype, typed) => {
                raw(datatype, data, expected).map_err(wrong)?;
            }
            (Some(_), Some(_)) => return Err(wrong("it has both contents and raw_input_contents: leave one out".into())),
            (None, Some(typed)) if contents::strays(datatype, typed) => {
                return Err(wrong(format!("its contents are in a field that is not the one of {datatype}")));
            }
            (None, typed) => {
                let found = typed.map_or(0, |typed| contents::len(datatype, typed));
                if found != expected {
                    return Err(wrong(format!("shape {:?} takes {expected} elements, contents have {found}", view.shape)));
                }
            }
        }
    }
    Ok(())
}

/// Whether raw contents have the size of so many elements.
pub(super) fn raw(datatype: Datatype, raw: &Bytes, expected: usize) -> Result<(), String> {
    match datatype.width() {
        Some(width) if width.checked_mul(expected) == Some(raw.len()) => Ok(()),
        Some(width) => {
            Err(format!("{expected} elements of {datatype} take {} bytes, there are {}", width.saturating_mul(expected), raw.len()))
        }
        None => {
            let mut rest: &[u8] = raw;
            let mut found = 0;
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                rest = after.get(u32::from_le_bytes(*length) as usize..).ok_or_else(|| format!("raw BYTES element {found} is cut off"))?;
                found += 1;
            }
            match () {
                () if !rest.is_empty() => Err(format!("the length before raw BYTES element {found} is cut off")),
                () if found != expected => Err(format!("the shape takes {expected} elements, there are {found} raw BYTES elements")),
                () => Ok(()),
            }
        }
    }
}
