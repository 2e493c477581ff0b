//! State stores: typed handles over a record cache, a changelog, and bytes in memory or on RocksDB.

mod buffer;
pub mod bytes;
mod cache;
mod changelog;
mod join_buffer;
mod key_value;
mod row;
mod session;
mod suppress_buffer;
mod versioned;
mod window;
mod windowed_cache;

use std::{any::Any, rc::Rc, sync::Arc};

pub use cache::FlushListener;
pub use changelog::{ChangelogConfig, LoggedHeaders};
pub use join_buffer::{JoinBuffer, Waiting};
pub use key_value::{KeyValueIterator, KeyValueStore, TimestampedKeyValueStore};
pub use session::{SessionStore, SessionStoreOptions};
pub use suppress_buffer::{Eviction, SuppressBuffer};
pub use versioned::{VersionedKeyValueStore, VersionedRecord};
pub use window::{TimestampedWindowStore, TimestampedWindowStoreWithHeaders, WindowStore, WindowStoreOptions, WindowedIterator};

use crate::{
    context::{TaskConfig, TaskContext},
    error::Error,
    record::RawRecord,
};

/// Where the bytes of stores are kept.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// assert_eq!(StoreType::default(), StoreType::RocksDb);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreType {
    /// In memory: restored from the changelog at every start.
    InMemory,
    /// On disk.
    #[default]
    RocksDb,
}

/// What a store is made with.
pub struct StoreEnv<'a> {
    /// The store's name.
    pub name: &'a Arc<str>,
    /// The task's partition.
    pub partition: i32,
    /// RocksDB, for those who want it.
    pub rocks: Option<&'a Arc<bytes::RocksState>>,
    /// Where changes go; `None` if they are not logged.
    pub changelog: Option<Arc<str>>,
    /// Which records of the changelog have headers.
    pub logged_headers: LoggedHeaders,
    /// Whether the record cache is on.
    pub caching: bool,
    /// Whether it is a global store.
    pub global: bool,
    /// What the task is told of the application.
    pub config: &'a TaskConfig,
}

/// Makes a store for one task.
pub type StoreMaker = Arc<dyn Fn(&StoreEnv<'_>) -> Result<Rc<dyn AnyStore>, Error> + Send + Sync>;

/// The definition of a store.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// let def = KeyValueStore::<String, i64>::persistent("prices").caching(true).logging(false);
/// assert_eq!((&*def.name, def.store_type), ("prices", StoreType::RocksDb));
/// ```
#[derive(Clone)]
pub struct StoreDef {
    /// Its name.
    pub name: Arc<str>,
    /// Whether the record cache may be used.
    pub caching: bool,
    /// Whether changes go to a changelog topic.
    pub logging: bool,
    /// Where its bytes are.
    pub store_type: StoreType,
    /// How its changelog topic is kept.
    pub changelog: ChangelogConfig,
    /// Which records of the changelog have headers.
    pub logged_headers: LoggedHeaders,
    /// How long a versioned store keeps old versions, in milliseconds; `None` if it keeps none.
    pub history_retention: Option<i64>,
    /// Makes it.
    pub make: StoreMaker,
}

impl StoreDef {
    /// A store that is logged, not cached, and on RocksDB.
    pub fn new(name: impl Into<Arc<str>>, make: StoreMaker) -> Self {
        Self {
            name: name.into(),
            caching: false,
            logging: true,
            store_type: StoreType::default(),
            changelog: ChangelogConfig::default(),
            logged_headers: LoggedHeaders::None,
            history_retention: None,
            make,
        }
    }

    /// Whether changes go to a changelog topic. Default: yes.
    pub fn logging(self, logging: bool) -> Self {
        Self { logging, ..self }
    }

    /// Whether the record cache may be used. Default: no.
    pub fn caching(self, caching: bool) -> Self {
        Self { caching, ..self }
    }

    /// Whether it is this very definition, not only one of the same name.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.make, &other.make)
    }
}

/// A store of any kind.
pub trait AnyStore {
    /// Its name.
    fn name(&self) -> &Arc<str>;
    /// Whether it is a global store, which every processor may use.
    fn is_global(&self) -> bool;
    /// The typed handle, to be downcast.
    fn handle(&self) -> &dyn Any;
    /// Writes what the cache holds, and forwards what follows from that.
    fn flush(&self, context: &mut TaskContext) -> Result<(), Error>;
    /// Applies a record of the changelog (of a global store: of its topic, in the changelog's format).
    fn restore(&self, record: RawRecord) -> Result<(), Error>;
    /// Forgets who listens to its cache, when the task goes: the listener holds the nodes, and they hold the store, so that neither
    /// would ever be dropped, nor the store's partition be free for its next owner.
    fn detach(&self) {}
    /// The map on RocksDB whose epochs are committed with the task's offsets; `None` for a store in memory.
    fn rocks(&self) -> Option<bytes::RocksHandle> {
        None
    }
}

impl dyn AnyStore {
    /// The typed handle, if it is one of type `S`.
    pub fn typed<S: Clone + 'static>(&self) -> Option<S> {
        self.handle().downcast_ref::<S>().cloned()
    }
}

/// The stores of a task, in the order in which they are flushed.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// assert!(StoreSet::default().get("prices").is_none());
/// ```
#[derive(Clone, Default)]
pub struct StoreSet(Vec<Rc<dyn AnyStore>>);

impl FromIterator<Rc<dyn AnyStore>> for StoreSet {
    fn from_iter<I: IntoIterator<Item = Rc<dyn AnyStore>>>(stores: I) -> Self {
        Self(stores.into_iter().collect())
    }
}

impl StoreSet {
    /// The store of that name.
    pub fn get(&self, name: &str) -> Option<&Rc<dyn AnyStore>> {
        self.0.iter().find(|store| &**store.name() == name)
    }

    /// Appends a store.
    pub fn push(&mut self, store: Rc<dyn AnyStore>) {
        self.0.push(store);
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<dyn AnyStore>> {
        self.0.iter()
    }
}
