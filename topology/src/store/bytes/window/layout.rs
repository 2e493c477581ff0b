//! The rows of windows in segments.

use bytes::Bytes;

use super::{
    super::{
        StoreError, WindowKey,
        keys::{join, long, upper_range},
        window_from_bytes, window_to_bytes,
    },
    memory::MAX_SEQ,
};

/// How a row's key is composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Key, start, sequence number.
    Key,
    /// 0, start, key, sequence number.
    Time,
    /// 1, key, start, sequence number; the row is empty, its value is in the [`Time`](Self::Time) row.
    Index,
}

const TIME: u8 = 0;
const INDEX: u8 = 1;

impl Layout {
    pub fn row(self, key: &[u8], start: i64, seq: u32) -> Bytes {
        match self {
            Self::Key => window_to_bytes(key, start, seq),
            Self::Time => join(&[&[TIME], &start.to_be_bytes(), key, &seq.to_be_bytes()]),
            Self::Index => join(&[&[INDEX], key, &start.to_be_bytes(), &seq.to_be_bytes()]),
        }
    }

    pub fn window(self, row: &Bytes) -> Result<(WindowKey, u32), StoreError> {
        match self {
            Self::Key => window_from_bytes(row),
            Self::Index if row.is_empty() => Err(StoreError::Corrupt(0, "the key of a window")),
            Self::Index => window_from_bytes(&row.slice(1..)),
            Self::Time => {
                let end = row.len().checked_sub(4).filter(|end| *end >= 9);
                let end = end.ok_or(StoreError::Corrupt(row.len(), "the key of a window"))?;
                let seq = row.last_chunk().map_or(0, |seq| u32::from_be_bytes(*seq));
                Ok((WindowKey { key: row.slice(9..end), start: long(&row[1..]) }, seq))
            }
        }
    }

    /// The rows of one key, at least.
    pub fn of_key(self, key: &[u8], from: i64, to: i64) -> (Option<Bytes>, Option<Bytes>) {
        (Some(self.row(key, from.max(0), 0)), Some(self.row(key, to, MAX_SEQ)))
    }

    /// The rows from one key to another, as Kafka Streams looks for them. A time before 0 sorts after all others.
    pub fn of_keys(self, key_from: Option<&[u8]>, key_to: Option<&[u8]>, from: i64, to: i64) -> (Option<Bytes>, Option<Bytes>) {
        let lower = |key: &[u8]| join(&[key, &[0; 12]]);
        let upper = |key: &[u8]| upper_range(key, &join(&[&to.to_be_bytes(), &MAX_SEQ.to_be_bytes()]));
        match self {
            Self::Key => (key_from.map(lower), key_to.map(upper)),
            Self::Index => (
                Some(join(&[&[INDEX], &key_from.map(lower).unwrap_or_default()])),
                Some(key_to.map_or(Bytes::from_static(&[INDEX + 1]), |key| join(&[&[INDEX], &upper(key)]))),
            ),
            Self::Time => {
                let lower = join(&[&[TIME], &from.to_be_bytes(), key_from.unwrap_or_default()]);
                // Without a last key, Kafka Streams reads on to the end and stops at the first window that is too late.
                let end = || join(&[&[TIME], &to.saturating_add(1).to_be_bytes()]);
                let upper = match key_to {
                    Some(key) => join(&[&[TIME], &to.to_be_bytes(), &vec![0xff; key.len()], &MAX_SEQ.to_be_bytes()]),
                    None if to == i64::MAX => Bytes::from_static(&[TIME + 1]),
                    None => end(),
                };
                (Some(lower), Some(upper))
            }
        }
    }
}
