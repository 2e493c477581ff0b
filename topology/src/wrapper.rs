//! What goes around every processor of a topology (KIP-1112).

use std::any::Any;

use crate::{
    context::TaskContext,
    error::Error,
    node::Node,
    record::Record,
    store::{StoreDef, StoreSet},
};

/// Puts something around every processor of a topology, those of the DSL included, when the topology is built and started. Sources,
/// sinks and the processors of global stores stay as they are.
///
/// **Law.** It decides per processor and task. What it does not wrap costs nothing.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering::Relaxed}};
/// use millstream_topology::{Around, Error, ProcessorWrapper, TaskContext, Wrapped};
///
/// /// Counts the records of every processor but filters.
/// struct Counting(Arc<AtomicU64>);
/// impl ProcessorWrapper for Counting {
///     fn wrap_processor(&self, _: &str) -> Option<Box<dyn Around>> {
///         Some(Box::new(Counting(self.0.clone())))
///     }
///     fn wrap_fixed_key_processor(&self, name: &str) -> Option<Box<dyn Around>> {
///         if name.starts_with("KSTREAM-FILTER-") { None } else { self.wrap_processor(name) }
///     }
/// }
/// impl Around for Counting {
///     fn process(&mut self, context: &mut TaskContext, wrapped: Wrapped<'_>) -> Result<(), Error> {
///         self.0.fetch_add(1, Relaxed);
///         wrapped.process(context)
///     }
/// }
/// ```
pub trait ProcessorWrapper: Send + Sync {
    /// What goes around the processor of that name in one task; `None`: nothing.
    fn wrap_processor(&self, name: &str) -> Option<Box<dyn Around>>;

    /// The same of a processor that cannot change keys: `filter`, `map_values`, `flat_map_values`, `peek`, `process_values`.
    fn wrap_fixed_key_processor(&self, name: &str) -> Option<Box<dyn Around>> {
        self.wrap_processor(name)
    }

    /// Stores that the processor gets for what goes around it. A store of several processors is one definition, cloned.
    fn stores(&self, _: &str) -> Vec<StoreDef> {
        vec![]
    }
}

/// What goes around one processor of one task.
///
/// ```
/// use millstream_topology::{Around, Error, TaskContext, Wrapped};
///
/// /// Says how long each call took.
/// struct Timed;
/// impl Around for Timed {
///     fn process(&mut self, context: &mut TaskContext, wrapped: Wrapped<'_>) -> Result<(), Error> {
///         let began = std::time::Instant::now();
///         let outcome = wrapped.process(context);
///         println!("{:?}", began.elapsed());
///         outcome
///     }
/// }
/// ```
pub trait Around: 'static {
    /// Called once before the processor is initialised, with the stores that it may use.
    fn init(&mut self, _: &mut TaskContext, _: &StoreSet) -> Result<(), Error> {
        Ok(())
    }

    /// Called in place of the processor: [`Wrapped::process`] calls it; otherwise the record ends here.
    fn process(&mut self, context: &mut TaskContext, wrapped: Wrapped<'_>) -> Result<(), Error>;

    /// Called once after the processor is closed.
    fn close(&mut self, _: &mut TaskContext) -> Result<(), Error> {
        Ok(())
    }
}

type Process<'a> = &'a mut dyn FnMut(&mut TaskContext, &mut dyn Any) -> Result<(), Error>;

/// A processor and the record that is on its way to it.
///
/// ```
/// use millstream_topology::{Around, Error, TaskContext, Wrapped};
///
/// /// Makes negative numbers zero on their way.
/// struct NotNegative;
/// impl Around for NotNegative {
///     fn process(&mut self, context: &mut TaskContext, mut wrapped: Wrapped<'_>) -> Result<(), Error> {
///         if let Some(record) = wrapped.record_mut::<String, i64>() {
///             record.value = record.value.max(0);
///         }
///         wrapped.process(context)
///     }
/// }
/// ```
pub struct Wrapped<'a> {
    record: &'a mut dyn Any,
    process: Process<'a>,
}

impl Wrapped<'_> {
    /// The record, if its key and value have these types.
    pub fn record<K: 'static, V: 'static>(&self) -> Option<&Record<K, V>> {
        self.record.downcast_ref::<Option<Record<K, V>>>()?.as_ref()
    }

    /// The same, to be changed on its way.
    pub fn record_mut<K: 'static, V: 'static>(&mut self) -> Option<&mut Record<K, V>> {
        self.record.downcast_mut::<Option<Record<K, V>>>()?.as_mut()
    }

    /// Hands the record to the processor, and returns when it and all that follows from it is done.
    pub fn process(self, context: &mut TaskContext) -> Result<(), Error> {
        (self.process)(context, self.record)
    }
}

/// A node with something around it.
pub(crate) struct WrappedNode<N> {
    pub node: N,
    pub around: Box<dyn Around>,
    pub stores: StoreSet,
}

impl<K: 'static, V: 'static, N: Node<K, V>> Node<K, V> for WrappedNode<N> {
    fn init(&mut self, context: &mut TaskContext) -> Result<(), Error> {
        self.around.init(context, &self.stores)?;
        self.node.init(context)
    }

    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let node = &mut self.node;
        let mut process = |context: &mut TaskContext, record: &mut dyn Any| match record.downcast_mut::<Option<Record<K, V>>>() {
            Some(record) => record.take().map_or(Ok(()), |record| node.process(context, record)),
            None => Ok(()),
        };
        self.around.process(context, Wrapped { record: &mut Some(record), process: &mut process })
    }

    fn close(&mut self, context: &mut TaskContext) -> Result<(), Error> {
        self.node.close(context)?;
        self.around.close(context)
    }
}
