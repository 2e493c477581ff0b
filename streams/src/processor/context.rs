//! What a processor sees of its task.

use millstream_topology::{
    Cancellable, Children, Error, ErrorKind, Headers, PunctuationType, Record, RecordMetadata, TaskContext, TaskId, store::StoreSet,
};

/// A punctuator: tells the processor which of its schedules is due, and stops it.
///
/// ```
/// # use millstream::*;
/// /// Says "tick" three times.
/// struct Clock(u32);
/// impl Processor<String, i64, String, i64> for Clock {
///     fn init(&mut self, context: &mut ProcessorContext<'_, String, i64>) -> Result<(), Error> {
///         context.schedule(1_000, PunctuationType::WallClockTime).map(drop)
///     }
///     fn process(&mut self, _: &mut ProcessorContext<'_, String, i64>, _: Record<String, i64>) -> Result<(), Error> {
///         Ok(())
///     }
///     fn punctuate(&mut self, context: &mut ProcessorContext<'_, String, i64>, schedule: &Schedule, now: i64) -> Result<(), Error> {
///         self.0 += 1;
///         if self.0 == 3 {
///             schedule.cancel();
///         }
///         context.forward(Record::new("tick".to_string(), now, now))
///     }
/// }
/// let builder = StreamsBuilder::new();
/// builder.stream("in").process(|| Clock(0), &[]).to("ticks");
/// let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// (0..5).try_for_each(|_| driver.advance_wall_clock_ms(1_000))?;
/// assert_eq!(driver.output_topic::<String, i64>("ticks").read_values()?, [1_000, 2_000, 3_000]);
/// # Ok::<(), Error>(())
/// ```
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
///
/// ```
/// # use millstream::*;
/// struct Own;
/// impl Processor<String, i64, String, i64> for Own {
///     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> Result<(), Error> {
///         let prices: store::KeyValueStore<String, i64> = context.store("prices")?;
///         let (price, from) = (prices.get(&record.key)?, context.record_metadata().topic.clone());
///         prices.put(context, &record.key, Some(&record.value))?;
///         match (price, from) {
///             (Some(before), Some(_)) => context.forward_to("changes", record.with_value(before)),
///             _ => context.forward(record),
///         }
///     }
/// }
/// ```
pub struct ProcessorContext<'a, K, V> {
    pub(crate) task: &'a mut TaskContext,
    pub(crate) children: &'a Children<K, V>,
    pub(crate) stores: &'a StoreSet,
    pub(crate) make_schedule: MakeSchedule<'a>,
}

impl<K: Clone + 'static, V: Clone + 'static> ProcessorContext<'_, K, V> {
    /// Pushes a record through all children, depth first.
    ///
    /// ```
    /// # use millstream::*;
    /// struct Own;
    /// impl Processor<String, i64, String, i64> for Own {
    ///     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> Result<(), Error> {
    ///         context.forward(Record::new(record.key.clone(), 1, record.timestamp))?;
    ///         context.forward(record)
    ///     }
    /// }
    /// ```
    pub fn forward(&mut self, record: Record<K, V>) -> Result<(), Error> {
        self.children.forward(self.task, record)
    }

    /// Pushes a record through the child of that name.
    ///
    /// ```
    /// # use millstream::*;
    /// struct Own;
    /// impl Processor<String, i64, String, i64> for Own {
    ///     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> Result<(), Error> {
    ///         let child = if record.value > 100 { "large" } else { "small" };
    ///         context.forward_to(child, record)
    ///     }
    /// }
    /// ```
    pub fn forward_to(&mut self, child: &str, record: Record<K, V>) -> Result<(), Error> {
        self.children.forward_to(self.task, child, record)
    }
}

impl<K, V> ProcessorContext<'_, K, V> {
    /// A store that is connected to the processor, or a global one. Handles may be kept.
    ///
    /// ```
    /// # use millstream::*;
    /// struct Own;
    /// impl Processor<String, i64, String, i64> for Own {
    ///     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> Result<(), Error> {
    ///         let sums: store::KeyValueStore<String, i64> = context.store("sums")?;
    ///         let sum = sums.get(&record.key)?.unwrap_or(0) + record.value;
    ///         sums.put(context, &record.key, Some(&sum))?;
    ///         context.forward(record.with_value(sum))
    ///     }
    /// }
    /// ```
    pub fn store<S: Clone + 'static>(&self, name: &str) -> Result<S, Error> {
        open_store(self.stores, name)
    }

    /// Has [`Processor::punctuate`](super::Processor::punctuate) called every `interval_ms` milliseconds.
    ///
    /// ```
    /// # use millstream::*;
    /// struct Minutely;
    /// impl Processor<String, i64, String, i64> for Minutely {
    ///     fn init(&mut self, context: &mut ProcessorContext<'_, String, i64>) -> Result<(), Error> {
    ///         context.schedule(60_000, PunctuationType::StreamTime).map(drop)
    ///     }
    ///     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> Result<(), Error> {
    ///         context.forward(record)
    ///     }
    /// }
    /// ```
    pub fn schedule(&mut self, interval_ms: i64, kind: PunctuationType) -> Result<Schedule, Error> {
        (self.make_schedule)(self.task, interval_ms, kind)
    }

    /// Where the record in process came from; its topic is `None` in a punctuator.
    ///
    /// ```
    /// # use millstream::*;
    /// struct Own;
    /// impl Processor<String, i64, String, i64> for Own {
    ///     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> Result<(), Error> {
    ///         let offset = context.record_metadata().offset;
    ///         context.forward(record.with_value(offset))
    ///     }
    /// }
    /// ```
    pub fn record_metadata(&self) -> &RecordMetadata {
        &self.task.record.metadata
    }

    /// The headers of the record in process.
    ///
    /// ```
    /// # use millstream::*;
    /// struct Own;
    /// impl Processor<String, i64, String, i64> for Own {
    ///     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> Result<(), Error> {
    ///         let is_test = context.headers().last("test").is_some();
    ///         if is_test { Ok(()) } else { context.forward(record) }
    ///     }
    /// }
    /// ```
    pub fn headers(&self) -> &Headers {
        &self.task.record.headers
    }

    /// The task.
    ///
    /// ```
    /// # use millstream::*;
    /// struct Own;
    /// impl Processor<String, i64, String, i64> for Own {
    ///     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> Result<(), Error> {
    ///         let partition = i64::from(context.task_id().partition);
    ///         context.forward(record.with_value(partition))
    ///     }
    /// }
    /// ```
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
