//! Windows in memory, by time.

use std::{collections::BTreeMap, ops::Bound, sync::OnceLock};

use bytes::Bytes;
use hashbrown::HashMap;

use super::{
    super::{
        Put, WindowKey,
        keys::{between, crossed, join},
        ordered_hash::OrderedHash,
        sorted::Sorted,
    },
    WindowOptions, WindowRows,
};

/// The sequence numbers of duplicates run to here, and begin again at 0.
pub(super) const MAX_SEQ: u32 = 0x7fff_ffff;

/// Windows by start, then key; with duplicates, then sequence number.
pub(super) struct MemoryWindows {
    options: WindowOptions,
    observed: i64,
    seq: u32,
    times: BTreeMap<i64, OrderedHash<Bytes>>,
    /// The windows of each key by start and sequence number, once somebody has asked for those of a key: a store of many short windows is
    /// else read from end to end.
    by_key: OnceLock<ByKey>,
}

type ByKey = HashMap<Bytes, Sorted<(i64, u32), Bytes>>;

impl MemoryWindows {
    pub fn new(options: WindowOptions) -> Self {
        Self { options, observed: -1, seq: 0, times: BTreeMap::new(), by_key: OnceLock::new() }
    }

    pub fn observed(&self) -> i64 {
        self.observed
    }

    /// The first start that is not hidden.
    fn visible(&self) -> i64 {
        (self.observed - self.options.retention).wrapping_add(1).max(0)
    }

    pub fn put(&mut self, key: Bytes, value: Option<Bytes>, start: i64) -> Put {
        self.observed = self.observed.max(start);
        self.expire();
        if start <= self.observed - self.options.retention {
            return Put::Dropped;
        }
        match value {
            Some(value) => {
                if self.options.retain_duplicates {
                    self.seq = (self.seq + 1) & MAX_SEQ;
                }
                if let Some(by_key) = self.by_key.get_mut() {
                    by_key.entry_ref(&key).or_default().insert((start, self.seq), value.clone());
                }
                let row = if self.options.retain_duplicates { numbered(&key, self.seq) } else { key };
                self.times.entry(start).or_default().insert(row, value);
            }
            None if self.options.retain_duplicates => {}
            None => {
                let Some(rows) = self.times.get_mut(&start) else { return Put::Stored };
                if rows.remove(&key).is_some() && rows.len() == 0 {
                    self.times.remove(&start);
                }
                if let Some(by_key) = self.by_key.get_mut() {
                    forget(by_key, &key, (start, 0));
                }
            }
        }
        Put::Stored
    }

    fn expire(&mut self) {
        let visible = self.visible();
        while let Some(first) = self.times.first_entry().filter(|first| *first.key() < visible) {
            let (start, rows) = first.remove_entry();
            let Some(by_key) = self.by_key.get_mut() else { continue };
            for (row, _) in rows {
                let (key, seq) = split(&row, self.options.retain_duplicates);
                forget(by_key, &key, (start, seq));
            }
        }
    }

    pub fn fetch(&self, key: &[u8], start: i64) -> Option<Bytes> {
        if start < self.visible() {
            return None;
        }
        self.times.get(&start)?.get(key).cloned()
    }

    pub fn fetch_key(&self, key: &[u8], from: i64, to: i64, reverse: bool) -> WindowRows<'_> {
        let from = from.max(self.visible());
        let Some((key, windows)) = self.by_key.get_or_init(|| self.index()).get_key_value(key).filter(|_| from <= to) else {
            return Box::new(std::iter::empty());
        };
        let windows = windows.range((from, 0)..=(to, MAX_SEQ));
        let row = move |(&(start, _), value): (&(i64, u32), &Bytes)| Ok((WindowKey { key: key.clone(), start }, value.clone()));
        if reverse { Box::new(windows.rev().map(row)) } else { Box::new(windows.map(row)) }
    }

    pub fn fetch_keys(&self, key_from: Option<&[u8]>, key_to: Option<&[u8]>, from: i64, to: i64, reverse: bool) -> WindowRows<'_> {
        if let (Some(key), true) = (key_from, key_from == key_to) {
            return self.fetch_key(key, from, to, reverse);
        }
        let from = from.max(self.visible());
        if crossed(key_from, key_to) || from > to {
            return Box::new(std::iter::empty());
        }
        let keys = KeyRange::new(key_from, key_to, self.options.retain_duplicates);
        let times = self.times.range(from..=to);
        if reverse {
            Box::new(times.rev().flat_map(move |(start, rows)| keys.windows(*start, rows, true)))
        } else {
            Box::new(times.flat_map(move |(start, rows)| keys.windows(*start, rows, false)))
        }
    }

    fn index(&self) -> ByKey {
        let mut by_key = ByKey::new();
        for (start, rows) in &self.times {
            for (row, value) in rows.iter() {
                let (key, seq) = split(row, self.options.retain_duplicates);
                by_key.entry(key).or_default().insert((*start, seq), value.clone());
            }
        }
        by_key
    }
}

/// The keys of a scan.
struct KeyRange {
    from: Option<Bytes>,
    to: Option<Bytes>,
    duplicates: bool,
}

impl KeyRange {
    fn new(from: Option<&[u8]>, to: Option<&[u8]>, duplicates: bool) -> Self {
        Self { from: from.map(Bytes::copy_from_slice), to: to.map(Bytes::copy_from_slice), duplicates }
    }

    /// The windows of one start. Rows are looked for as Kafka Streams does: with duplicates, a key and its number may sort behind the last
    /// key and its last number although the key does not.
    fn windows<'a>(&self, start: i64, rows: &'a OrderedHash<Bytes>, reverse: bool) -> WindowRows<'a> {
        let bound = |key: &Option<Bytes>, seq| match key {
            Some(key) if self.duplicates => Bound::Included(numbered(key, seq)),
            Some(key) => Bound::Included(key.clone()),
            None => Bound::Unbounded,
        };
        let (lower, upper) = (bound(&self.from, 0), bound(&self.to, MAX_SEQ));
        let rows = rows.range((lower.as_ref().map(|key| &key[..]), upper.as_ref().map(|key| &key[..])), reverse);
        let (from, to, duplicates) = (self.from.clone(), self.to.clone(), self.duplicates);
        Box::new(rows.filter_map(move |(row, value)| {
            let (key, _) = split(row, duplicates);
            between(&key, from.as_deref(), to.as_deref()).then(|| Ok((WindowKey { key, start }, value.clone())))
        }))
    }
}

fn forget(by_key: &mut ByKey, key: &Bytes, window: (i64, u32)) {
    if let Some(windows) = by_key.get_mut(key) {
        windows.remove(&window);
        if windows.is_empty() {
            by_key.remove(key);
        }
    }
}

/// The row of a key that may have duplicates.
fn numbered(key: &[u8], seq: u32) -> Bytes {
    join(&[key, &seq.to_be_bytes()])
}

fn split(row: &Bytes, duplicates: bool) -> (Bytes, u32) {
    match row.split_last_chunk() {
        Some((key, seq)) if duplicates => (row.slice(..key.len()), u32::from_be_bytes(*seq)),
        _ => (row.clone(), 0),
    }
}
