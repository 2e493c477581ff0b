//! The one type of all keys and values in a scenario, its static types, and its forms as text, number, JSON and bytes.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use millstream::{Counter, Data, Serde, SerdeError, SerdeRef};
use serde_json::{Value as Json, json};

/// A key or value. Its static [`Type`] follows from the op that made it; null belongs to every type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Str(Arc<str>),
    I64(i64),
    Bytes(Bytes),
    Windowed(Arc<Window>),
}

/// A key in a window.
#[derive(Debug, PartialEq, Eq)]
pub struct Window {
    pub key: Value,
    pub start: i64,
    pub end: i64,
}

impl Data for Value {
    type Present = Self;
    fn present(&self) -> Option<&Self> {
        (!self.is_null()).then_some(self)
    }
    fn into_present(self) -> Option<Self> {
        (!self.is_null()).then_some(self)
    }
    fn from_present(present: Option<Self>) -> Option<Self> {
        Some(present.unwrap_or(Self::Null))
    }
    fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl Counter for Value {
    fn zero() -> Self {
        Self::I64(0)
    }
    fn up(self) -> Self {
        Self::I64(self.number().wrapping_add(1))
    }
    fn down(self) -> Self {
        Self::I64(self.number().wrapping_sub(1))
    }
    fn plus(self, other: Self) -> Self {
        Self::I64(self.number().wrapping_add(other.number()))
    }
}

impl Value {
    pub fn str(text: impl AsRef<str>) -> Self {
        Self::Str(text.as_ref().into())
    }

    pub fn windowed(key: Self, start: i64, end: i64) -> Self {
        Self::Windowed(Arc::new(Window { key, start, end }))
    }

    /// The text of any value.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Null => "null".into(),
            Self::Str(text) => Cow::Borrowed(text),
            Self::I64(number) => number.to_string().into(),
            Self::Bytes(bytes) => hex(bytes).into(),
            Self::Windowed(w) => format!("{}@{}/{}", w.key.text(), w.start, w.end).into(),
        }
    }

    /// The number of any value: a decimal text's value, another text's length in bytes, null's zero.
    pub fn number(&self) -> i64 {
        match self {
            Self::Null => 0,
            Self::I64(number) => *number,
            _ => {
                let text = self.text();
                decimal(&text).unwrap_or(text.len() as i64)
            }
        }
    }

    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::I64(number) => json!(number),
            Self::Windowed(w) => json!([w.key.to_json(), w.start, w.end]),
            Self::Str(_) | Self::Bytes(_) => json!(self.text()),
        }
    }
}

/// `-?[0-9]{1,18}` as a number.
pub fn decimal(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (matches!(digits.len(), 1..=18) && digits.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Part `n` of a text that is split at every `|`.
pub fn part(text: &str, n: usize) -> Value {
    text.split('|').nth(n).map_or(Value::Null, Value::str)
}

/// The pieces of a text that Java calls characters: UTF-16 units. Half of a pair cannot leave a Java program: it is written as `?`.
pub fn chars(text: &str) -> impl Iterator<Item = Value> {
    text.chars().flat_map(|c| match c.len_utf16() {
        1 => vec![Value::str(c.encode_utf8(&mut [0; 4]))],
        _ => vec![Value::str("?"); 2],
    })
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn unhex(text: &str) -> Option<Bytes> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    text.len().is_multiple_of(2).then(|| (0..text.len()).step_by(2).map(digit).collect()).flatten()
}

/// The text that Java reads from bytes: as `from_utf8_lossy`, but an encoded surrogate is one replacement character, not one a byte.
pub fn java_text(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(rest) => return text + rest,
            Err(error) => {
                let (good, bad) = bytes.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(good));
                text.push(char::REPLACEMENT_CHARACTER);
                let skipped = match bad {
                    [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
                    [0xed, 0xa0..=0xbf, ..] => 2,
                    _ => error.error_len().unwrap_or(bad.len()),
                };
                bytes = &bad[skipped..];
            }
        }
    }
}

/// The static type of a key or value. Windowed types are types of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    Str,
    I64,
    Bytes,
    /// With the window's size.
    #[serde(skip)]
    TimeWindowed(i64),
    #[serde(skip)]
    SessionWindowed,
}

impl Type {
    pub fn is_windowed(self) -> bool {
        matches!(self, Self::TimeWindowed(_) | Self::SessionWindowed)
    }

    /// Whether values of the two types may meet, in a join or a merge.
    pub fn fits(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// A value from a scenario; `None` if it does not have this type.
    pub fn parse(self, json: &Json) -> Option<Value> {
        match (self, json) {
            (_, Json::Null) => Some(Value::Null),
            (Self::Str, Json::String(text)) => Some(Value::str(text)),
            (Self::Str, Json::Number(_) | Json::Bool(_)) => Some(Value::str(json.to_string())),
            (Self::I64, Json::Number(number)) => number.as_i64().map(Value::I64),
            (Self::I64, Json::String(text)) => Some(Value::I64(text.parse().unwrap_or(0))),
            (Self::Bytes, Json::String(text)) => unhex(text).map(Value::Bytes),
            _ => None,
        }
    }

    pub fn serde(self) -> SerdeRef<Value> {
        Arc::new(self)
    }
}

impl Serde<Value> for Type {
    fn serialize(&self, value: &Value) -> Result<Bytes, SerdeError> {
        match (self, value) {
            (Self::Str, Value::Str(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            (Self::I64, Value::I64(number)) => Ok(Bytes::copy_from_slice(&number.to_be_bytes())),
            (Self::Bytes, Value::Bytes(bytes)) => Ok(bytes.clone()),
            (Self::TimeWindowed(_), Value::Windowed(w)) => Ok([&Self::Str.serialize(&w.key)?[..], &w.start.to_be_bytes()].concat().into()),
            (Self::SessionWindowed, Value::Windowed(w)) => {
                Ok([&Self::Str.serialize(&w.key)?[..], &w.end.to_be_bytes(), &w.start.to_be_bytes()].concat().into())
            }
            _ => Err(SerdeError(format!("{value:?} is not of type {self:?}"))),
        }
    }

    fn deserialize(&self, bytes: &Bytes) -> Result<Value, SerdeError> {
        match self {
            Self::Str => Ok(Value::str(java_text(bytes))),
            Self::Bytes => Ok(Value::Bytes(bytes.clone())),
            Self::I64 => match bytes.len() {
                8 => Ok(Value::I64(last_i64(bytes)?.1)),
                n => Err(SerdeError(format!("{n} bytes where 8 are expected"))),
            },
            Self::TimeWindowed(size) => {
                let (key, start) = last_i64(bytes)?;
                Ok(Value::windowed(Value::str(java_text(key)), start, start.checked_add(*size).unwrap_or(i64::MAX)))
            }
            Self::SessionWindowed => {
                let (rest, start) = last_i64(bytes)?;
                let (key, end) = last_i64(rest)?;
                Ok(Value::windowed(Value::str(java_text(key)), start, end))
            }
        }
    }
}

fn last_i64(bytes: &[u8]) -> Result<(&[u8], i64), SerdeError> {
    match bytes.split_last_chunk::<8>() {
        Some((rest, last)) => Ok((rest, i64::from_be_bytes(*last))),
        None => Err(SerdeError(format!("{} bytes are too few for a number", bytes.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_decimal_texts_are_numbers() {
        assert_eq!(Value::str("-007").number(), -7);
        assert_eq!(Value::str("").number(), 0);
        assert_eq!(Value::str("-").number(), 1);
        assert_eq!(Value::str("+1").number(), 2);
        assert_eq!(Value::str("1234567890123456789").number(), 19);
        assert_eq!(Value::str("é").number(), 2);
        assert_eq!(Value::Bytes(Bytes::from_static(&[0x12, 0x34])).number(), 1234);
    }

    #[test]
    fn text_is_read_as_java_reads_it() {
        for (bytes, text) in [
            (&b"a\xffb"[..], "a\u{fffd}b"),
            (b"\xed\xa0\x80", "\u{fffd}"),
            (b"\xed\xa0", "\u{fffd}"),
            (b"\xed\xa0A", "\u{fffd}A"),
            (b"\xed\xa0\x80\xed\xb0\x80", "\u{fffd}\u{fffd}"),
            (b"\xe0\x80\x80", "\u{fffd}\u{fffd}\u{fffd}"),
            (b"\xe2\x82", "\u{fffd}"),
            (b"\xf0\x9f\x98", "\u{fffd}"),
            (b"\xf0\x9f\x98\x80", "😀"),
        ] {
            assert_eq!(java_text(bytes), text, "{bytes:x?}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_a_question_mark() {
        let pieces: Vec<_> = chars("a😀é").map(|v| v.text().into_owned()).collect();
        assert_eq!(pieces, ["a", "?", "?", "é"]);
    }

    #[test]
    fn windowed_keys_have_kafkas_bytes() {
        let key = Value::windowed(Value::str("k"), 1, 6);
        let time = Type::TimeWindowed(5).serialize(&key).unwrap();
        assert_eq!(hex(&time), "6b0000000000000001");
        assert_eq!(Type::TimeWindowed(5).deserialize(&time).unwrap(), key);
        let session = Type::SessionWindowed.serialize(&key).unwrap();
        assert_eq!(hex(&session), "6b00000000000000060000000000000001");
        assert_eq!(Type::SessionWindowed.deserialize(&session).unwrap(), key);
        let unlimited = Type::TimeWindowed(i64::MAX).deserialize(&time).unwrap();
        assert_eq!(unlimited.text(), "k@1/9223372036854775807");
    }
}
