//! A user's processor as a node of a task.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use millstream_topology::{Assembly, Children, Data, Error, Node, PunctuationType, Record, TaskContext, store::StoreSet};

use super::{Processor, ProcessorContext, Schedule, context::MakeSchedule};

/// **Law.** The processor is called with the record in process, or a punctuator's time, and with nothing else.
pub(crate) struct ProcessorNode<P, L, W>(Rc<Inner<P, L, W>>);

struct Inner<P, L, W> {
    processor: RefCell<P>,
    children: Children<L, W>,
    stores: StoreSet,
    schedules: Cell<usize>,
    fixed_key: bool,
}

impl<P: 'static, L: Clone + 'static, W: Clone + 'static> ProcessorNode<P, L, W> {
    pub fn new(processor: P, assembly: &Assembly<'_>, fixed_key: bool) -> Result<Self, Error> {
        let (children, stores) = (assembly.children()?, assembly.reachable_stores());
        Ok(Self(Rc::new(Inner { processor: RefCell::new(processor), children, stores, schedules: Cell::new(0), fixed_key })))
    }

    fn call<K: 'static, V: 'static>(
        inner: &Rc<Inner<P, L, W>>,
        task: &mut TaskContext,
        act: impl FnOnce(&mut P, &mut ProcessorContext<'_, L, W>) -> Result<(), Error>,
    ) -> Result<(), Error>
    where
        P: Processor<K, V, L, W>,
    {
        let make: MakeSchedule<'_> = &|task, interval, kind| Self::schedule::<K, V>(inner, task, interval, kind);
        let mut context = ProcessorContext { task, children: &inner.children, stores: &inner.stores, make_schedule: make };
        act(&mut inner.processor.borrow_mut(), &mut context)
    }

    fn schedule<K: 'static, V: 'static>(
        inner: &Rc<Inner<P, L, W>>,
        task: &mut TaskContext,
        interval: i64,
        kind: PunctuationType,
    ) -> Result<Schedule, Error>
    where
        P: Processor<K, V, L, W>,
    {
        let id = inner.schedules.replace(inner.schedules.get() + 1);
        // The callback tells its schedule from the handle that `schedule` returns only afterwards.
        let own: Rc<RefCell<Option<Schedule>>> = Rc::default();
        let (inner, known) = (inner.clone(), own.clone());
        let cancellable = task.schedule(interval, kind, move |task, time| {
            let Some(schedule) = known.borrow().clone() else { return Ok(()) };
            Self::call::<K, V>(&inner, task, |processor, context| processor.punctuate(context, &schedule, time))
        })?;
        let schedule = Schedule { id, cancellable };
        *own.borrow_mut() = Some(schedule.clone());
        Ok(schedule)
    }
}

impl<K: Data, V: Clone + 'static, L: Clone + 'static, W: Clone + 'static, P: Processor<K, V, L, W>> Node<K, V> for ProcessorNode<P, L, W> {
    fn init(&mut self, task: &mut TaskContext) -> Result<(), Error> {
        Self::call::<K, V>(&self.0, task, |processor, context| processor.init(context))
    }

    fn process(&mut self, task: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        Self::call::<K, V>(&self.0, task, |processor, context| processor.process(context, record))
    }

    fn close(&mut self, _: &mut TaskContext) -> Result<(), Error> {
        self.0.processor.borrow_mut().close();
        Ok(())
    }

    fn is_fixed_key(&self) -> bool {
        self.0.fixed_key
    }
}
