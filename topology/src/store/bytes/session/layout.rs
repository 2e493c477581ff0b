//! The rows of sessions in segments.

use bytes::Bytes;

use super::super::{
    SessionKey, StoreError,
    keys::{join, long, upper_range},
    session_from_bytes, session_to_bytes,
};

/// How a row's key is composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Key, end, start.
    Key,
    /// 0, end, start, key.
    Time,
    /// 1, key, end, start; the row is empty, its value is in the [`Time`](Self::Time) row.
    Index,
}

const TIME: u8 = 0;
const INDEX: u8 = 1;

impl Layout {
    pub fn row(self, key: &[u8], start: i64, end: i64) -> Bytes {
        match self {
            Self::Key => session_to_bytes(key, start, end),
            Self::Time => join(&[&[TIME], &end.to_be_bytes(), &start.to_be_bytes(), key]),
            Self::Index => join(&[&[INDEX], key, &end.to_be_bytes(), &start.to_be_bytes()]),
        }
    }

    pub fn session(self, row: &Bytes) -> Result<SessionKey, StoreError> {
        match self {
            Self::Key => session_from_bytes(row),
            Self::Index if row.is_empty() => Err(StoreError::Corrupt(0, "the key of a session")),
            Self::Index => session_from_bytes(&row.slice(1..)),
            Self::Time if row.len() < 17 => Err(StoreError::Corrupt(row.len(), "the key of a session")),
            Self::Time => Ok(SessionKey { end: long(&row[1..]), start: long(&row[9..]), key: row.slice(17..) }),
        }
    }

    /// The rows of one key, at least.
    pub fn of_key(self, key: &[u8], earliest_end: i64, latest_start: i64) -> (Option<Bytes>, Option<Bytes>) {
        (Some(self.row(key, 0, earliest_end.max(0))), Some(self.row(key, latest_start, i64::MAX)))
    }

    /// The rows from one key to another, as Kafka Streams looks for them; not for [`Time`](Self::Time).
    pub fn of_keys(self, key_from: Option<&[u8]>, key_to: Option<&[u8]>, latest_start: i64) -> (Option<Bytes>, Option<Bytes>) {
        let lower = key_from.map(|key| join(&[key, &[0; 16]]));
        let upper = key_to.map(|key| upper_range(key, &join(&[&i64::MAX.to_be_bytes(), &latest_start.to_be_bytes()])));
        match self {
            Self::Index => (
                Some(join(&[&[INDEX], &lower.unwrap_or_default()])),
                Some(upper.map_or(Bytes::from_static(&[INDEX + 1]), |upper| join(&[&[INDEX], &upper]))),
            ),
            _ => (lower, upper),
        }
    }
}
