//! **Law.** For every record there is the window that ends at it, and the one that begins 1 ms after it if a later record falls into that
//! (KIP-450). A row is the fold of the records in its window, a record that comes late being folded last; its timestamp is the highest of
//! theirs. Records of the first time difference after 0 share one window that begins at 0. A record or a window that has closed, whose end
//! comes before stream time minus grace, is dropped.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use millstream_topology::{
    Data, Error, Headers, Node, NodeMaker, Record, TaskContext, ValueAndTimestamp, Window, Windowed, store::StoreDef,
};

use super::{
    Aggregate,
    window_aggregate::{Update, WindowedTable},
};
use crate::{
    EmitStrategy, SlidingWindows,
    kstream::maker,
    ktable::{StoreSpec, TableNode, View},
    windowed_stream::{TimeKind, WindowRows, WindowedNode, window_def},
};

/// The aggregation of a grouped stream in sliding windows.
pub(crate) struct SlidingAggregateNode<K: Data, V, A: Data, F> {
    store: StoreSpec<K, A>,
    windows: SlidingWindows,
    emit: EmitStrategy,
    retention_ms: i64,
    fold: Arc<F>,
    send_old: Arc<AtomicBool>,
    types: PhantomData<fn(V)>,
}

impl<K: Data, V, A: Data, F> Clone for SlidingAggregateNode<K, V, A, F> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), fold: self.fold.clone(), send_old: self.send_old.clone(), ..*self }
    }
}

impl<K: Data, V, A: Data, F> SlidingAggregateNode<K, V, A, F> {
    pub fn new(store: StoreSpec<K, A>, windows: SlidingWindows, emit: EmitStrategy, retention_ms: i64, fold: F) -> Self {
        Self { store, windows, emit, retention_ms, fold: Arc::new(fold), send_old: Arc::default(), types: PhantomData }
    }
}

impl<K, V, A, F> WindowedNode<K, A> for SlidingAggregateNode<K, V, A, F>
where
    K: Data<Present = K>,
    V: Data,
    A: Data<Present = A>,
    F: Aggregate<K, V, A>,
{
    fn maker<L: Data<Present = K>>(&self) -> NodeMaker {
        let Self { store, windows, emit, fold, send_old, .. } = self.clone();
        let store = store.name;
        maker::<L, V, _, _>(move |assembly| {
            let rows = WindowedTable::open(assembly, &store, emit, send_old.load(Relaxed))?;
            Ok(Operator { rows, windows, fold: fold.clone() })
        })
    }

    fn store_def(&self) -> Result<StoreDef, Error> {
        let order = TimeKind::Sliding(self.windows).order(self.emit);
        let cached = self.emit == EmitStrategy::OnWindowUpdate;
        window_def(&self.store, self.windows.time_difference_ms, self.retention_ms, order, cached)
    }
}

impl<K, V, A, F> TableNode<Windowed<K>, A> for SlidingAggregateNode<K, V, A, F>
where
    K: Data<Present = K>,
    V: Data,
    A: Data<Present = A>,
    F: Aggregate<K, V, A>,
{
    fn send_old_values(&self, _: bool) -> bool {
        self.send_old.store(true, Relaxed);
        true
    }

    fn view(&self) -> View<Windowed<K>, A> {
        WindowRows::view(&self.store.name)
    }
}

struct Operator<K, A, F> {
    rows: WindowedTable<K, A>,
    windows: SlidingWindows,
    fold: Arc<F>,
}

/// The record in process.
struct Arrival<'a, K, V> {
    key: &'a K,
    value: &'a V,
    timestamp: i64,
    headers: &'a Headers,
    /// Windows that end before this have closed.
    closed: i64,
}

/// What a scan of the windows around a record has found.
struct Around<A> {
    /// The starts of the windows that are there.
    starts: Vec<i64>,
    /// The newest window before the record, which holds what its own left window begins with.
    left: Option<A>,
    /// The newest window that reaches over the record, as it was before it: its own right window begins with that.
    right: Option<ValueAndTimestamp<A>>,
    has_left: bool,
    has_right: bool,
    previous_record: Option<i64>,
}

impl<A> Default for Around<A> {
    fn default() -> Self {
        Self { starts: vec![], left: None, right: None, has_left: false, has_right: false, previous_record: None }
    }
}

impl<L: Data, V: Data, A: Data<Present = A>, F: Aggregate<L::Present, V, A>> Node<L, V> for Operator<L::Present, A, F> {
    fn init(&mut self, context: &mut TaskContext) -> Result<(), Error> {
        self.rows.init(context);
        Ok(())
    }

    fn process(&mut self, context: &mut TaskContext, record: Record<L, V>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record;
        let (Some(key), false) = (key.into_present(), value.is_null()) else {
            context.drop_record();
            return Ok(());
        };
        let difference = self.windows.time_difference_ms;
        self.rows.stream_time = self.rows.stream_time.max(timestamp);
        let closed = self.rows.stream_time.wrapping_sub(self.windows.grace_ms);
        if timestamp.wrapping_add(difference) < closed {
            context.drop_record();
            return Ok(());
        }
        let is_sound = context.config.compatibility.is_sound();
        if is_sound {
            self.emit_closed(context, closed, &headers)?;
        }
        let arrival = Arrival { key: &key, value: &value, timestamp, headers: &headers, closed };
        if timestamp < difference {
            // Such a record does not emit windows that have closed: the next one does.
            return self.add_early(context, &arrival);
        }
        self.add(context, &arrival)?;
        if is_sound { Ok(()) } else { self.emit_closed(context, closed, &headers) }
    }
}

impl<K: Data<Present = K>, A: Data<Present = A>, F> Operator<K, A, F> {
    fn emit_closed(&mut self, context: &mut TaskContext, closed: i64, headers: &Headers) -> Result<(), Error> {
        let difference = self.windows.time_difference_ms;
        self.rows.emit_closed(context, closed, headers, |last_closed, closed| {
            let last = closed.wrapping_sub(difference).wrapping_sub(1);
            let first = if last_closed == -1 { 0 } else { last_closed.wrapping_sub(difference).max(0) };
            (last >= 0).then_some((first, last))
        })
    }

    fn window_from(&self, start: i64) -> Result<Window, Error> {
        Window::time(start, start.wrapping_add(self.windows.time_difference_ms))
    }

    fn add<V>(&self, context: &mut TaskContext, arrival: &Arrival<'_, K, V>) -> Result<(), Error>
    where
        F: Aggregate<K, V, A>,
    {
        let (timestamp, difference) = (arrival.timestamp, self.windows.time_difference_ms);
        let mut around = Around::default();
        let earliest = timestamp.wrapping_sub(difference.wrapping_mul(2)).max(0);
        for row in self.rows.store.backward_fetch_range(arrival.key, earliest, timestamp.wrapping_add(1))? {
            let (start, row) = row?;
            let end = start.wrapping_add(difference);
            around.starts.push(start);
            if start == timestamp.wrapping_add(1) {
                around.has_right = true;
            } else if end > timestamp {
                let (value, at) = (row.value.clone(), row.timestamp);
                around.right.get_or_insert(row);
                self.update(context, arrival, self.window_from(start)?, Some(value), at, true)?;
            } else if end == timestamp {
                around.has_left = true;
                let newest = row.timestamp;
                self.update(context, arrival, self.window_from(start)?, Some(row.value), newest, true)?;
                if newest >= timestamp {
                    return Ok(());
                }
                around.previous_record = Some(newest);
            } else {
                (around.left, around.previous_record) = (Some(row.value), Some(row.timestamp));
                break;
            }
        }
        self.create(context, arrival, around)
    }

    /// Creates the windows that there must be now: the previous record's right one, and this record's left and right ones.
    fn create<V>(&self, context: &mut TaskContext, arrival: &Arrival<'_, K, V>, around: Around<A>) -> Result<(), Error>
    where
        F: Aggregate<K, V, A>,
    {
        let (timestamp, difference) = (arrival.timestamp, self.windows.time_difference_ms);
        if let Some(start) = around.previous_record.map(|previous| previous + 1)
            && !around.starts.contains(&start)
            && start.wrapping_add(difference) >= timestamp
        {
            self.update(context, arrival, self.window_from(start)?, self.fold.initial(), timestamp, false)?;
        }
        if !around.has_left {
            let start = timestamp - difference;
            let is_shared = around.previous_record.is_some_and(|previous| start <= previous);
            let begin = if is_shared { around.left } else { self.fold.initial() };
            self.update(context, arrival, self.window_from(start)?, begin, timestamp, false)?;
        }
        match around.right {
            Some(right) if !around.has_right && right.timestamp > timestamp => self.create_right(context, arrival, right),
            _ => Ok(()),
        }
    }

    fn add_early<V>(&self, context: &mut TaskContext, arrival: &Arrival<'_, K, V>) -> Result<(), Error>
    where
        F: Aggregate<K, V, A>,
    {
        let timestamp = arrival.timestamp;
        let (mut around, mut combined) = (Around::default(), None);
        for row in self.rows.store.fetch_range(arrival.key, 0, timestamp.wrapping_add(1))? {
            let (start, row) = row?;
            around.starts.push(start);
            if start == 0 {
                around.previous_record = Some(row.timestamp).filter(|newest| *newest < timestamp);
                combined = Some(row);
            } else if start <= timestamp {
                let (value, at) = (row.value.clone(), row.timestamp);
                around.right = Some(row);
                self.update(context, arrival, self.window_from(start)?, Some(value), at, true)?;
            } else {
                around.has_right = true;
            }
        }
        // Without a window that begins between both, everything in the first window that is later than this record is in its right one.
        let right = around.right.or_else(|| combined.clone()).filter(|right| right.timestamp > timestamp);
        if let Some(right) = right.filter(|_| !around.has_right) {
            self.create_right(context, arrival, right)?;
        }
        if let Some(start) = around.previous_record.map(|previous| previous + 1)
            && !around.starts.contains(&start)
        {
            self.update(context, arrival, self.window_from(start)?, self.fold.initial(), timestamp, false)?;
        }
        let is_there = combined.is_some();
        let (begin, at) = combined.map_or_else(|| (self.fold.initial(), timestamp), |row| (Some(row.value), row.timestamp));
        self.update(context, arrival, self.window_from(0)?, begin, at, is_there)
    }

    /// Creates the record's right window; it is there for others, the record is not in it.
    fn create_right<V>(&self, context: &mut TaskContext, arrival: &Arrival<'_, K, V>, right: ValueAndTimestamp<A>) -> Result<(), Error> {
        let window = self.window_from(arrival.timestamp.wrapping_add(1))?;
        self.rows.store.put(context, arrival.key, Some((&right.value, right.timestamp)), window.start)?;
        let update =
            Update { key: arrival.key, window, old: None, new: Some(right.value), timestamp: right.timestamp, headers: arrival.headers };
        self.rows.update(context, update)
    }

    /// Adds the record to a window, unless that has closed. A window that is not there begins with `begin`.
    fn update<V>(
        &self,
        context: &mut TaskContext,
        arrival: &Arrival<'_, K, V>,
        window: Window,
        begin: Option<A>,
        at: i64,
        is_there: bool,
    ) -> Result<(), Error>
    where
        F: Aggregate<K, V, A>,
    {
        if window.end < arrival.closed {
            context.drop_record();
            return Ok(());
        }
        let timestamp = if begin.is_none() { arrival.timestamp } else { at.max(arrival.timestamp) };
        let new = self.fold.add(arrival.key, arrival.value, begin.clone());
        self.rows.store.put(context, arrival.key, new.as_ref().map(|value| (value, timestamp)), window.start)?;
        let old = begin.filter(|_| is_there || !context.config.compatibility.is_sound());
        self.rows.update(context, Update { key: arrival.key, window, old, new, timestamp, headers: arrival.headers })
    }
}
