//! **Law.** Folds in windows are those without, but for null values: a reducer in windows sees them.

use std::marker::PhantomData;

use millstream_topology::Data;

use super::{Aggregate, Count, Counter, Fold, SessionAggregate};

/// Combines values in a window.
pub(crate) struct WindowReduce<F, R>(F, PhantomData<fn() -> R>);

impl<F, R> WindowReduce<F, R> {
    pub fn new(reducer: F) -> Self {
        Self(reducer, PhantomData)
    }
}

impl<K, V: Data, R: Data<Present = V::Present>, F> Aggregate<K, V, V::Present> for WindowReduce<F, R>
where
    F: Fn(&V::Present, &V) -> R + Send + Sync + 'static,
{
    fn initial(&self) -> Option<V::Present> {
        None
    }
    fn add(&self, _: &K, value: &V, aggregate: Option<V::Present>) -> Option<V::Present> {
        match aggregate {
            Some(aggregate) => (self.0)(&aggregate, value).into_present(),
            None => value.present().cloned(),
        }
    }
}

impl<K, V: Data, R: Data<Present = V::Present>, F> SessionAggregate<K, V, V::Present> for WindowReduce<F, R>
where
    F: Fn(&V::Present, &V) -> R + Send + Sync + 'static,
{
    fn merge(&self, key: &K, one: Option<V::Present>, other: Option<V::Present>) -> Option<V::Present> {
        match V::from_present(other) {
            Some(other) => self.add(key, &other, one),
            None => one,
        }
    }
}

impl<K, V, C: Counter> SessionAggregate<K, V, C> for Count {
    fn merge(&self, _: &K, one: Option<C>, other: Option<C>) -> Option<C> {
        Some(one.unwrap_or_else(C::zero).plus(other.unwrap_or_else(C::zero)))
    }
}

/// Folds values, and unites the aggregates of sessions.
pub(crate) struct MergingFold<I, F, A, M> {
    fold: Fold<I, F, A>,
    merger: M,
}

impl<I, F, A, M> MergingFold<I, F, A, M> {
    pub fn new(fold: Fold<I, F, A>, merger: M) -> Self {
        Self { fold, merger }
    }
}

impl<K, V, A: Data, I, F, M> Aggregate<K, V, A::Present> for MergingFold<I, F, A, M>
where
    I: Fn() -> A + Send + Sync + 'static,
    F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    M: Send + Sync + 'static,
{
    fn initial(&self) -> Option<A::Present> {
        Aggregate::<K, V, _>::initial(&self.fold)
    }
    fn add(&self, key: &K, value: &V, aggregate: Option<A::Present>) -> Option<A::Present> {
        self.fold.add(key, value, aggregate)
    }
}

impl<K, V, A: Data, I, F, M> SessionAggregate<K, V, A::Present> for MergingFold<I, F, A, M>
where
    I: Fn() -> A + Send + Sync + 'static,
    F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    M: Fn(&K, A, A) -> A + Send + Sync + 'static,
{
    fn merge(&self, key: &K, one: Option<A::Present>, other: Option<A::Present>) -> Option<A::Present> {
        match (A::from_present(one.clone()), A::from_present(other)) {
            (Some(one), Some(other)) => (self.merger)(key, one, other).into_present(),
            // A type without null: what is not there adds nothing.
            (None, Some(other)) => other.into_present(),
            _ => one,
        }
    }
}
