//! **Law.** A row of the result is the join of both sides' rows as they are now, with the higher timestamp; a change of one side is joined
//! with the other side's row, before and after. Of a versioned side only changes to its newest version count (KIP-914).

use std::{
    marker::PhantomData,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use millstream_topology::{
    Assembly, Change, Children, Data, Error, Node, NodeMaker, Record, TaskContext, ValueAndTimestamp, hash_order_with_capacity,
};

use crate::{
    kstream::maker,
    ktable::{Getter, Store, StoreSpec, TableNode, View},
};

/// Which rows a join keeps that have no partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Inner,
    Left,
    Outer,
}

/// A join of two tables. The joiner answers nothing where both sides are missing, or one that must be there.
pub(crate) struct TableJoin<K: Data, V, O, W: Data, F> {
    left: Rc<dyn TableNode<K, V>>,
    right: Rc<dyn TableNode<K, O>>,
    pub left_view: View<K, V>,
    pub right_view: View<K, O>,
    kind: JoinKind,
    joiner: Arc<F>,
    pub store: Option<StoreSpec<K, W>>,
    send_old: Arc<AtomicBool>,
}

impl<K, V, O, W, F> TableJoin<K, V, O, W, F>
where
    K: Data<Present = K>,
    V: Data<Present = V>,
    O: Data<Present = O>,
    W: Data<Present = W>,
    F: Fn(Option<&V>, Option<&O>) -> Option<W> + Send + Sync + 'static,
{
    pub fn new(
        left: Rc<dyn TableNode<K, V>>,
        right: Rc<dyn TableNode<K, O>>,
        kind: JoinKind,
        joiner: F,
        store: Option<StoreSpec<K, W>>,
    ) -> Self {
        if kind != JoinKind::Inner {
            left.send_old_values(true);
        }
        if kind == JoinKind::Outer {
            right.send_old_values(true);
        }
        let (left_view, right_view) = (left.view(), right.view());
        Self { left, right, left_view, right_view, kind, joiner: Arc::new(joiner), store, send_old: Arc::default() }
    }

    /// The node that takes the left table's changes.
    pub fn left_maker(&self, is_versioned: bool) -> NodeMaker {
        let (view, joiner, send_old) = (self.right_view.clone(), self.joiner.clone(), self.send_old.clone());
        let needs_other = self.kind == JoinKind::Inner;
        maker::<K, Change<V>, _, _>(move |assembly: &mut Assembly<'_>| {
            let joiner = joiner.clone();
            let join = move |this: Option<&V>, other: Option<&O>| joiner(this, other);
            let (other, children, send_old) = ((view.make)(assembly)?, assembly.children()?, send_old.load(Relaxed));
            Ok(Side { join, needs_other, is_versioned, other, send_old, children, value: PhantomData })
        })
    }

    /// The node that takes the right table's changes.
    pub fn right_maker(&self, is_versioned: bool) -> NodeMaker {
        let (view, joiner, send_old) = (self.left_view.clone(), self.joiner.clone(), self.send_old.clone());
        let needs_other = self.kind != JoinKind::Outer;
        maker::<K, Change<O>, _, _>(move |assembly: &mut Assembly<'_>| {
            let joiner = joiner.clone();
            let join = move |this: Option<&O>, other: Option<&V>| joiner(other, this);
            let (other, children, send_old) = ((view.make)(assembly)?, assembly.children()?, send_old.load(Relaxed));
            Ok(Side { join, needs_other, is_versioned, other, send_old, children, value: PhantomData })
        })
    }

    /// The node below both.
    pub fn merger(&self) -> NodeMaker {
        let (store, send_old) = (self.store.as_ref().map(|store| store.name.clone()), self.send_old.clone());
        maker::<K, Change<W>, _, _>(move |assembly: &mut Assembly<'_>| {
            let (children, send_old) = (assembly.children()?, send_old.load(Relaxed));
            Ok(Merger { store: StoreSpec::<K, W>::open_for(store.as_ref(), assembly, &children, send_old)?, children })
        })
    }
}

impl<K, V, O, W, F> TableNode<K, W> for TableJoin<K, V, O, W, F>
where
    K: Data<Present = K>,
    V: Data<Present = V>,
    O: Data<Present = O>,
    W: Data<Present = W>,
    F: Fn(Option<&V>, Option<&O>) -> Option<W> + Send + Sync + 'static,
{
    fn send_old_values(&self, _: bool) -> bool {
        self.left.send_old_values(true);
        self.right.send_old_values(true);
        self.send_old.store(true, Relaxed);
        true
    }

    fn view(&self) -> View<K, W> {
        if let Some(store) = &self.store {
            return store.view();
        }
        let (left, right, joiner, kind) = (self.left_view.clone(), self.right_view.clone(), self.joiner.clone(), self.kind);
        // As Kafka Streams collects them: both sides' views collect in a set, the merger both views in another.
        let (one, other) = (union(&left.stores, &right.stores), union(&right.stores, &left.stores));
        let stores = union(&one, &other);
        let make = move |assembly: &Assembly<'_>| {
            let getter = JoinedGetter { left: (left.make)(assembly)?, right: (right.make)(assembly)?, joiner: joiner.clone(), kind };
            Ok(Box::new(getter) as Box<dyn Getter<K, W>>)
        };
        View { stores, make: Arc::new(make) }
    }
}

/// The stores of two views, in the order of the set in which Kafka Streams collects them: it shows in the description of the topology.
fn union(one: &[Arc<str>], other: &[Arc<str>]) -> Vec<Arc<str>> {
    let all = one.iter().chain(other.iter().filter(|store| !one.contains(store))).cloned();
    hash_order_with_capacity(one.len() + other.len(), all, |store| store)
}

struct Side<K, V, O, W, F> {
    join: F,
    needs_other: bool,
    is_versioned: bool,
    other: Box<dyn Getter<K, O>>,
    send_old: bool,
    children: Children<K, Change<W>>,
    value: PhantomData<V>,
}

impl<K: Data, V: Data, O: Data, W: Data, F: Fn(Option<&V>, Option<&O>) -> Option<W> + 'static> Node<K, Change<V>> for Side<K, V, O, W, F> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, Change<V>>) -> Result<(), Error> {
        let Record { key, value: Change { new, old, is_latest }, mut timestamp, headers } = record;
        if self.is_versioned && !is_latest {
            context.drop_record();
            return Ok(());
        }
        let other = self.other.get(context, &key)?;
        match &other {
            Some(other) => timestamp = timestamp.max(other.timestamp),
            None if self.needs_other || (new.is_none() && old.is_none()) => return Ok(()),
            None => {}
        }
        let other = other.map(|row| row.value);
        let new = (self.join)(new.as_ref(), other.as_ref());
        let old = if self.send_old { (self.join)(old.as_ref(), other.as_ref()) } else { None };
        self.children.forward(context, Record { key, value: Change { new, old, is_latest }, timestamp, headers: headers.copied() })
    }
}

struct Merger<K, W> {
    store: Option<Store<K, W>>,
    children: Children<K, Change<W>>,
}

impl<K: Data, W: Data> Node<K, Change<W>> for Merger<K, W> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, Change<W>>) -> Result<(), Error> {
        match &self.store {
            Some(store) => store.update(&self.children, context, record),
            None => self.children.forward(context, record),
        }
    }
}

struct JoinedGetter<K, V, O, F> {
    left: Box<dyn Getter<K, V>>,
    right: Box<dyn Getter<K, O>>,
    joiner: Arc<F>,
    kind: JoinKind,
}

impl<K, V, O, W, F: Fn(Option<&V>, Option<&O>) -> Option<W>> Getter<K, W> for JoinedGetter<K, V, O, F> {
    fn get(&mut self, context: &mut TaskContext, key: &K) -> Result<Option<ValueAndTimestamp<W>>, Error> {
        let left = self.left.get(context, key)?;
        if left.is_none() && self.kind != JoinKind::Outer {
            return Ok(None);
        }
        let right = self.right.get(context, key)?;
        let times = [left.as_ref().map(|row| row.timestamp), right.as_ref().map(|row| row.timestamp)];
        let value = (self.joiner)(left.as_ref().map(|row| &row.value), right.as_ref().map(|row| &row.value));
        Ok(value.zip(times.into_iter().flatten().max()).map(|(value, timestamp)| ValueAndTimestamp { value, timestamp }))
    }
}
