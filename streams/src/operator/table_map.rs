//! **Law.** Each row becomes one row or none, with its timestamp; what a row was before is computed from what it was. A filter forwards
//! no deletion of a row that, as it knows, nobody has seen; of a versioned table it does, because the row may have had versions (KIP-914).

use std::{
    marker::PhantomData,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use millstream_topology::{Assembly, Change, Children, Data, Error, Node, NodeMaker, Record, TaskContext, ValueAndTimestamp};

use crate::{
    kstream::maker,
    ktable::{Getter, Store, StoreSpec, TableNode, View},
};

/// What a filter or a mapping of values is: `mapper` makes a row of a row.
pub(crate) struct TableMap<K: Data, V, W: Data, F> {
    parent: Rc<dyn TableNode<K, V>>,
    pub store: Option<StoreSpec<K, W>>,
    mapper: Arc<F>,
    send_old: Arc<AtomicBool>,
}

impl<K, V, W, F> TableMap<K, V, W, F>
where
    K: Data<Present = K>,
    V: Data<Present = V>,
    W: Data<Present = W>,
    F: Fn(&K, V) -> Option<W> + Send + Sync + 'static,
{
    pub fn new(parent: Rc<dyn TableNode<K, V>>, store: Option<StoreSpec<K, W>>, mapper: F) -> Self {
        Self { parent, store, mapper: Arc::new(mapper), send_old: Arc::default() }
    }

    /// Sends old values along if they cost nothing.
    pub fn send_old_values_if_stored(&self) {
        self.send_old.store(self.parent.send_old_values(false), Relaxed);
    }

    /// `forward_nothing`: whether changes from nothing to nothing are forwarded.
    pub fn maker(&self, forward_nothing: bool) -> NodeMaker {
        let (mapper, send_old) = (self.mapper.clone(), self.send_old.clone());
        let store = self.store.as_ref().map(|store| store.name.clone());
        maker::<K, Change<V>, _, _>(move |assembly: &mut Assembly<'_>| {
            let (children, send_old) = (assembly.children()?, send_old.load(Relaxed));
            let store = StoreSpec::<K, W>::open_for(store.as_ref(), assembly, &children, send_old)?;
            Ok(Operator { mapper: mapper.clone(), store, send_old, forward_nothing, children, value: PhantomData })
        })
    }
}

impl<K, V, W, F> TableNode<K, W> for TableMap<K, V, W, F>
where
    K: Data<Present = K>,
    V: Data<Present = V>,
    W: Data<Present = W>,
    F: Fn(&K, V) -> Option<W> + Send + Sync + 'static,
{
    fn send_old_values(&self, force: bool) -> bool {
        if self.store.is_some() || self.parent.send_old_values(force) {
            self.send_old.store(true, Relaxed);
        }
        self.send_old.load(Relaxed)
    }

    fn view(&self) -> View<K, W> {
        if let Some(store) = &self.store {
            return store.view();
        }
        let (parent, mapper) = (self.parent.view(), self.mapper.clone());
        let make = move |assembly: &Assembly<'_>| {
            let getter = MappedGetter { parent: (parent.make)(assembly)?, mapper: mapper.clone() };
            Ok(Box::new(getter) as Box<dyn Getter<K, W>>)
        };
        View { stores: parent.stores, make: Arc::new(make) }
    }
}

struct Operator<K, V, W, F> {
    mapper: Arc<F>,
    store: Option<Store<K, W>>,
    send_old: bool,
    forward_nothing: bool,
    children: Children<K, Change<W>>,
    value: PhantomData<V>,
}

impl<K: Data, V: Data, W: Data, F: Fn(&K, V) -> Option<W> + 'static> Node<K, Change<V>> for Operator<K, V, W, F> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, Change<V>>) -> Result<(), Error> {
        let Record { key, value: Change { new, old, is_latest }, timestamp, headers } = record;
        let new = new.and_then(|value| (self.mapper)(&key, value));
        let old = match &self.store {
            _ if !self.send_old => None,
            Some(store) => store.get(&key)?.map(|row| row.value),
            None => old.and_then(|value| (self.mapper)(&key, value)),
        };
        if new.is_none() && old.is_none() && self.send_old && !self.forward_nothing {
            return Ok(());
        }
        let record = Record { key, value: Change { new, old, is_latest }, timestamp, headers: headers.copied() };
        match &self.store {
            Some(store) => store.update(&self.children, context, record),
            None => self.children.forward(context, record),
        }
    }
}

struct MappedGetter<K, V, F> {
    parent: Box<dyn Getter<K, V>>,
    mapper: Arc<F>,
}

impl<K, V, F> MappedGetter<K, V, F> {
    fn map<W>(&self, key: &K, row: Option<ValueAndTimestamp<V>>) -> Option<ValueAndTimestamp<W>>
    where
        F: Fn(&K, V) -> Option<W>,
    {
        let ValueAndTimestamp { value, timestamp } = row?;
        (self.mapper)(key, value).map(|value| ValueAndTimestamp { value, timestamp })
    }
}

impl<K, V, W, F: Fn(&K, V) -> Option<W>> Getter<K, W> for MappedGetter<K, V, F> {
    fn get(&mut self, context: &mut TaskContext, key: &K) -> Result<Option<ValueAndTimestamp<W>>, Error> {
        let row = self.parent.get(context, key)?;
        Ok(self.map(key, row))
    }

    fn get_as_of(&mut self, context: &mut TaskContext, key: &K, time: i64) -> Result<Option<ValueAndTimestamp<W>>, Error> {
        let row = self.parent.get_as_of(context, key, time)?;
        Ok(self.map(key, row))
    }

    fn is_versioned(&self) -> bool {
        self.parent.is_versioned()
    }
}
