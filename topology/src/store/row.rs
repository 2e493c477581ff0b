//! A row of a store in bytes: its value, behind what the kind of store keeps beside it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{
    Serde,
    error::{Error, ErrorKind},
    record::{Header, Headers},
};

/// What stands before the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RowFormat {
    Value,
    Timestamp,
    /// Headers, then the timestamp (KIP-1271).
    Headers,
}

/// A row, taken apart. Without a timestamp of its own it has that of the record in process.
pub(super) struct Parts<'a> {
    pub value: &'a [u8],
    pub timestamp: Option<i64>,
    pub headers: Headers,
}

impl RowFormat {
    /// The row of a record of the changelog.
    pub fn row(self, value: Bytes, timestamp: i64, headers: &Headers) -> Bytes {
        match self {
            Self::Value => value,
            Self::Timestamp => with_timestamp(&value, timestamp),
            Self::Headers => {
                let mut row = Vec::with_capacity(12 + value.len());
                headers_into(&mut row, timestamp, headers);
                row.put_slice(&value);
                row.into()
            }
        }
    }

    pub fn parts(self, row: &[u8]) -> Result<Parts<'_>, Error> {
        match self {
            Self::Value => Ok(Parts { value: row, timestamp: None, headers: Headers::empty() }),
            Self::Timestamp => {
                let (timestamp, value) = split_row(row);
                Ok(Parts { value, timestamp: Some(timestamp), headers: Headers::empty() })
            }
            Self::Headers => headers_of(row)
                .ok_or_else(|| Error::new(ErrorKind::Serialization, "a row of another store format: reset the application's local state")),
        }
    }
}

/// A row's timestamp and its value.
pub(super) fn split_row(row: &[u8]) -> (i64, &[u8]) {
    row.split_first_chunk().map_or((-1, row), |(timestamp, value)| (i64::from_be_bytes(*timestamp), value))
}

/// A value behind its timestamp.
pub(super) fn row_into<V>(row: &mut Vec<u8>, serde: &dyn Serde<V>, value: &V, timestamp: i64) -> Result<(), Error> {
    row.put_i64(timestamp);
    Ok(serde.serialize_into(value, row)?)
}

pub(super) fn with_timestamp(value: &[u8], timestamp: i64) -> Bytes {
    let mut row = BytesMut::with_capacity(8 + value.len());
    row.put_i64(timestamp);
    row.put_slice(value);
    row.freeze()
}

const NULL: i32 = -1;

/// What stands before a value that has headers: they, and its timestamp.
pub(super) fn headers_into(row: &mut Vec<u8>, timestamp: i64, headers: &Headers) {
    let headers = headers.to_vec();
    row.put_i32(headers.len() as i32);
    for Header { name, value } in &headers {
        row.put_i32(name.len() as i32);
        row.put_slice(name.as_bytes());
        row.put_i32(value.as_ref().map_or(NULL, |value| value.len() as i32));
        row.put_slice(value.as_deref().unwrap_or_default());
    }
    row.put_i64(timestamp);
}

fn headers_of(mut row: &[u8]) -> Option<Parts<'_>> {
    fn text<'a>(row: &mut &'a [u8], length: i32) -> Option<&'a [u8]> {
        let (text, rest) = row.split_at_checked(usize::try_from(length).ok()?)?;
        *row = rest;
        Some(text)
    }
    let mut headers = vec![];
    for _ in 0..row.try_get_i32().ok()? {
        let length = row.try_get_i32().ok()?;
        let name = text(&mut row, length)?;
        let name = std::str::from_utf8(name).ok()?.into();
        let value = match row.try_get_i32().ok()? {
            NULL => None,
            length => Some(Bytes::copy_from_slice(text(&mut row, length)?)),
        };
        headers.push(Header { name, value });
    }
    let timestamp = row.try_get_i64().ok()?;
    Some(Parts { value: row, timestamp: Some(timestamp), headers: headers.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_gives_back_what_it_keeps() {
        let value = Bytes::from_static(b"v");
        let header = |name: &str, value: Option<&'static str>| Header { name: name.into(), value: value.map(Into::into) };
        let headers = Headers::from(vec![header("a", Some("1")), header("", None), header("a", Some(""))]);
        for (format, timestamp, kept) in [
            (RowFormat::Value, None, Headers::empty()),
            (RowFormat::Timestamp, Some(7), Headers::empty()),
            (RowFormat::Headers, Some(7), headers.clone()),
        ] {
            let row = format.row(value.clone(), 7, &headers);
            let parts = format.parts(&row).unwrap();
            assert_eq!((parts.value, parts.timestamp, parts.headers), (&value[..], timestamp, kept));
        }
        assert!(RowFormat::Headers.parts(&Bytes::from_static(b"not a row")).is_err());
    }
}
