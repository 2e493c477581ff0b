//! The stores of windowed tables: their definitions, and how rows are looked up in them.

use std::sync::Arc;

use millstream_topology::{
    Assembly, Data, Error, TaskContext, ValueAndTimestamp, Windowed,
    store::{
        SessionStore, SessionStoreOptions, StoreDef, TimestampedWindowStore, WindowStoreOptions,
        bytes::{SessionOrder, WindowOrder},
    },
};

use crate::{
    EmitStrategy,
    ktable::{Getter, StoreSpec, View},
};

/// A store of windows of that size. On disk it is ordered by time if windows are emitted when they close.
pub(crate) fn window_def<K, A>(
    store: &StoreSpec<K, A>,
    size_ms: i64,
    retention_ms: i64,
    order: WindowOrder,
    cached: bool,
) -> Result<StoreDef, Error>
where
    K: Data<Present = K>,
    A: Data<Present = A>,
{
    store.windowed_def(cached, |name, key, value, store_type| {
        let options = WindowStoreOptions { store_type, retention_ms, window_size_ms: size_ms, order, ..WindowStoreOptions::default() };
        TimestampedWindowStore::def(name, key, value, options)
    })
}

/// A store of sessions.
pub(crate) fn session_def<K, A>(store: &StoreSpec<K, A>, retention_ms: i64, emit: EmitStrategy) -> Result<StoreDef, Error>
where
    K: Data<Present = K>,
    A: Data<Present = A>,
{
    let on_close = emit == EmitStrategy::OnWindowClose;
    store.windowed_def(!on_close, |name, key, value, store_type| {
        let order = if on_close { SessionOrder::TimeIndexed } else { SessionOrder::Key };
        SessionStore::def(name, key, value, SessionStoreOptions { store_type, retention_ms, order })
    })
}

/// Rows of a table of time windows.
pub(crate) struct WindowRows<K, A>(TimestampedWindowStore<K, A>);

impl<K: Data, A: Data> WindowRows<K, A> {
    pub fn view(name: &Arc<str>) -> View<Windowed<K>, A> {
        view(name, |name, assembly| Ok(Box::new(Self(assembly.store(name)?))))
    }
}

impl<K: Data, A: Data> Getter<Windowed<K>, A> for WindowRows<K, A> {
    fn get(&mut self, _: &mut TaskContext, key: &Windowed<K>) -> Result<Option<ValueAndTimestamp<A>>, Error> {
        self.0.fetch(&key.key, key.window.start)
    }
}

/// Rows of a table of sessions: a session's timestamp is its end.
pub(crate) struct SessionRows<K, A>(SessionStore<K, A>);

impl<K: Data, A: Data> SessionRows<K, A> {
    pub fn view(name: &Arc<str>) -> View<Windowed<K>, A> {
        view(name, |name, assembly| Ok(Box::new(Self(assembly.store(name)?))))
    }
}

impl<K: Data, A: Data> Getter<Windowed<K>, A> for SessionRows<K, A> {
    fn get(&mut self, _: &mut TaskContext, key: &Windowed<K>) -> Result<Option<ValueAndTimestamp<A>>, Error> {
        let value = self.0.fetch_session(&key.key, key.window.start, key.window.end)?;
        Ok(value.map(|value| ValueAndTimestamp { value, timestamp: key.window.end }))
    }
}

fn view<K: 'static, A: 'static>(
    name: &Arc<str>,
    make: impl Fn(&str, &Assembly<'_>) -> Result<Box<dyn Getter<Windowed<K>, A>>, Error> + Send + Sync + 'static,
) -> View<Windowed<K>, A> {
    let of = name.clone();
    View { stores: vec![name.clone()], make: Arc::new(move |assembly| make(&of, assembly)) }
}
