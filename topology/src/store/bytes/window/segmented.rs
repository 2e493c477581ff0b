//! Windows in segments, by key or by time.

use bytes::Bytes;

use super::{
    super::{
        Map, Put, RocksHandle, Rows, StoreError,
        keys::{between, crossed},
        segments::Segments,
    },
    WindowOptions, WindowOrder, WindowRows,
    layout::Layout,
    memory::MAX_SEQ,
};

/// Windows in segments.
pub(super) struct SegmentedWindows {
    segments: Segments,
    options: WindowOptions,
}

impl SegmentedWindows {
    pub fn new(map: Map, options: WindowOptions) -> Result<Self, StoreError> {
        Ok(Self { segments: Segments::new(map, options.retention, options.segment_interval)?, options })
    }

    pub fn rocks(&self) -> Option<RocksHandle> {
        self.segments.rocks()
    }

    pub fn observed(&self) -> i64 {
        self.segments.observed()
    }

    /// Where the values are.
    fn base(&self) -> Layout {
        if self.options.order == WindowOrder::Key { Layout::Key } else { Layout::Time }
    }

    /// Where windows are found by key.
    fn by_key(&self) -> Layout {
        if self.options.order == WindowOrder::TimeIndexed { Layout::Index } else { self.base() }
    }

    /// The first start that is not hidden.
    fn visible(&self) -> i64 {
        self.segments.edge().wrapping_add(i64::from(self.options.order == WindowOrder::Key))
    }

    pub fn put(&mut self, key: &[u8], value: Option<Bytes>, start: i64) -> Put {
        if self.options.retain_duplicates {
            if value.is_none() {
                return Put::Stored;
            }
            self.segments.set_seq((self.segments.seq() + 1) & MAX_SEQ);
        }
        self.write(key, start, self.segments.seq(), value)
    }

    pub fn restore(&mut self, key: &[u8], start: i64, seq: u32, value: Option<Bytes>) {
        // What is put from now on does not overwrite what was restored.
        self.segments.set_seq(self.segments.seq().max(seq));
        self.write(key, start, seq, value);
    }

    fn write(&mut self, key: &[u8], start: i64, seq: u32, value: Option<Bytes>) -> Put {
        self.segments.observe(start);
        let id = self.segments.id(start);
        if !self.segments.enliven(id) {
            return Put::Dropped;
        }
        if self.by_key() == Layout::Index {
            self.segments.put(id, &Layout::Index.row(key, start, seq), value.as_ref().map(|_| Bytes::new()));
        }
        self.segments.put(id, &self.base().row(key, start, seq), value);
        Put::Stored
    }

    pub fn fetch(&self, key: &[u8], start: i64) -> Result<Option<Bytes>, StoreError> {
        if start < self.visible() { Ok(None) } else { self.value(key, start, self.segments.seq()) }
    }

    fn value(&self, key: &[u8], start: i64, seq: u32) -> Result<Option<Bytes>, StoreError> {
        let id = self.segments.id(start);
        if self.segments.is_live(id) { self.segments.get(id, &self.base().row(key, start, seq)) } else { Ok(None) }
    }

    pub fn fetch_key(&self, key: &[u8], from: i64, to: i64, reverse: bool) -> WindowRows<'_> {
        let from = from.max(self.visible());
        let layout = self.by_key();
        let rows = self.scan(from, to, layout.of_key(key, from, to), reverse);
        self.windows(layout, rows, Some(key), Some(key), from, to)
    }

    pub fn fetch_keys(&self, key_from: Option<&[u8]>, key_to: Option<&[u8]>, from: i64, to: i64, reverse: bool) -> WindowRows<'_> {
        if crossed(key_from, key_to) {
            return Box::new(std::iter::empty());
        }
        let from = from.max(self.visible());
        let layout = self.by_key();
        let rows = self.scan(from, to, layout.of_keys(key_from, key_to, from, to), reverse);
        self.windows(layout, rows, key_from, key_to, from, to)
    }

    pub fn fetch_all(&self, from: i64, to: i64, reverse: bool) -> WindowRows<'_> {
        let from = from.max(self.visible());
        let layout = self.base();
        let rows = self.scan(from, to, layout.of_keys(None, None, from, to), reverse);
        self.windows(layout, rows, None, None, from, to)
    }

    pub fn all(&self, reverse: bool) -> WindowRows<'_> {
        self.fetch_all(0, i64::MAX, reverse)
    }

    fn scan(&self, from: i64, to: i64, (lower, upper): (Option<Bytes>, Option<Bytes>), reverse: bool) -> Rows<'_> {
        if to < from {
            return Box::new(std::iter::empty());
        }
        self.segments.scan((self.segments.id(from), self.segments.id(to)), lower, upper, reverse)
    }

    /// The windows of the rows that are within all bounds, with their values.
    fn windows<'a>(
        &'a self,
        layout: Layout,
        rows: Rows<'a>,
        key_from: Option<&[u8]>,
        key_to: Option<&[u8]>,
        from: i64,
        to: i64,
    ) -> WindowRows<'a> {
        let (key_from, key_to) = (key_from.map(Bytes::copy_from_slice), key_to.map(Bytes::copy_from_slice));
        let window = move |row: Result<(Bytes, Bytes), StoreError>| {
            let (row, value) = row?;
            let (window, seq) = layout.window(&row)?;
            if !(from..=to).contains(&window.start) || !between(&window.key, key_from.as_deref(), key_to.as_deref()) {
                return Ok(None);
            }
            let value = if layout == Layout::Index { self.value(&window.key, window.start, seq)? } else { Some(value) };
            Ok(value.map(|value| (window, value)))
        };
        Box::new(rows.filter_map(move |row| window(row).transpose()))
    }
}
