//! **Law.** A row is the fold of its key's records in the order of their offsets; its timestamp is the highest of theirs. Records without
//! a key or a value are dropped. A fold of nothing deletes the row, and the next record begins anew.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use millstream_topology::{Assembly, Change, Children, Data, Error, Node, NodeMaker, Record, TaskContext};

use crate::{
    kstream::maker,
    ktable::{Store, StoreSpec, TableNode, View},
};

/// How an aggregate begins and goes on.
pub(crate) trait Aggregate<K, V, A>: Send + Sync + 'static {
    /// The aggregate before the first record. As in Kafka Streams it is that record's old value, too, unless the application is sound.
    fn initial(&self) -> Option<A>;
    /// The aggregate after one more record.
    fn add(&self, key: &K, value: &V, aggregate: Option<A>) -> Option<A>;
}

/// A type to count in: any integer, or one of your own.
///
/// ```
/// use millstream::{Counter, StreamsBuilder, data};
///
/// #[derive(Clone)]
/// struct Tally(String);
/// data!(Tally);
/// impl Counter for Tally {
///     fn zero() -> Self {
///         Self(String::new())
///     }
///     fn up(self) -> Self {
///         Self(self.0 + "|")
///     }
///     fn down(self) -> Self {
///         Self(self.0[1..].to_string())
///     }
///     fn plus(self, other: Self) -> Self {
///         Self(self.0 + &other.0)
///     }
/// }
/// assert_eq!(Tally::zero().up().up().down().0, "|");
/// ```
pub trait Counter: Data<Present = Self> {
    /// The count of nothing.
    fn zero() -> Self;
    /// One more.
    fn up(self) -> Self;
    /// One less: a row of the table left the group.
    fn down(self) -> Self;
    /// Both: two sessions became one.
    fn plus(self, other: Self) -> Self;
}

macro_rules! counter {
    ($($integer:ty),+) => { $(
        impl Counter for $integer {
            fn zero() -> Self { 0 }
            fn up(self) -> Self { self.wrapping_add(1) }
            fn down(self) -> Self { self.wrapping_sub(1) }
            fn plus(self, other: Self) -> Self { self.wrapping_add(other) }
        }
    )+ };
}
counter!(i32, i64, u32, u64);

/// Counts.
pub(crate) struct Count;

impl<K, V, C: Counter> Aggregate<K, V, C> for Count {
    fn initial(&self) -> Option<C> {
        Some(C::zero())
    }
    fn add(&self, _: &K, _: &V, count: Option<C>) -> Option<C> {
        Some(count.unwrap_or_else(C::zero).up())
    }
}

/// Combines values.
pub(crate) struct Reduce<F, R>(F, PhantomData<fn() -> R>);

impl<F, R> Reduce<F, R> {
    pub fn new(reducer: F) -> Self {
        Self(reducer, PhantomData)
    }
}

impl<K, V: Data, R: Data<Present = V::Present>, F> Aggregate<K, V, V::Present> for Reduce<F, R>
where
    F: Fn(&V::Present, &V::Present) -> R + Send + Sync + 'static,
{
    fn initial(&self) -> Option<V::Present> {
        None
    }
    fn add(&self, _: &K, value: &V, aggregate: Option<V::Present>) -> Option<V::Present> {
        match (aggregate, value.present()) {
            (Some(aggregate), Some(value)) => (self.0)(&aggregate, value).into_present(),
            (aggregate, value) => value.cloned().or(aggregate),
        }
    }
}

/// Folds values.
pub(crate) struct Fold<I, F, A> {
    initializer: I,
    aggregator: F,
    aggregate: PhantomData<fn() -> A>,
}

impl<I, F, A> Fold<I, F, A> {
    pub fn new(initializer: I, aggregator: F) -> Self {
        Self { initializer, aggregator, aggregate: PhantomData }
    }
}

impl<K, V, A: Data, I, F> Aggregate<K, V, A::Present> for Fold<I, F, A>
where
    I: Fn() -> A + Send + Sync + 'static,
    F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
{
    fn initial(&self) -> Option<A::Present> {
        (self.initializer)().into_present()
    }
    fn add(&self, key: &K, value: &V, aggregate: Option<A::Present>) -> Option<A::Present> {
        // A type without null never meets one here: an absent row begins with `initial`.
        let aggregate = A::from_present(aggregate).unwrap_or_else(|| (self.initializer)());
        (self.aggregator)(key, value, aggregate).into_present()
    }
}

/// The aggregation of a grouped stream without windows.
pub(crate) struct AggregateNode<K: Data, V, A: Data, F> {
    store: StoreSpec<K, A>,
    fold: Arc<F>,
    send_old: Arc<AtomicBool>,
    types: PhantomData<fn(V)>,
}

impl<K: Data, V, A: Data, F> Clone for AggregateNode<K, V, A, F> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), fold: self.fold.clone(), send_old: self.send_old.clone(), types: PhantomData }
    }
}

impl<K: Data<Present = K>, V: Data, A: Data<Present = A>, F: Aggregate<K, V, A>> AggregateNode<K, V, A, F> {
    pub fn new(store: StoreSpec<K, A>, fold: F) -> Self {
        Self { store, fold: Arc::new(fold), send_old: Arc::default(), types: PhantomData }
    }

    pub fn maker<L: Data<Present = K>>(&self) -> NodeMaker {
        let (name, fold, send_old) = (self.store.name.clone(), self.fold.clone(), self.send_old.clone());
        maker::<L, V, _, _>(move |assembly: &mut Assembly<'_>| {
            let (store, children) = (StoreSpec::<K, A>::open(&name, assembly)?, assembly.children()?);
            let send_old = send_old.load(Relaxed);
            store.forward_on_flush(&children, send_old);
            Ok(Operator { store, fold: fold.clone(), send_old, children })
        })
    }
}

impl<K: Data<Present = K>, V: Data, A: Data<Present = A>, F: Aggregate<K, V, A>> TableNode<K, A> for AggregateNode<K, V, A, F> {
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

impl<L: Data, V: Data, A: Data, F: Aggregate<L::Present, V, A>> Node<L, V> for Operator<L::Present, A, F> {
    fn process(&mut self, context: &mut TaskContext, record: Record<L, V>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record;
        let (Some(key), false) = (key.into_present(), value.is_null()) else {
            context.drop_record();
            return Ok(());
        };
        let row = self.store.get(&key)?;
        let send_old = self.send_old && (row.is_some() || !context.config.compatibility.is_sound());
        let (begin, timestamp) = match row {
            Some(row) => (Some(row.value), row.timestamp.max(timestamp)),
            None => (self.fold.initial(), timestamp),
        };
        let new = self.fold.add(&key, &value, begin.clone());
        let change = Change::new(new, begin.filter(|_| send_old));
        self.store.update(&self.children, context, Record { key, value: change, timestamp, headers })
    }
}
