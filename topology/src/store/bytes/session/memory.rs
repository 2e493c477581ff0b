//! Sessions in memory.

use std::{cmp::Reverse, collections::BTreeSet, ops::Bound};

use bytes::Bytes;
use hashbrown::HashMap;

use super::{
    super::{
        Put, SessionKey,
        keys::{between, crossed},
        sorted::Sorted,
    },
    SessionRows,
};

/// Sessions by end, then key, then start with the latest first.
pub(super) struct MemorySessions {
    retention: i64,
    observed: i64,
    /// The sessions of each key: end, start.
    by_key: HashMap<Bytes, Sorted<(i64, Reverse<i64>), Bytes>>,
    by_time: BTreeSet<(i64, Bytes, Reverse<i64>)>,
}

impl MemorySessions {
    pub fn new(retention: i64) -> Self {
        Self { retention, observed: -1, by_key: HashMap::new(), by_time: BTreeSet::new() }
    }

    pub fn observed(&self) -> i64 {
        self.observed
    }

    /// The first end that is not hidden.
    fn visible(&self) -> i64 {
        (self.observed - self.retention).wrapping_add(1).max(0)
    }

    pub fn put(&mut self, session: &SessionKey, value: Option<Bytes>) -> Put {
        self.observed = self.observed.max(session.end);
        let visible = self.visible();
        while let Some((end, key, start)) = self.by_time.first().filter(|(end, ..)| *end < visible).cloned() {
            self.remove(&SessionKey { key, start: start.0, end });
        }
        if session.end <= self.observed - self.retention {
            return Put::Dropped;
        }
        let Some(value) = value else {
            self.remove(session);
            return Put::Stored;
        };
        let SessionKey { key, start, end } = session;
        if self.by_key.entry_ref(key).or_default().insert((*end, Reverse(*start)), value).is_none() {
            self.by_time.insert((*end, key.clone(), Reverse(*start)));
        }
        Put::Stored
    }

    pub fn remove(&mut self, SessionKey { key, start, end }: &SessionKey) {
        let Some(sessions) = self.by_key.get_mut(key) else { return };
        sessions.remove(&(*end, Reverse(*start)));
        if sessions.is_empty() {
            self.by_key.remove(key);
        }
        self.by_time.remove(&(*end, key.clone(), Reverse(*start)));
    }

    pub fn fetch(&self, key: &[u8], start: i64, end: i64) -> Option<Bytes> {
        if end < self.visible() {
            return None;
        }
        self.by_key.get(key)?.get(&(end, Reverse(start))).cloned()
    }

    pub fn find(&self, key: &[u8], earliest_end: i64, latest_start: i64, reverse: bool) -> SessionRows<'_> {
        let Some((key, sessions)) = self.by_key.get_key_value(key) else { return Box::new(std::iter::empty()) };
        let earliest = (earliest_end.max(self.visible()), Reverse(i64::MAX));
        let sessions = sessions.range(earliest..=(i64::MAX, Reverse(i64::MIN))).filter(move |((_, start), _)| start.0 <= latest_start);
        let row = move |(&(end, start), value): (&(i64, Reverse<i64>), &Bytes)| {
            Ok((SessionKey { key: key.clone(), start: start.0, end }, value.clone()))
        };
        if reverse { Box::new(sessions.rev().map(row)) } else { Box::new(sessions.map(row)) }
    }

    pub fn find_keys(
        &self,
        key_from: Option<&[u8]>,
        key_to: Option<&[u8]>,
        earliest_end: i64,
        latest_start: i64,
        reverse: bool,
    ) -> SessionRows<'_> {
        if let (Some(key), true) = (key_from, key_from == key_to) {
            return self.find(key, earliest_end, latest_start, reverse);
        }
        if crossed(key_from, key_to) {
            return Box::new(std::iter::empty());
        }
        let (key_from, key_to) = (key_from.map(Bytes::copy_from_slice), key_to.map(Bytes::copy_from_slice));
        let sessions = self
            .ending(earliest_end, i64::MAX)
            .filter(move |(_, key, start)| start.0 <= latest_start && between(key, key_from.as_deref(), key_to.as_deref()));
        if reverse {
            Box::new(sessions.rev().filter_map(|session| self.row(session)))
        } else {
            Box::new(sessions.filter_map(|session| self.row(session)))
        }
    }

    pub fn find_by_end(&self, from: i64, to: i64) -> SessionRows<'_> {
        Box::new(self.ending(from, to).filter_map(|session| self.row(session)))
    }

    fn ending(&self, from: i64, to: i64) -> impl DoubleEndedIterator<Item = &(i64, Bytes, Reverse<i64>)> {
        let from = from.max(self.visible()).min(to.saturating_add(1));
        let first = |end| Bound::Included((end, Bytes::new(), Reverse(i64::MAX)));
        let end = to.checked_add(1).map_or(Bound::Unbounded, |end| Bound::Excluded((end, Bytes::new(), Reverse(i64::MAX))));
        self.by_time.range((first(from), end))
    }

    fn row(&self, (end, key, start): &(i64, Bytes, Reverse<i64>)) -> Option<Result<(SessionKey, Bytes), super::StoreError>> {
        let value = self.by_key.get(key)?.get(&(*end, *start))?;
        Some(Ok((SessionKey { key: key.clone(), start: start.0, end: *end }, value.clone())))
    }
}
