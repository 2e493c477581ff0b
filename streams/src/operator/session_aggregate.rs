//! **Law.** A row is the fold of the records of a session, of those that became one united by the merger; its timestamp is the session's
//! end. The rows of sessions that became one are deleted first. A record whose session has closed, whose end comes before stream time
//! minus gap and grace, is dropped; one that reaches an open session is not, however late it is.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use millstream_topology::{
    Change, Children, Data, Error, Headers, Node, NodeMaker, Record, TaskContext, Windowed,
    store::{SessionStore, StoreDef},
};

use super::{Aggregate, EmitFinal};
use crate::{
    EmitStrategy, SessionWindows,
    kstream::maker,
    ktable::{StoreSpec, TableNode, View},
    windowed_stream::{SessionRows, WindowedNode, session_def},
};

/// How aggregates of sessions go on, and become one.
pub(crate) trait SessionAggregate<K, V, A>: Aggregate<K, V, A> {
    /// The aggregate of two sessions that became one; the earlier one is first.
    fn merge(&self, key: &K, one: Option<A>, other: Option<A>) -> Option<A>;
}

/// The aggregation of a grouped stream in sessions.
pub(crate) struct SessionAggregateNode<K: Data, V, A: Data, F> {
    store: StoreSpec<K, A>,
    windows: SessionWindows,
    emit: EmitStrategy,
    retention_ms: i64,
    fold: Arc<F>,
    send_old: Arc<AtomicBool>,
    types: PhantomData<fn(V)>,
}

impl<K: Data, V, A: Data, F> Clone for SessionAggregateNode<K, V, A, F> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), fold: self.fold.clone(), send_old: self.send_old.clone(), ..*self }
    }
}

impl<K: Data, V, A: Data, F> SessionAggregateNode<K, V, A, F> {
    pub fn new(store: StoreSpec<K, A>, windows: SessionWindows, emit: EmitStrategy, retention_ms: i64, fold: F) -> Self {
        Self { store, windows, emit, retention_ms, fold: Arc::new(fold), send_old: Arc::default(), types: PhantomData }
    }
}

impl<K, V, A, F> WindowedNode<K, A> for SessionAggregateNode<K, V, A, F>
where
    K: Data<Present = K>,
    V: Data,
    A: Data<Present = A>,
    F: SessionAggregate<K, V, A>,
{
    fn maker<L: Data<Present = K>>(&self) -> NodeMaker {
        let Self { store, windows, emit, fold, send_old, .. } = self.clone();
        // In the headers format the row's own headers go on with it (KIP-1285), and it has none.
        let has_headers = store.has_headers();
        let name = store.name;
        maker::<L, V, _, _>(move |assembly| {
            let store: SessionStore<K, A> = assembly.store(&name)?;
            let children: Children<Windowed<K>, Change<A>> = assembly.children()?;
            let (emit, send_old) = (EmitFinal::of(emit, &name), send_old.load(Relaxed));
            let below = children.clone();
            let listener = move |context: &mut TaskContext, key: Windowed<K>, new, old| {
                let timestamp = key.window.end;
                let headers = if has_headers { Headers::empty() } else { context.record.headers.clone() };
                below.forward(context, Record { key, value: Change::new(new, old), timestamp, headers })
            };
            store.set_flush_listener(listener, send_old);
            Ok(Operator { store, children, send_old, emit, windows, fold: fold.clone(), stream_time: -1 })
        })
    }

    fn store_def(&self) -> Result<StoreDef, Error> {
        session_def(&self.store, self.retention_ms, self.emit)
    }
}

impl<K, V, A, F> TableNode<Windowed<K>, A> for SessionAggregateNode<K, V, A, F>
where
    K: Data<Present = K>,
    V: Data,
    A: Data<Present = A>,
    F: SessionAggregate<K, V, A>,
{
    fn send_old_values(&self, _: bool) -> bool {
        self.send_old.store(true, Relaxed);
        true
    }

    fn view(&self) -> View<Windowed<K>, A> {
        SessionRows::view(&self.store.name)
    }
}

struct Operator<K, A, F> {
    store: SessionStore<K, A>,
    children: Children<Windowed<K>, Change<A>>,
    send_old: bool,
    emit: Option<EmitFinal>,
    windows: SessionWindows,
    fold: Arc<F>,
    stream_time: i64,
}

impl<L: Data, V: Data, A: Data<Present = A>, F: SessionAggregate<L::Present, V, A>> Node<L, V> for Operator<L::Present, A, F> {
    fn init(&mut self, context: &mut TaskContext) -> Result<(), Error> {
        if let Some(emit) = &mut self.emit {
            emit.init(context);
        }
        Ok(())
    }

    fn process(&mut self, context: &mut TaskContext, record: Record<L, V>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record;
        let Some(key) = key.into_present() else {
            context.drop_record();
            return Ok(());
        };
        let SessionWindows { gap_ms, grace_ms } = self.windows;
        self.stream_time = self.stream_time.max(timestamp);
        let closed = self.stream_time.wrapping_sub(grace_ms).wrapping_sub(gap_ms);
        let is_sound = context.config.compatibility.is_sound();
        if is_sound {
            self.emit_closed(context, closed, &headers)?;
        }
        let mut session = Windowed::new(key, timestamp, timestamp);
        let mut aggregate = self.fold.initial();
        let mut merged = vec![];
        for found in self.store.find_sessions(&session.key, timestamp.wrapping_sub(gap_ms), timestamp.wrapping_add(gap_ms))? {
            let (found, value) = found?;
            session.window.start = session.window.start.min(found.window.start);
            session.window.end = session.window.end.max(found.window.end);
            aggregate = self.fold.merge(&session.key, aggregate, Some(value.clone()));
            merged.push((found, value));
        }
        if session.window.end < closed {
            context.drop_record();
        } else {
            // A session of the very same bounds is overwritten; Kafka Streams does not retract its old value.
            let mut overwritten = None;
            if session.window.start != timestamp || session.window.end != timestamp {
                for (old, value) in merged {
                    self.store.remove(context, &old)?;
                    self.update(context, old, Some(value), None)?;
                }
            } else if is_sound {
                overwritten = merged.pop().map(|(_, value)| value);
            }
            let aggregate = self.fold.add(&session.key, &value, aggregate);
            self.store.put(context, &session, aggregate.as_ref())?;
            self.update(context, session, overwritten, aggregate)?;
        }
        if is_sound { Ok(()) } else { self.emit_closed(context, closed, &headers) }
    }
}

impl<K: Data<Present = K>, A: Data<Present = A>, F> Operator<K, A, F> {
    /// Sends an update on, unless the cache does that when it is flushed, or the session's close does.
    fn update(&self, context: &mut TaskContext, key: Windowed<K>, old: Option<A>, new: Option<A>) -> Result<(), Error> {
        if self.emit.is_some() || self.store.is_cached() {
            return Ok(());
        }
        let (timestamp, headers) = (key.window.end, Headers::empty());
        let change = Change::new(new, old.filter(|_| self.send_old));
        self.children.forward(context, Record { key, value: change, timestamp, headers })
    }

    fn emit_closed(&mut self, context: &mut TaskContext, closed: i64, headers: &Headers) -> Result<(), Error> {
        let Some(emit) = &mut self.emit else { return Ok(()) };
        let last = closed.wrapping_sub(1);
        if !emit.is_due(context, closed) || last < 0 {
            return Ok(());
        }
        let first = emit.last.max(0);
        if last < first {
            return Ok(());
        }
        for row in self.store.find_sessions_by_end(first, last)? {
            let (key, value) = row?;
            let (timestamp, change) = (key.window.end, Change::new(Some(value), None));
            self.children.forward(context, Record { key, value: change, timestamp, headers: headers.clone() })?;
        }
        emit.done(context, closed);
        Ok(())
    }
}
