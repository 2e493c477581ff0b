//! What a processor sees of its task.

use std::rc::Rc;

use millstream_topology::{
    Cancellable, Children, Error, ErrorKind, Headers, PunctuationType, Record, RecordMetadata, TaskContext, TaskId, store::StoreSet,
};

/// A punctuator: tells the processor which of its schedules is due, and stops it.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The number of the schedule in its processor, from 0.
    pub id: usize,
    pub(crate) cancellable: Cancellable,
}

impl Schedule {
    /// No further calls; also from inside one.
    pub fn cancel(&self) {
        self.cancellable.cancel();
    }
}

pub(crate) type MakeSchedule<'a> = &'a dyn Fn(&mut TaskContext, i64, PunctuationType) -> Result<Schedule, Error>;

/// What a processor sees of its task while it is called. It dereferences to the [`TaskContext`], which stores are written with.
pub struct ProcessorContext<'a, K, V> {
    pub(crate) task: &'a mut TaskContext,
    pub(crate) children: &'a Children<K, V>,
    pub(crate) stores: &'a StoreSet,
    pub(crate) make_schedule: MakeSchedule<'a>,
}

impl<K: Clone + 'static, V: Clone + 'static> ProcessorContext<'_, K, V> {
    /// Pushes a record through all children, depth first.
    pub fn forward(&mut self, record: Record<K, V>) -> Result<(), Error> {
        self.children.forward(self.task, record)
    }

    /// Pushes a record through the child of that name.
    pub fn forward_to(&mut self, child: &str, record: Record<K, V>) -> Result<(), Error> {
        self.children.forward_to(self.task, child, record)
    }
}

impl<K, V> ProcessorContext<'_, K, V> {
    /// A store that is connected to the processor, or a global one. Handles may be kept.
    pub fn store<S: Clone + 'static>(&self, name: &str) -> Result<S, Error> {
        open_store(self.stores, name)
    }

    /// Has [`Processor::punctuate`](super::Processor::punctuate) called every `interval_ms` milliseconds.
    pub fn schedule(&mut self, interval_ms: i64, kind: PunctuationType) -> Result<Schedule, Error> {
        (self.make_schedule)(self.task, interval_ms, kind)
    }

    /// Where the record in process came from; its topic is `None` in a punctuator.
    pub fn record_metadata(&self) -> &RecordMetadata {
        &self.task.record.metadata
    }

    /// The headers of the record in process.
    pub fn headers(&self) -> &Headers {
        &self.task.record.headers
    }

    /// The task.
    pub fn task_id(&self) -> TaskId {
        self.task.task
    }
}

/// A store of a processor by name and type.
pub(crate) fn open_store<S: Clone + 'static>(stores: &StoreSet, name: &str) -> Result<S, Error> {
    let store = stores.get(name).ok_or_else(|| {
        let text = format!("store {name} is not connected to the processor: name it where the processor is added");
        Error::new(ErrorKind::Streams, text)
    })?;
    let other = || Error::new(ErrorKind::ClassCast, format!("store {name} is not a {}", std::any::type_name::<S>()));
    store.typed::<S>().ok_or_else(other)
}

impl<K, V> std::ops::Deref for ProcessorContext<'_, K, V> {
    type Target = TaskContext;
    fn deref(&self) -> &TaskContext {
        self.task
    }
}

impl<K, V> std::ops::DerefMut for ProcessorContext<'_, K, V> {
    fn deref_mut(&mut self) -> &mut TaskContext {
        self.task
    }
}
