//! The text of a JSON array → typed contents, and back. Numbers are parsed from their digits, at the width of the datatype.

use bytes::Bytes;
use half::{bf16, f16};
use millstream_proto::inference::InferTensorContents;

use super::Datatype;

/// Reads `json`, which is valid JSON: a flat array in row-major order, arrays nested as the shape says, or one scalar.
pub(super) fn read(datatype: Datatype, json: &str, shape: &[i64], expected: usize) -> Result<InferTensorContents, Problem> {
    let mut c = InferTensorContents::default();
    // The text bounds how much is reserved: a shape can claim anything.
    let capacity = expected.min(json.len() / 2 + 1);
    macro_rules! all {
        ($field:ident, $parse:expr) => {{
            c.$field.reserve(capacity);
            flatten(json, shape, expected, |token| {
                c.$field.push($parse(token)?);
                Some(())
            })
        }};
    }
    let small = |token| integer::<i64>(token);
    match datatype {
        Datatype::Bool => all!(bool_contents, boolean),
        Datatype::Uint8 => all!(uint_contents, |t| small(t).and_then(|v| u8::try_from(v).ok()).map(u32::from)),
        Datatype::Uint16 => all!(uint_contents, |t| small(t).and_then(|v| u16::try_from(v).ok()).map(u32::from)),
        Datatype::Uint32 => all!(uint_contents, integer),
        Datatype::Uint64 => all!(uint64_contents, integer),
        Datatype::Int8 => all!(int_contents, |t| small(t).and_then(|v| i8::try_from(v).ok()).map(i32::from)),
        Datatype::Int16 => all!(int_contents, |t| small(t).and_then(|v| i16::try_from(v).ok()).map(i32::from)),
        Datatype::Int32 => all!(int_contents, integer),
        Datatype::Int64 => all!(int64_contents, integer),
        Datatype::Fp16 => all!(fp32_contents, |t| float::<f32>(t).filter(|v| f16::from_f32(*v).is_finite() || !v.is_finite())),
        Datatype::Bf16 => all!(fp32_contents, |t| float::<f32>(t).filter(|v| bf16::from_f32(*v).is_finite() || !v.is_finite())),
        Datatype::Fp32 => all!(fp32_contents, float),
        Datatype::Fp64 => all!(fp64_contents, float),
        Datatype::Bytes => all!(bytes_contents, string),
    }?;
    Ok(c)
}

/// What is wrong with a tensor's data, and at which byte of its text.
#[derive(Debug)]
pub(super) struct Problem {
    pub at: usize,
    pub kind: ProblemKind,
}

#[derive(Debug)]
pub(super) enum ProblemKind {
    /// This token is no element of the datatype.
    Element(String),
    /// Nested otherwise than the shape says.
    Nesting {
        depth: usize,
        found: usize,
        expected: i64,
    },
    Count(usize),
}

/// Calls `element` with the text of each scalar.
fn flatten<'a>(json: &'a str, shape: &[i64], expected: usize, mut element: impl FnMut(&'a str) -> Option<()>) -> Result<(), Problem> {
    let bytes = json.as_bytes();
    let (mut at, mut count, mut deepest) = (0, 0, 0);
    let mut open: Vec<usize> = Vec::with_capacity(shape.len());
    let mut uneven = None;
    while at < bytes.len() {
        match bytes[at] {
            b'[' => {
                if let Some(children) = open.last_mut() {
                    *children += 1;
                }
                open.push(0);
                deepest = deepest.max(open.len());
                at += 1;
            }
            b']' => {
                let found = open.pop().unwrap_or_default();
                if let Some(&expected) = shape.get(open.len())
                    && uneven.is_none()
                    && i64::try_from(found) != Ok(expected)
                {
                    uneven = Some(Problem { at, kind: ProblemKind::Nesting { depth: open.len(), found, expected } });
                }
                at += 1;
            }
            b',' | b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            first => {
                let length = match first {
                    b'"' => string_length(&bytes[at..]),
                    b'{' => 1, // an object is no element; its brace says where
                    _ => {
                        bytes[at..].iter().position(|b| matches!(b, b',' | b']' | b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(bytes.len() - at)
                    }
                };
                let token = &json[at..at + length];
                element(token).ok_or_else(|| Problem { at, kind: ProblemKind::Element(shorten(token)) })?;
                if let Some(children) = open.last_mut() {
                    *children += 1;
                }
                count += 1;
                at += length;
            }
        }
    }
    match uneven {
        // Arrays that are nested as deep as the shape must be as long as it says; otherwise only the elements count.
        Some(problem) if deepest > 1 && deepest == shape.len() => Err(problem),
        _ if count != expected => Err(Problem { at: 0, kind: ProblemKind::Count(count) }),
        _ => Ok(()),
    }
}

/// The length of the string that begins here, quotes included.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn shorten(token: &str) -> String {
    match token.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &token[..end]),
        None => token.into(),
    }
}

fn boolean(token: &str) -> Option<bool> {
    match token {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number; `1.0` and `1e3` are whole as well, as long as a floating-point number holds them exactly.
pub(super) fn integer<T: std::str::FromStr + TryFrom<i64>>(token: &str) -> Option<T> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Ok(value) = token.parse() {
        return Some(value);
    }
    let value: f64 = token.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')).then(|| token.parse().ok())??;
    #[allow(clippy::cast_possible_truncation)] // whole and within 2^53
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)?.try_into().ok()
}

/// A finite number, or one of the strings that stand for the others.
fn float<T: std::str::FromStr + Finite>(token: &str) -> Option<T> {
    match token {
        "\"NaN\"" => "NaN".parse().ok(),
        "\"Infinity\"" => "inf".parse().ok(),
        "\"-Infinity\"" => "-inf".parse().ok(),
        _ => token.parse().ok().filter(T::finite),
    }
}

trait Finite {
    fn finite(&self) -> bool;
}

impl Finite for f32 {
    fn finite(&self) -> bool {
        self.is_finite()
    }
}

impl Finite for f64 {
    fn finite(&self) -> bool {
        self.is_finite()
    }
}

fn string(token: &str) -> Option<Bytes> {
    let inner = token.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(token).ok().map(Bytes::from)
    } else {
        Some(Bytes::copy_from_slice(inner.as_bytes()))
    }
}

/// Writes the elements as a flat array. BYTES that are not UTF-8 are the caller's business.
pub(super) fn write_all(out: &mut Vec<u8>, datatype: Datatype, c: &InferTensorContents) {
    match datatype {
        Datatype::Bool => array(out, &c.bool_contents, write),
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => array(out, &c.uint_contents, write),
        Datatype::Uint64 => array(out, &c.uint64_contents, write),
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => array(out, &c.int_contents, write),
        Datatype::Int64 => array(out, &c.int64_contents, write),
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 => {
            array(out, &c.fp32_contents, |out, v| if v.is_finite() { write(out, v) } else { not_finite(out, f64::from(*v)) })
        }
        Datatype::Fp64 => array(out, &c.fp64_contents, |out, v| if v.is_finite() { write(out, v) } else { not_finite(out, *v) }),
        Datatype::Bytes => array(out, &c.bytes_contents, |out, v| write(out, &String::from_utf8_lossy(v))),
    }
}

pub(super) fn array<T>(out: &mut Vec<u8>, values: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(out, value);
    }
    out.push(b']');
}

fn not_finite(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(if value.is_nan() {
        b"\"NaN\""
    } else if value > 0.0 {
        b"\"Infinity\""
    } else {
        b"\"-Infinity\""
    });
}

/// Writes a scalar.
pub(super) fn write<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("scalars and strings have a JSON form, and a Vec takes all bytes");
}
