//! **Law.** A row is the fold of a key's records in a window, in the order of their offsets; its timestamp is the highest of theirs. A record
//! updates each of its windows that has not closed: whose end comes after stream time minus grace. Stream time is what this node has seen
//! since the task started.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use millstream_topology::{
    Assembly, Change, Children, Data, Error, Headers, Node, NodeMaker, Record, TaskContext, Window, Windowed,
    store::{StoreDef, TimestampedWindowStore},
};

use super::{Aggregate, EmitFinal};
use crate::{
    EmitStrategy,
    kstream::maker,
    ktable::{StoreSpec, TableNode, View},
    windowed_stream::{TimeKind, WindowRows, WindowedNode, window_def},
};

/// The aggregation of a grouped stream in tumbling, hopping or unlimited windows.
pub(crate) struct WindowAggregateNode<K: Data, V, A: Data, F> {
    store: StoreSpec<K, A>,
    windows: TimeKind,
    emit: EmitStrategy,
    retention_ms: i64,
    fold: Arc<F>,
    send_old: Arc<AtomicBool>,
    types: PhantomData<fn(V)>,
}

impl<K: Data, V, A: Data, F> Clone for WindowAggregateNode<K, V, A, F> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), fold: self.fold.clone(), send_old: self.send_old.clone(), ..*self }
    }
}

impl<K: Data, V, A: Data, F> WindowAggregateNode<K, V, A, F> {
    pub fn new(store: StoreSpec<K, A>, windows: TimeKind, emit: EmitStrategy, retention_ms: i64, fold: F) -> Self {
        Self { store, windows, emit, retention_ms, fold: Arc::new(fold), send_old: Arc::default(), types: PhantomData }
    }
}

impl<K, V, A, F> WindowedNode<K, A> for WindowAggregateNode<K, V, A, F>
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
        window_def(&self.store, self.windows.size_ms(), self.retention_ms, self.windows.order(self.emit), true)
    }
}

impl<K, V, A, F> TableNode<Windowed<K>, A> for WindowAggregateNode<K, V, A, F>
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

/// What the operators of time windows share: their store, and when its rows go on.
pub(super) struct WindowedTable<K, A> {
    pub store: TimestampedWindowStore<K, A>,
    children: Children<Windowed<K>, Change<A>>,
    send_old: bool,
    emit: Option<EmitFinal>,
    pub stream_time: i64,
}

impl<K: Data<Present = K>, A: Data> WindowedTable<K, A> {
    pub fn open(assembly: &Assembly<'_>, name: &Arc<str>, emit: EmitStrategy, send_old: bool) -> Result<Self, Error> {
        let store: TimestampedWindowStore<K, A> = assembly.store(name)?;
        let children: Children<Windowed<K>, Change<A>> = assembly.children()?;
        let emit = EmitFinal::of(emit, name);
        if emit.is_none() {
            let children = children.clone();
            let listener = move |context: &mut TaskContext, key, new: Option<millstream_topology::ValueAndTimestamp<A>>, old: Option<_>| {
                let timestamp = new.as_ref().map_or(context.record.timestamp, |row| row.timestamp);
                let value = |row: millstream_topology::ValueAndTimestamp<A>| row.value;
                let change = Change::new(new.map(value), old.map(value));
                let headers = context.record.headers.clone();
                children.forward(context, Record { key, value: change, timestamp, headers })
            };
            store.set_flush_listener(listener, send_old);
        }
        Ok(Self { store, children, send_old, emit, stream_time: -1 })
    }

    pub fn init(&mut self, context: &TaskContext) {
        if let Some(emit) = &mut self.emit {
            emit.init(context);
        }
    }

    /// Sends an update on, unless the cache does that when it is flushed, or the window's close does.
    pub fn update(&self, context: &mut TaskContext, update: Update<'_, K, A>) -> Result<(), Error> {
        if self.emit.is_some() || self.store.is_cached() {
            return Ok(());
        }
        let Update { key, window, old, new, timestamp, headers } = update;
        let key = Windowed { key: key.clone(), window };
        let change = Change::new(new, old.filter(|_| self.send_old));
        self.children.forward(context, Record { key, value: change, timestamp, headers: headers.clone() })
    }

    /// Emits the windows that have closed. `starts` are the starts of those that closed since the last time, given up to where they were
    /// closed then (−1: never) and are now; `None` if there are no new ones.
    pub fn emit_closed(
        &mut self,
        context: &mut TaskContext,
        closed: i64,
        headers: &Headers,
        starts: impl FnOnce(i64, i64) -> Option<(i64, i64)>,
    ) -> Result<(), Error> {
        let Some(emit) = &mut self.emit else { return Ok(()) };
        if !emit.is_due(context, closed) {
            return Ok(());
        }
        let Some((first, last)) = starts(emit.last, closed) else { return Ok(()) };
        for row in self.store.fetch_all(first, last)? {
            let (key, row) = row?;
            let change = Change::new(Some(row.value), None);
            self.children.forward(context, Record { key, value: change, timestamp: row.timestamp, headers: headers.clone() })?;
        }
        emit.done(context, closed);
        Ok(())
    }
}

/// An update of a row.
pub(super) struct Update<'a, K, A> {
    pub key: &'a K,
    pub window: Window,
    pub old: Option<A>,
    pub new: Option<A>,
    pub timestamp: i64,
    pub headers: &'a Headers,
}

struct Operator<K, A, F> {
    rows: WindowedTable<K, A>,
    windows: TimeKind,
    fold: Arc<F>,
}

impl<L: Data, V: Data, A: Data<Present = A>, F: Aggregate<L::Present, V, A>> Node<L, V> for Operator<L::Present, A, F> {
    fn init(&mut self, context: &mut TaskContext) -> Result<(), Error> {
        self.rows.init(context);
        Ok(())
    }

    fn process(&mut self, context: &mut TaskContext, record: Record<L, V>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record;
        let Some(key) = key.into_present() else {
            context.drop_record();
            return Ok(());
        };
        self.rows.stream_time = self.rows.stream_time.max(timestamp);
        let closed = self.rows.stream_time.wrapping_sub(self.windows.grace_ms());
        if context.config.compatibility.is_sound() {
            self.emit_closed(context, closed, &headers)?;
        }
        match self.windows {
            TimeKind::Time(windows) => {
                for window in windows.windows_of(timestamp)? {
                    self.add(context, &key, &value, window, closed, timestamp, &headers)?;
                }
            }
            TimeKind::Unlimited(windows) if timestamp >= windows.start_ms => {
                let window = Window { start: windows.start_ms, end: i64::MAX };
                self.add(context, &key, &value, window, closed, timestamp, &headers)?;
            }
            _ => {}
        }
        if context.config.compatibility.is_sound() { Ok(()) } else { self.emit_closed(context, closed, &headers) }
    }
}

impl<K: Data<Present = K>, A: Data<Present = A>, F> Operator<K, A, F> {
    fn emit_closed(&mut self, context: &mut TaskContext, closed: i64, headers: &Headers) -> Result<(), Error> {
        let TimeKind::Time(windows) = self.windows else { return Ok(()) };
        self.rows.emit_closed(context, closed, headers, |last_closed, closed| {
            let last = closed.wrapping_sub(windows.size_ms);
            if last < 0 {
                return None;
            }
            if last_closed == -1 {
                return Some((0, last));
            }
            let emitted = last_closed.wrapping_sub(windows.size_ms).max(0);
            (windows.starts(last) != windows.starts(emitted)).then_some((emitted + 1, last))
        })
    }

    #[allow(clippy::too_many_arguments)] // what one window of one record is made of
    fn add<V>(
        &self,
        context: &mut TaskContext,
        key: &K,
        value: &V,
        window: Window,
        closed: i64,
        timestamp: i64,
        headers: &Headers,
    ) -> Result<(), Error>
    where
        F: Aggregate<K, V, A>,
    {
        if window.end <= closed {
            context.drop_record();
            return Ok(());
        }
        let row = self.rows.store.fetch(key, window.start)?;
        let has_old = row.is_some() || !context.config.compatibility.is_sound();
        let (begin, timestamp) = match row {
            Some(row) => (Some(row.value), row.timestamp.max(timestamp)),
            None => (self.fold.initial(), timestamp),
        };
        let new = self.fold.add(key, value, begin.clone());
        self.rows.store.put(context, key, new.as_ref().map(|value| (value, timestamp)), window.start)?;
        let old = begin.filter(|_| has_old);
        self.rows.update(context, Update { key, window, old, new, timestamp, headers })
    }
}
