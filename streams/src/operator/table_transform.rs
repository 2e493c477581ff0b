//! **Law.** The transformer sees every change of a row, deletions too, and what it returns is the row. Who looks a row up that is not
//! stored asks a transformer of its own.

use std::{
    marker::PhantomData,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use millstream_topology::{
    Assembly, Change, Children, Data, Error, ErrorKind, Node, NodeMaker, Record, RecordContext, TaskContext, ValueAndTimestamp,
    store::StoreSet,
};

use crate::{
    kstream::maker,
    ktable::{Getter, Store, StoreSpec, TableNode, View},
    processor::open_store,
};

/// Turns the values of a table into others, with whatever state it needs (KIP-292).
///
/// A closure `|context: &mut TaskContext, key: &K, value: Option<&V>| Ok(result)` is one.
///
/// ```
/// use millstream::{Error, StreamsBuilder, TaskContext, TransformerContext, ValueTransformerWithKey, store::KeyValueStore};
///
/// /// Numbers the changes of all rows.
/// #[derive(Default)]
/// struct Number(Option<KeyValueStore<String, i64>>);
/// impl ValueTransformerWithKey<String, String> for Number {
///     type Output = String;
///     fn init(&mut self, context: &mut TransformerContext<'_>) -> Result<(), Error> {
///         self.0 = Some(context.store("numbers")?);
///         Ok(())
///     }
///     fn transform(&mut self, context: &mut TaskContext, key: &String, value: Option<&String>) -> Result<String, Error> {
///         let numbers = self.0.as_ref().expect("init comes first");
///         let number = numbers.get(key)?.unwrap_or(0) + 1;
///         numbers.put(context, key, Some(&number))?;
///         Ok(format!("{value:?} #{number}"))
///     }
/// }
/// let builder = StreamsBuilder::new();
/// builder.add_state_store(KeyValueStore::<String, i64>::in_memory("numbers"));
/// builder.table::<String, String>("texts").transform_values(Number::default, &["numbers"]);
/// assert!(builder.build().is_ok());
/// ```
pub trait ValueTransformerWithKey<K, V>: 'static {
    /// What it returns; `None` deletes the row.
    type Output: Data;
    /// Called once before the first row: where stores are opened.
    fn init(&mut self, _: &mut TransformerContext<'_>) -> Result<(), Error> {
        Ok(())
    }
    /// The row's new value, given the old table's; `None` is a deletion.
    fn transform(&mut self, context: &mut TaskContext, key: &K, value: Option<&V>) -> Result<Self::Output, Error>;
    /// Called once after the last row.
    fn close(&mut self) {}
}

impl<K, V, R: Data, F: FnMut(&mut TaskContext, &K, Option<&V>) -> Result<R, Error> + 'static> ValueTransformerWithKey<K, V> for F {
    type Output = R;
    fn transform(&mut self, context: &mut TaskContext, key: &K, value: Option<&V>) -> Result<R, Error> {
        self(context, key, value)
    }
}

/// What a transformer sees of its task when it begins. It dereferences to the [`TaskContext`]; there is nothing to forward to.
pub struct TransformerContext<'a> {
    task: &'a mut TaskContext,
    stores: &'a StoreSet,
}

impl TransformerContext<'_> {
    /// A store that is connected to the operation, or a global one. Handles may be kept.
    pub fn store<S: Clone + 'static>(&self, name: &str) -> Result<S, Error> {
        open_store(self.stores, name)
    }
}

impl std::ops::Deref for TransformerContext<'_> {
    type Target = TaskContext;
    fn deref(&self) -> &TaskContext {
        self.task
    }
}

impl std::ops::DerefMut for TransformerContext<'_> {
    fn deref_mut(&mut self) -> &mut TaskContext {
        self.task
    }
}

/// The row type of what a transformer makes.
pub(crate) type Transformed<T, K, V> = <<T as ValueTransformerWithKey<K, V>>::Output as Data>::Present;

pub(crate) struct TableTransform<K: Data, V, W: Data, S> {
    parent: Rc<dyn TableNode<K, V>>,
    pub store: Option<StoreSpec<K, W>>,
    supplier: Arc<S>,
    /// The stores that the transformer uses.
    used: Arc<[String]>,
    send_old: Arc<AtomicBool>,
}

impl<K, V, W, T, S> TableTransform<K, V, W, S>
where
    K: Data<Present = K>,
    V: Data<Present = V>,
    W: Data<Present = W>,
    T: ValueTransformerWithKey<K, V, Output: Data<Present = W>>,
    S: Fn() -> T + Send + Sync + 'static,
{
    pub fn new(parent: Rc<dyn TableNode<K, V>>, store: Option<StoreSpec<K, W>>, supplier: S, used: &[&str]) -> Self {
        let used = used.iter().map(ToString::to_string).collect();
        Self { parent, store, supplier: Arc::new(supplier), used, send_old: Arc::default() }
    }

    pub fn used(&self) -> &[String] {
        &self.used
    }

    pub fn maker(&self) -> NodeMaker {
        let (supplier, send_old) = (self.supplier.clone(), self.send_old.clone());
        let store = self.store.as_ref().map(|store| store.name.clone());
        maker::<K, Change<V>, _, _>(move |assembly: &mut Assembly<'_>| {
            let (children, send_old) = (assembly.children()?, send_old.load(Relaxed));
            let store = StoreSpec::<K, W>::open_for(store.as_ref(), assembly, &children, send_old)?;
            Ok(Operator { transformer: supplier(), stores: assembly.reachable_stores(), store, send_old, children, value: PhantomData })
        })
    }
}

impl<K, V, W, T, S> TableNode<K, W> for TableTransform<K, V, W, S>
where
    K: Data<Present = K>,
    V: Data<Present = V>,
    W: Data<Present = W>,
    T: ValueTransformerWithKey<K, V, Output: Data<Present = W>>,
    S: Fn() -> T + Send + Sync + 'static,
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
        let (parent, supplier, used) = (self.parent.view(), self.supplier.clone(), self.used.clone());
        let make = move |assembly: &Assembly<'_>| {
            let stores = assembly.reachable_stores();
            // Rows that no store holds are made again where they are looked up: there the transformer needs its stores, too.
            if let Some(store) = used.iter().find(|store| stores.get(store).is_none()) {
                let text = format!("{}: a transformer uses store {store} here, too: materialize its table", assembly.name());
                return Err(Error::new(ErrorKind::Streams, text));
            }
            let getter = TransformedGetter { parent: (parent.make)(assembly)?, transformer: supplier(), stores: Some(stores) };
            Ok(Box::new(getter) as Box<dyn Getter<K, W>>)
        };
        View { stores: parent.stores, make: Arc::new(make) }
    }
}

struct Operator<K, V, W, T> {
    transformer: T,
    stores: StoreSet,
    store: Option<Store<K, W>>,
    send_old: bool,
    children: Children<K, Change<W>>,
    value: PhantomData<V>,
}

impl<K: Data, V: Data, W: Data, T> Node<K, Change<V>> for Operator<K, V, W, T>
where
    T: ValueTransformerWithKey<K, V, Output: Data<Present = W>>,
{
    fn init(&mut self, task: &mut TaskContext) -> Result<(), Error> {
        self.transformer.init(&mut TransformerContext { task, stores: &self.stores })
    }

    fn process(&mut self, context: &mut TaskContext, record: Record<K, Change<V>>) -> Result<(), Error> {
        let Record { key, value: Change { new, old, is_latest }, timestamp, headers } = record;
        let new = self.transformer.transform(context, &key, new.as_ref())?.into_present();
        let old = match &self.store {
            _ if !self.send_old => None,
            Some(store) => store.get(&key)?.map(|row| row.value),
            None => self.transformer.transform(context, &key, old.as_ref())?.into_present(),
        };
        let record = Record { key, value: Change { new, old, is_latest }, timestamp, headers: headers.copied() };
        match &self.store {
            Some(store) => store.update(&self.children, context, record),
            None => self.children.forward(context, record),
        }
    }

    fn close(&mut self, _: &mut TaskContext) -> Result<(), Error> {
        self.transformer.close();
        Ok(())
    }
}

struct TransformedGetter<K, V, T> {
    parent: Box<dyn Getter<K, V>>,
    transformer: T,
    /// Until the transformer is called for the first time.
    stores: Option<StoreSet>,
}

impl<K, V, T: ValueTransformerWithKey<K, V>> TransformedGetter<K, V, T> {
    /// The transformer sees the context of the row, not of the record for which it is looked up.
    fn transform(
        &mut self,
        context: &mut TaskContext,
        key: &K,
        row: Option<ValueAndTimestamp<V>>,
    ) -> Result<Option<ValueAndTimestamp<Transformed<T, K, V>>>, Error> {
        const UNKNOWN: i64 = -1;
        if let Some(stores) = self.stores.take() {
            self.transformer.init(&mut TransformerContext { task: context, stores: &stores })?;
        }
        let timestamp = row.as_ref().map_or(UNKNOWN, |row| row.timestamp);
        let record = std::mem::replace(&mut context.record, RecordContext::none(timestamp));
        let value = self.transformer.transform(context, key, row.as_ref().map(|row| &row.value));
        context.record = record;
        Ok(value?.into_present().map(|value| ValueAndTimestamp { value, timestamp }))
    }
}

impl<K, V, W, T> Getter<K, W> for TransformedGetter<K, V, T>
where
    T: ValueTransformerWithKey<K, V, Output: Data<Present = W>>,
{
    fn get(&mut self, context: &mut TaskContext, key: &K) -> Result<Option<ValueAndTimestamp<W>>, Error> {
        let row = self.parent.get(context, key)?;
        self.transform(context, key, row)
    }

    fn get_as_of(&mut self, context: &mut TaskContext, key: &K, time: i64) -> Result<Option<ValueAndTimestamp<W>>, Error> {
        let row = self.parent.get_as_of(context, key, time)?;
        self.transform(context, key, row)
    }

    fn is_versioned(&self) -> bool {
        self.parent.is_versioned()
    }
}
