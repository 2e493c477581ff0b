//! Rows that expire a segment at a time.

use std::{collections::BTreeSet, ops::Bound, vec};

use bytes::Bytes;

use super::{
    Map, RocksHandle, Rows, StoreError,
    keys::{join, long},
};

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The store has it.
    Stored,
    /// It came too late: the store counts it as dropped.
    Dropped,
}

/// A segment of no time: it never expires, and is not among the others.
pub(super) const RESERVED: i64 = i64::MIN;

/// Rows in segments of time.
///
/// **Law.** A segment exists from the first put into it until a put moves stream time so far that all of it lies before the retention; then
/// its rows are gone. Until then its rows are there, also those before the retention: readers hide them.
pub(super) struct Segments {
    map: Map,
    retention: i64,
    interval: i64,
    observed: i64,
    seq: u32,
    live: BTreeSet<i64>,
}

impl Segments {
    pub fn new(map: Map, retention: i64, interval: i64) -> Result<Self, StoreError> {
        let mut segments = Self { map, retention, interval: interval.max(1), observed: -1, seq: 0, live: BTreeSet::new() };
        if let Some(mark) = segments.map.rocks().and_then(|map| map.mark()) {
            segments.observed = long(&mark);
            segments.seq = mark.last_chunk().map_or(0, |seq| u32::from_be_bytes(*seq));
        }
        let mut from = Bound::Unbounded;
        loop {
            let row = segments.map.range((from.as_ref().map(|from: &[u8; 8]| &from[..]), Bound::Unbounded), false).next().transpose()?;
            let Some((key, _)) = row else { return Ok(segments) };
            let id = id(&key);
            if id != RESERVED {
                segments.live.insert(id);
            }
            let Some(next) = id.checked_add(1) else { return Ok(segments) };
            from = Bound::Included(prefix(next));
        }
    }

    pub fn rocks(&self) -> Option<RocksHandle> {
        self.map.rocks()
    }

    /// The latest time that was put; −1 before the first.
    pub fn observed(&self) -> i64 {
        self.observed
    }

    /// Moves stream time.
    pub fn observe(&mut self, time: i64) {
        self.observed = self.observed.max(time);
        self.note();
    }

    /// The sequence number of the last put that had one.
    pub fn seq(&self) -> u32 {
        self.seq
    }

    pub fn set_seq(&mut self, seq: u32) {
        self.seq = seq;
        self.note();
    }

    fn note(&mut self) {
        if let Map::Rocks(map) = &self.map {
            let mut mark = [0; 12];
            mark[..8].copy_from_slice(&self.observed.to_be_bytes());
            mark[8..].copy_from_slice(&self.seq.to_be_bytes());
            map.set_mark(mark);
        }
    }

    /// The time before which nothing is retained. It may be negative.
    pub fn edge(&self) -> i64 {
        self.observed - self.retention
    }

    pub fn id(&self, time: i64) -> i64 {
        time / self.interval
    }

    /// The segments from one id to another, both included.
    pub fn ids(&self, from: i64, to: i64, reverse: bool) -> Vec<i64> {
        if from > to {
            return Vec::new();
        }
        let ids = self.live.range(from..=to).copied();
        if reverse { ids.rev().collect() } else { ids.collect() }
    }

    /// Whether there is such a segment.
    pub fn is_live(&self, id: i64) -> bool {
        self.live.contains(&id)
    }

    /// Makes the segment unless it has expired, and drops those that have; whether it is there.
    pub fn enliven(&mut self, id: i64) -> bool {
        if id < self.id(self.edge()) {
            return false;
        }
        self.live.insert(id);
        self.expire();
        true
    }

    /// Drops the segments that have expired.
    pub fn expire(&mut self) {
        let live = self.id(self.edge());
        if self.live.first().is_some_and(|first| *first < live) {
            self.live = self.live.split_off(&live);
            self.map.delete_range(&prefix(RESERVED + 1), Some(&prefix(live)));
        }
    }

    pub fn get(&self, id: i64, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.map.get(&join(&[&prefix(id), key]))
    }

    pub fn put(&mut self, id: i64, key: &[u8], value: Option<Bytes>) {
        self.map.put(join(&[&prefix(id), key]), value);
    }

    /// The rows of the segments from one id to another, segment by segment; in each, those from `lower` to `upper`, both included.
    pub fn scan(&self, ids: (i64, i64), lower: Option<Bytes>, upper: Option<Bytes>, reverse: bool) -> Rows<'_> {
        let ids = self.ids(ids.0, ids.1, reverse).into_iter();
        Box::new(Scan { segments: self, ids, lower, upper, reverse, rows: Box::new(std::iter::empty()) })
    }
}

/// The segments' ids are ordered as signed numbers.
fn prefix(id: i64) -> [u8; 8] {
    (id ^ i64::MIN).to_be_bytes()
}

fn id(key: &[u8]) -> i64 {
    long(key) ^ i64::MIN
}

struct Scan<'a> {
    segments: &'a Segments,
    ids: vec::IntoIter<i64>,
    lower: Option<Bytes>,
    upper: Option<Bytes>,
    reverse: bool,
    rows: Rows<'a>,
}

impl Iterator for Scan<'_> {
    type Item = Result<(Bytes, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(row.map(|(key, value)| (key.slice(8..), value)));
            }
            let id = self.ids.next()?;
            let lower = join(&[&prefix(id), self.lower.as_deref().unwrap_or_default()]);
            let upper = match &self.upper {
                Some(upper) => Bound::Included(join(&[&prefix(id), upper])),
                None => id.checked_add(1).map_or(Bound::Unbounded, |next| Bound::Excluded(Bytes::copy_from_slice(&prefix(next)))),
            };
            self.rows = self.segments.map.range((Bound::Included(&lower), upper.as_ref().map(|upper| &upper[..])), self.reverse);
        }
    }
}
