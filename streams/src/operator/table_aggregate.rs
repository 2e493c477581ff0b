//! **Law.** A row is the fold of the rows that are in its group now: what leaves the group is subtracted before what enters is added. Its
//! timestamp is the highest that took part. A fold of nothing deletes the row.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use millstream_topology::{Assembly, Change, Children, Data, Error, Node, NodeMaker, Record, TaskContext, ValueAndTimestamp};

use crate::{
    kstream::maker,
    ktable::{Store, StoreSpec, TableNode, View},
    operator::{Count, Counter},
};

/// How an aggregate of a group of rows changes.
pub(crate) trait TableFold<K, V, A>: Send + Sync + 'static {
    /// A row enters the group; without an aggregate it begins one.
    fn add(&self, key: &K, value: V, aggregate: Option<A>) -> Option<A>;
    /// A row leaves the group.
    fn subtract(&self, key: &K, value: V, aggregate: A) -> Option<A>;
}

impl<K, V, C: Counter> TableFold<K, V, C> for Count {
    fn add(&self, _: &K, _: V, count: Option<C>) -> Option<C> {
        Some(count.unwrap_or_else(C::zero).up())
    }
    fn subtract(&self, _: &K, _: V, count: C) -> Option<C> {
        Some(count.down())
    }
}

/// Combines values.
pub(crate) struct TableReduce<F, G> {
    pub adder: F,
    pub subtractor: G,
}

impl<K, V, R, S, F, G> TableFold<K, V, V> for TableReduce<F, G>
where
    V: Data<Present = V>,
    R: Data<Present = V>,
    S: Data<Present = V>,
    F: Fn(&V, &V) -> R + Send + Sync + 'static,
    G: Fn(&V, &V) -> S + Send + Sync + 'static,
{
    fn add(&self, _: &K, value: V, aggregate: Option<V>) -> Option<V> {
        match aggregate {
            Some(aggregate) => (self.adder)(&aggregate, &value).into_present(),
            None => Some(value),
        }
    }
    fn subtract(&self, _: &K, value: V, aggregate: V) -> Option<V> {
        (self.subtractor)(&aggregate, &value).into_present()
    }
}

/// Folds values.
pub(crate) struct TableFolder<I, F, G, A> {
    pub initializer: I,
    pub adder: F,
    pub subtractor: G,
    pub aggregate: PhantomData<fn() -> A>,
}

impl<K, V, A, I, F, G> TableFold<K, V, A::Present> for TableFolder<I, F, G, A>
where
    A: Data,
    I: Fn() -> A + Send + Sync + 'static,
    F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    G: Fn(&K, &V, A) -> A + Send + Sync + 'static,
{
    fn add(&self, key: &K, value: V, aggregate: Option<A::Present>) -> Option<A::Present> {
        let aggregate = aggregate.and_then(|present| A::from_present(Some(present))).unwrap_or_else(|| (self.initializer)());
        (self.adder)(key, &value, aggregate).into_present()
    }
    fn subtract(&self, key: &K, value: V, aggregate: A::Present) -> Option<A::Present> {
        let aggregate = A::from_present(Some(aggregate)).unwrap_or_else(|| (self.initializer)());
        (self.subtractor)(key, &value, aggregate).into_present()
    }
}

/// The aggregation of a grouped table.
pub(crate) struct TableAggregate<K: Data, V, A: Data, F> {
    store: StoreSpec<K, A>,
    fold: Arc<F>,
    send_old: Arc<AtomicBool>,
    value: PhantomData<fn(V)>,
}

impl<K: Data<Present = K>, V: Data, A: Data<Present = A>, F: TableFold<K, V, A>> TableAggregate<K, V, A, F> {
    pub fn new(store: StoreSpec<K, A>, fold: F) -> Self {
        Self { store, fold: Arc::new(fold), send_old: Arc::default(), value: PhantomData }
    }

    pub fn maker(&self) -> NodeMaker {
        let (name, fold, send_old) = (self.store.name.clone(), self.fold.clone(), self.send_old.clone());
        maker::<K, Change<V>, _, _>(move |assembly: &mut Assembly<'_>| {
            let (store, children, send_old) = (StoreSpec::<K, A>::open(&name, assembly)?, assembly.children()?, send_old.load(Relaxed));
            store.forward_on_flush(&children, send_old);
            Ok(Operator { store, fold: fold.clone(), send_old, children })
        })
    }
}

impl<K: Data<Present = K>, V: Data, A: Data<Present = A>, F: TableFold<K, V, A>> TableNode<K, A> for TableAggregate<K, V, A, F> {
    fn send_old_values(&self, _: bool) -> bool {
        self.send_old.store(true, Relaxed);
        true
    }

    fn view(&self) -> View<K, A> {
        self.store.view()
    }
}

struct Operator<K, A, F> {
    store: Store<K, A>,
    fold: Arc<F>,
    send_old: bool,
    children: Children<K, Change<A>>,
}

impl<K: Data, V: Data, A: Data, F: TableFold<K, V, A>> Node<K, Change<V>> for Operator<K, A, F> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, Change<V>>) -> Result<(), Error> {
        let Record { key, value: Change { new, old, .. }, mut timestamp, headers } = record;
        let (before, time) = match self.store.get(&key)? {
            Some(ValueAndTimestamp { value, timestamp }) => (Some(value), timestamp),
            None => (None, timestamp),
        };
        if new.is_some() || old.is_some() {
            timestamp = timestamp.max(time);
        }
        let mut aggregate = before.clone();
        if let Some(old) = old {
            aggregate = aggregate.and_then(|aggregate| self.fold.subtract(&key, old, aggregate));
        }
        if let Some(new) = new {
            aggregate = self.fold.add(&key, new, aggregate);
        }
        let value = Change::new(aggregate, before.filter(|_| self.send_old));
        self.store.update(&self.children, context, Record { key, value, timestamp, headers })
    }
}
