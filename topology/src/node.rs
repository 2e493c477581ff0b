//! Nodes at run time, and how a record gets from one to the next.

use std::{
    any::{Any, type_name},
    cell::{Cell, RefCell},
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use crate::{
    context::TaskContext,
    error::{Error, ErrorKind},
    handler::{OnError, decide},
    queue::SourceQueue,
    record::Record,
    store::{AnyStore, StoreSet},
    wrapper::{ProcessorWrapper, WrappedNode},
};

/// A node that takes records of one type.
///
/// **Law.** Single-threaded, synchronous, deterministic: what it does follows from the records, its stores and the context.
///
/// ```
/// use std::sync::Arc;
/// use millstream_topology::{Children, Error, Node, NodeMaker, Record, TaskContext};
///
/// /// Forwards every number twice as large.
/// struct Double(Children<String, i64>);
/// impl Node<String, i64> for Double {
///     fn process(&mut self, context: &mut TaskContext, record: Record<String, i64>) -> Result<(), Error> {
///         self.0.forward(context, Record { value: record.value * 2, ..record })
///     }
/// }
///
/// let make: NodeMaker = Arc::new(|assembly| {
///     let children = assembly.children()?;
///     Ok(assembly.node::<String, i64>(Double(children)))
/// });
/// ```
pub trait Node<K, V>: 'static {
    /// Called once before the first record.
    fn init(&mut self, _: &mut TaskContext) -> Result<(), Error> {
        Ok(())
    }
    /// Takes a record and forwards what follows from it.
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error>;
    /// Called once after the last record.
    fn close(&mut self, _: &mut TaskContext) -> Result<(), Error> {
        Ok(())
    }
    /// Whether it cannot change keys: what a [`ProcessorWrapper`](crate::ProcessorWrapper) is told.
    fn is_fixed_key(&self) -> bool {
        false
    }
}

pub(crate) struct NodeCell<N: ?Sized> {
    name: Arc<str>,
    node: RefCell<N>,
}

pub(crate) type NodeRef<K, V> = Rc<NodeCell<dyn Node<K, V>>>;

/// The nodes below one node, in order. Cloning shares them.
///
/// ```
/// use millstream_topology::{Children, Error, Record, TaskContext};
///
/// fn route(children: &Children<String, i64>, context: &mut TaskContext, order: Record<String, i64>) -> Result<(), Error> {
///     match order.value {
///         0 => Ok(()),
///         1..100 => children.forward_to(context, "small", order),
///         _ => children.forward(context, order),
///     }
/// }
/// ```
pub struct Children<K, V>(Rc<[NodeRef<K, V>]>);

impl<K, V> Clone for Children<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Clone + 'static, V: Clone + 'static> Children<K, V> {
    /// Pushes a record through all of them, depth first, one after the other.
    ///
    /// Always inlined, so that a record is written once, where its receiver reads it.
    #[inline(always)]
    pub fn forward(&self, context: &mut TaskContext, mut record: Record<K, V>) -> Result<(), Error> {
        let Some((last, others)) = self.0.split_last() else { return Ok(()) };
        if !others.is_empty() {
            record.headers.shared();
            for child in others {
                call(child, context, record.clone())?;
            }
        }
        call(last, context, record)
    }

    /// Pushes a record through the child of that name.
    pub fn forward_to(&self, context: &mut TaskContext, child: &str, record: Record<K, V>) -> Result<(), Error> {
        match self.0.iter().find(|c| &*c.name == child) {
            Some(child) => call(child, context, record),
            None => Err(Error::new(ErrorKind::Streams, format!("there is no child {child}: forward to {}", self.names()))),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn names(&self) -> String {
        self.0.iter().map(|c| &*c.name).collect::<Vec<_>>().join(", ")
    }
}

/// Runs one node. Its own failure, also a panic of user code, goes to the handler; a failure further down has been there already.
#[inline(always)]
fn call<K: 'static, V: 'static>(child: &NodeRef<K, V>, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
    if record.timestamp < 0 {
        return Err(Error::new(ErrorKind::IllegalArgument, format!("timestamp {} is negative", record.timestamp)));
    }
    let timestamp = std::mem::replace(&mut context.record.timestamp, record.timestamp);
    let headers = std::mem::replace(&mut context.record.headers, record.headers.clone());
    let outcome = match context.config.on_processing_error {
        // Nothing goes on after a panic: it is caught by the task, once for all nodes.
        OnError::Fail => {
            let panicked = Panicked(&child.name);
            let outcome = child.node.borrow_mut().process(context, record);
            std::mem::forget(panicked);
            outcome
        }
        _ => call_and_catch(child, context, record),
    };
    let outcome = match outcome {
        Err(error) if !error.is_handled() => handle(&child.name, context, error),
        outcome => outcome,
    };
    context.record.timestamp = timestamp;
    context.record.headers = headers;
    outcome
}

#[inline(never)]
fn call_and_catch<K: 'static, V: 'static>(child: &NodeRef<K, V>, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
    let outcome = catch_unwind(AssertUnwindSafe(|| child.node.borrow_mut().process(context, record)));
    outcome.unwrap_or_else(|panic| Err(Error::from_panic(panic)))
}

thread_local! {
    /// The innermost node of a panic that is on its way to the task.
    static PANICKED: Cell<Option<Arc<str>>> = const { Cell::new(None) };
}

/// Dropped by a panic that passes the node of that name.
struct Panicked<'a>(&'a Arc<str>);

impl Drop for Panicked<'_> {
    fn drop(&mut self) {
        let innermost = PANICKED.take().unwrap_or_else(|| self.0.clone());
        PANICKED.set(Some(innermost));
    }
}

/// Runs what runs nodes. A panic is a failure of the node that it comes from.
pub(crate) fn catch<R>(context: &mut TaskContext, run: impl FnOnce(&mut TaskContext) -> Result<R, Error>) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(|| run(context))).unwrap_or_else(|panic| {
        let error = Error::from_panic(panic);
        match PANICKED.take() {
            Some(node) => Err(handle(&node, context, error.clone()).err().unwrap_or(error)),
            None => Err(error),
        }
    })
}

/// Decides about a failure of user code. Global stores have no handler: what they miss, every task misses.
#[cold]
fn handle(node: &Arc<str>, context: &mut TaskContext, error: Error) -> Result<(), Error> {
    match context.task.is_global() {
        true => Err(error.at(node).handled()),
        false => decide(&context.config.on_processing_error.clone(), context, node, error),
    }
}

/// A node of any type, as its maker hands it to the task.
pub struct AnyNode {
    pub(crate) name: Arc<str>,
    reference: Rc<dyn Any>,
    pub(crate) init: Box<dyn Fn(&mut TaskContext) -> Result<(), Error>>,
    pub(crate) close: Box<dyn Fn(&mut TaskContext) -> Result<(), Error>>,
}

/// Makes a node for one task.
pub type NodeMaker = Arc<dyn Fn(&mut Assembly<'_>) -> Result<AnyNode, Error> + Send + Sync>;

/// Makes, for one task, what reads one of a source's topics.
pub type SourceMaker = Arc<dyn Fn(&mut Assembly<'_>) -> Result<Box<dyn Fn(Arc<str>) -> Box<dyn SourceQueue>>, Error> + Send + Sync>;

/// A task under construction: hands a node its children, which are made before it, and its stores.
pub struct Assembly<'a> {
    pub(crate) name: Arc<str>,
    pub(crate) children: Vec<&'a AnyNode>,
    pub(crate) stores: &'a StoreSet,
    pub(crate) connected: Option<&'a [Arc<str>]>,
    pub(crate) config: &'a crate::context::TaskConfig,
    pub(crate) shared: &'a RefCell<HashMap<Arc<str>, Rc<dyn Any>>>,
    pub(crate) wrapper: Option<&'a dyn ProcessorWrapper>,
}

impl Assembly<'_> {
    /// The node's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the task is told of the application.
    pub fn config(&self) -> &crate::context::TaskConfig {
        self.config
    }

    /// The nodes below this one; they must take what it sends.
    pub fn children<K: 'static, V: 'static>(&self) -> Result<Children<K, V>, Error> {
        let cast = |child: &&AnyNode| {
            child.reference.downcast_ref::<NodeRef<K, V>>().cloned().ok_or_else(|| {
                let (key, value) = (type_name::<K>(), type_name::<V>());
                let text = format!(
                    "{} sends keys of type {key} and values of type {value}, which its child {} does not take",
                    self.name, child.name
                );
                Error::new(ErrorKind::ClassCast, text)
            })
        };
        Ok(Children(self.children.iter().map(cast).collect::<Result<_, _>>()?))
    }

    /// A store that is connected to the node, or a global one.
    pub fn store<S: Clone + 'static>(&self, name: &str) -> Result<S, Error> {
        let connected = self.connected.is_some_and(|stores| stores.iter().any(|store| &**store == name));
        let store = self.stores.get(name).filter(|store| connected || store.is_global()).ok_or_else(|| {
            let text = format!("{} uses store {name}, which is not connected to it: add it to the processor's stores", self.name);
            Error::new(ErrorKind::Streams, text)
        })?;
        store
            .typed::<S>()
            .ok_or_else(|| Error::new(ErrorKind::ClassCast, format!("{}: store {name} is not a {}", self.name, type_name::<S>())))
    }

    /// The stores that are connected to the node, and the global ones.
    pub fn reachable_stores(&self) -> StoreSet {
        let reachable = |store: &&Rc<dyn AnyStore>| store.is_global() || self.connected.is_some_and(|stores| stores.contains(store.name()));
        self.stores.iter().filter(reachable).cloned().collect()
    }

    /// What the nodes of one task that ask for the same name share: made by the first.
    pub fn shared<T: Default + 'static>(&self, name: &Arc<str>) -> Rc<T> {
        let shared = self.shared.borrow_mut().entry(name.clone()).or_insert_with(|| Rc::new(T::default())).clone();
        shared.downcast().unwrap_or_default()
    }

    /// The node, with what the topology's wrapper puts around it.
    pub fn node<K: 'static, V: 'static>(&self, node: impl Node<K, V>) -> AnyNode {
        let around = self.wrapper.and_then(|wrapper| match node.is_fixed_key() {
            true => wrapper.wrap_fixed_key_processor(&self.name),
            false => wrapper.wrap_processor(&self.name),
        });
        match around {
            Some(around) => self.any_node(WrappedNode { node, around, stores: self.reachable_stores() }),
            None => self.any_node(node),
        }
    }

    fn any_node<K: 'static, V: 'static>(&self, node: impl Node<K, V>) -> AnyNode {
        let cell = Rc::new(NodeCell { name: self.name.clone(), node: RefCell::new(node) });
        let (first, last) = (cell.clone(), cell.clone());
        let reference: NodeRef<K, V> = cell;
        AnyNode {
            name: self.name.clone(),
            reference: Rc::new(reference),
            init: Box::new(move |context| first.node.borrow_mut().init(context)),
            close: Box::new(move |context| last.node.borrow_mut().close(context)),
        }
    }
}
