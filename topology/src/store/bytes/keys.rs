//! How windows and sessions are written as bytes: in changelogs, and in segments.

use bytes::{BufMut, Bytes};

use super::StoreError;

/// A key and the start of its window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowKey {
    /// The key.
    pub key: Bytes,
    /// Where the window starts, in milliseconds.
    pub start: i64,
}

/// A key and its session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// The key.
    pub key: Bytes,
    /// The time of the session's first record, in milliseconds.
    pub start: i64,
    /// The time of the session's last record, in milliseconds.
    pub end: i64,
}

/// A window's key in the changelog: key, start, sequence number. Stores that keep duplicates count their changelog records from 1, null
/// values too, apart from what the store itself counts; other stores write 0.
pub fn window_to_bytes(key: &[u8], start: i64, seq: u32) -> Bytes {
    join(&[key, &start.to_be_bytes(), &seq.to_be_bytes()])
}

/// Reads [`window_to_bytes`].
pub fn window_from_bytes(bytes: &Bytes) -> Result<(WindowKey, u32), StoreError> {
    let key = key_before(bytes, 12, "the key of a window")?;
    let start = long(&bytes[key.len()..]);
    let seq = bytes.last_chunk().map_or(0, |seq| u32::from_be_bytes(*seq));
    Ok((WindowKey { key, start }, seq))
}

/// A session's key in the changelog: key, end, start.
pub fn session_to_bytes(key: &[u8], start: i64, end: i64) -> Bytes {
    join(&[key, &end.to_be_bytes(), &start.to_be_bytes()])
}

/// Reads [`session_to_bytes`].
pub fn session_from_bytes(bytes: &Bytes) -> Result<SessionKey, StoreError> {
    let key = key_before(bytes, 16, "the key of a session")?;
    let times = &bytes[key.len()..];
    Ok(SessionKey { end: long(times), start: long(&times[8..]), key })
}

fn key_before(bytes: &Bytes, suffix: usize, what: &'static str) -> Result<Bytes, StoreError> {
    let length = bytes.len().checked_sub(suffix).ok_or(StoreError::Corrupt(bytes.len(), what))?;
    Ok(bytes.slice(..length))
}

/// The number at the front, if there is one.
pub(super) fn long(bytes: &[u8]) -> i64 {
    bytes.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

pub(super) fn join(parts: &[&[u8]]) -> Bytes {
    let mut joined = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| joined.put_slice(part));
    joined.into()
}

/// Where the rows of keys up to `key` end if each row is a key and a suffix of at most `suffix`.
///
/// Kafka Streams takes bytes of the key only as long as they are not below the suffix's first byte, so a scan up to a key with smaller
/// bytes reads (and filters out) more than it needs; and if the suffix begins with zero, a scan up to a key that continues a shorter one
/// with zeros misses the shorter one.
pub(super) fn upper_range(key: &[u8], suffix: &[u8]) -> Bytes {
    let taken = key.iter().enumerate().take_while(|(index, byte)| *index == 0 || **byte >= suffix[0]).count();
    join(&[&key[..taken], suffix])
}

/// Whether the key lies between both, included; `None` is no bound.
pub(super) fn between(key: &[u8], from: Option<&[u8]>, to: Option<&[u8]>) -> bool {
    from.is_none_or(|from| key >= from) && to.is_none_or(|to| key <= to)
}

/// Whether no key can lie between them.
pub(super) fn crossed(from: Option<&[u8]>, to: Option<&[u8]>) -> bool {
    matches!((from, to), (Some(from), Some(to)) if from > to)
}
