//! Sessions in segments, by key or by end.

use bytes::Bytes;

use super::{
    super::{
        Map, Put, RocksHandle, Rows, SessionKey, StoreError,
        keys::{between, crossed},
        segments::Segments,
    },
    SessionOptions, SessionOrder, SessionRows,
    layout::Layout,
};

/// Sessions in segments.
pub(super) struct SegmentedSessions {
    segments: Segments,
    indexed: bool,
}

impl SegmentedSessions {
    pub fn new(map: Map, options: SessionOptions) -> Result<Self, StoreError> {
        let segments = Segments::new(map, options.retention, options.segment_interval)?;
        Ok(Self { segments, indexed: options.order == SessionOrder::TimeIndexed })
    }

    pub fn rocks(&self) -> Option<RocksHandle> {
        self.segments.rocks()
    }

    pub fn observed(&self) -> i64 {
        self.segments.observed()
    }

    /// Where the values are.
    fn base(&self) -> Layout {
        if self.indexed { Layout::Time } else { Layout::Key }
    }

    /// Where sessions are found by key.
    fn by_key(&self) -> Layout {
        if self.indexed { Layout::Index } else { Layout::Key }
    }

    /// The first end that is not hidden.
    fn visible(&self) -> i64 {
        self.segments.edge().wrapping_add(1)
    }

    pub fn put(&mut self, session: &SessionKey, value: Option<Bytes>) -> Put {
        self.segments.observe(session.end);
        let id = self.segments.id(session.end);
        if !self.segments.enliven(id) {
            return Put::Dropped;
        }
        self.write(id, session, value);
        Put::Stored
    }

    pub fn remove(&mut self, session: &SessionKey) {
        self.segments.observe(session.end);
        let id = self.segments.id(session.end);
        if self.segments.is_live(id) {
            self.write(id, session, None);
        }
    }

    fn write(&mut self, id: i64, SessionKey { key, start, end }: &SessionKey, value: Option<Bytes>) {
        if self.indexed {
            self.segments.put(id, &Layout::Index.row(key, *start, *end), value.as_ref().map(|_| Bytes::new()));
        }
        self.segments.put(id, &self.base().row(key, *start, *end), value);
    }

    pub fn fetch(&self, key: &[u8], start: i64, end: i64) -> Result<Option<Bytes>, StoreError> {
        if end < self.visible() { Ok(None) } else { self.value(key, start, end) }
    }

    fn value(&self, key: &[u8], start: i64, end: i64) -> Result<Option<Bytes>, StoreError> {
        let id = self.segments.id(end);
        if self.segments.is_live(id) { self.segments.get(id, &self.base().row(key, start, end)) } else { Ok(None) }
    }

    pub fn find(&self, key: &[u8], earliest_end: i64, latest_start: i64, reverse: bool) -> SessionRows<'_> {
        let earliest_end = earliest_end.max(self.visible());
        let bounds = self.by_key().of_key(key, earliest_end, latest_start);
        self.sessions(bounds, Some(key), Some(key), earliest_end, latest_start, reverse)
    }

    pub fn find_keys(
        &self,
        key_from: Option<&[u8]>,
        key_to: Option<&[u8]>,
        earliest_end: i64,
        latest_start: i64,
        reverse: bool,
    ) -> SessionRows<'_> {
        if crossed(key_from, key_to) {
            return Box::new(std::iter::empty());
        }
        let earliest_end = earliest_end.max(self.visible());
        let bounds = self.by_key().of_keys(key_from, key_to, latest_start);
        self.sessions(bounds, key_from, key_to, earliest_end, latest_start, reverse)
    }

    pub fn find_by_end(&self, from: i64, to: i64) -> Result<SessionRows<'_>, StoreError> {
        if !self.indexed {
            return Err(StoreError::Unsupported("finding sessions by their end", "SessionOrder::TimeIndexed"));
        }
        let row = |end: i64| Layout::Time.row(&[], 0, end.max(0));
        let ids = (self.segments.id(from), self.segments.id(to));
        let rows = self.segments.scan(ids, Some(row(from)), Some(row(to.wrapping_add(1))), false);
        let session = |row| decode(Layout::Time, row);
        Ok(Box::new(rows.map(session).filter(move |row| row.as_ref().map_or(true, |(session, _)| (from..=to).contains(&session.end)))))
    }

    /// The sessions within all bounds, with their values.
    fn sessions(
        &self,
        (lower, upper): (Option<Bytes>, Option<Bytes>),
        key_from: Option<&[u8]>,
        key_to: Option<&[u8]>,
        earliest_end: i64,
        latest_start: i64,
        reverse: bool,
    ) -> SessionRows<'_> {
        let layout = self.by_key();
        let rows: Rows<'_> = self.segments.scan((self.segments.id(earliest_end), i64::MAX), lower, upper, reverse);
        let (key_from, key_to) = (key_from.map(Bytes::copy_from_slice), key_to.map(Bytes::copy_from_slice));
        let found = move |row| {
            let (session, value) = decode(layout, row)?;
            let inside = session.end >= earliest_end && session.start <= latest_start;
            if !inside || !between(&session.key, key_from.as_deref(), key_to.as_deref()) {
                return Ok(None);
            }
            let value = if self.indexed { self.value(&session.key, session.start, session.end)? } else { Some(value) };
            Ok(value.map(|value| (session, value)))
        };
        Box::new(rows.filter_map(move |row| found(row).transpose()))
    }
}

fn decode(layout: Layout, row: Result<(Bytes, Bytes), StoreError>) -> Result<(SessionKey, Bytes), StoreError> {
    let (row, value) = row?;
    Ok((layout.session(&row)?, value))
}
