//! Processors that leave the key alone, so that no repartition follows.

use millstream_topology::{Error, Headers, PunctuationType, Record, RecordMetadata, TaskContext, TaskId};

use super::{Processor, ProcessorContext, Schedule};

/// A record whose key stays as it is: nothing makes one but the stream.
///
/// ```
/// use millstream::FixedKeyRecord;
///
/// fn doubled(order: FixedKeyRecord<String, i64>) -> FixedKeyRecord<String, i64> {
///     let twice = order.value() * 2;
///     order.with_value(twice)
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FixedKeyRecord<K, V>(pub(crate) Record<K, V>);

impl<K, V> FixedKeyRecord<K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.0.key
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.0.value
    }

    /// Milliseconds since the epoch.
    pub fn timestamp(&self) -> i64 {
        self.0.timestamp
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.0.headers
    }

    /// The same record with another value.
    pub fn with_value<W>(self, value: W) -> FixedKeyRecord<K, W> {
        FixedKeyRecord(self.0.with_value(value))
    }

    /// The same record at another time.
    pub fn with_timestamp(self, timestamp: i64) -> Self {
        Self(self.0.with_timestamp(timestamp))
    }

    /// The same record with other headers.
    pub fn with_headers(self, headers: Headers) -> Self {
        Self(self.0.with_headers(headers))
    }
}

/// What a fixed-key processor sees of its task. It dereferences to the [`TaskContext`], which stores are written with.
///
/// ```
/// use millstream::{Error, FixedKeyContext, FixedKeyRecord};
///
/// fn to_one_child(context: &mut FixedKeyContext<'_, '_, String, i64>, order: FixedKeyRecord<String, i64>) -> Result<(), Error> {
///     context.forward_to(if *order.value() > 100 { "large" } else { "small" }, order)
/// }
/// ```
pub struct FixedKeyContext<'a, 'b, K, V>(pub(crate) &'a mut ProcessorContext<'b, K, V>);

impl<K: Clone + 'static, V: Clone + 'static> FixedKeyContext<'_, '_, K, V> {
    /// Pushes a record through all children, depth first.
    pub fn forward(&mut self, record: FixedKeyRecord<K, V>) -> Result<(), Error> {
        self.0.forward(record.0)
    }

    /// Pushes a record through the child of that name.
    pub fn forward_to(&mut self, child: &str, record: FixedKeyRecord<K, V>) -> Result<(), Error> {
        self.0.forward_to(child, record.0)
    }
}

impl<K, V> FixedKeyContext<'_, '_, K, V> {
    /// A store that is connected to the processor, or a global one. Handles may be kept.
    pub fn store<S: Clone + 'static>(&self, name: &str) -> Result<S, Error> {
        self.0.store(name)
    }

    /// Has [`FixedKeyProcessor::punctuate`] called every `interval_ms` milliseconds.
    pub fn schedule(&mut self, interval_ms: i64, kind: PunctuationType) -> Result<Schedule, Error> {
        self.0.schedule(interval_ms, kind)
    }

    /// Where the record in process came from; its topic is `None` in a punctuator.
    pub fn record_metadata(&self) -> &RecordMetadata {
        self.0.record_metadata()
    }

    /// The headers of the record in process.
    pub fn headers(&self) -> &Headers {
        self.0.headers()
    }

    /// The task.
    pub fn task_id(&self) -> TaskId {
        self.0.task_id()
    }
}

impl<K, V> std::ops::Deref for FixedKeyContext<'_, '_, K, V> {
    type Target = TaskContext;
    fn deref(&self) -> &TaskContext {
        self.0.task
    }
}

impl<K, V> std::ops::DerefMut for FixedKeyContext<'_, '_, K, V> {
    fn deref_mut(&mut self) -> &mut TaskContext {
        self.0.task
    }
}

/// A processor that cannot change the key.
///
/// ```
/// # use millstream::*;
/// struct Length;
/// impl FixedKeyProcessor<String, String, i64> for Length {
///     fn process(&mut self, context: &mut FixedKeyContext<'_, '_, String, i64>, text: FixedKeyRecord<String, String>) -> Result<(), Error> {
///         let length = text.value().len() as i64;
///         context.forward(text.with_value(length))
///     }
/// }
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, String>("texts").process_values(|| Length, &[]).to("lengths");
/// let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// driver.input_topic("texts").pipe("a".to_string(), "four".to_string(), 0)?;
/// assert_eq!(driver.output_topic::<String, i64>("lengths").read_values()?, [4]);
/// # Ok::<(), Error>(())
/// ```
///
/// A record with another key does not compile:
///
/// ```compile_fail
/// # use millstream::*;
/// struct Rename;
/// impl FixedKeyProcessor<String, i64, i64> for Rename {
///     fn process(&mut self, context: &mut FixedKeyContext<'_, '_, String, i64>, order: FixedKeyRecord<String, i64>) -> Result<(), Error> {
///         context.forward(Record::new("another".to_string(), *order.value(), order.timestamp()))
///     }
/// }
/// ```
pub trait FixedKeyProcessor<K, VIn, VOut>: 'static {
    /// Called once before the first record.
    fn init(&mut self, _: &mut FixedKeyContext<'_, '_, K, VOut>) -> Result<(), Error> {
        Ok(())
    }
    /// Takes a record.
    fn process(&mut self, context: &mut FixedKeyContext<'_, '_, K, VOut>, record: FixedKeyRecord<K, VIn>) -> Result<(), Error>;
    /// Called when a punctuator is due. It has no record whose key it could keep, so it cannot forward.
    fn punctuate(&mut self, _: &mut FixedKeyContext<'_, '_, K, VOut>, _: &Schedule, _: i64) -> Result<(), Error> {
        Ok(())
    }
    /// Called once after the last record.
    fn close(&mut self) {}
}

/// A fixed-key processor as a processor.
pub(crate) struct FixedKey<P>(pub P);

impl<K: 'static, V: 'static, W: 'static, P: FixedKeyProcessor<K, V, W>> Processor<K, V, K, W> for FixedKey<P> {
    fn init(&mut self, context: &mut ProcessorContext<'_, K, W>) -> Result<(), Error> {
        self.0.init(&mut FixedKeyContext(context))
    }
    fn process(&mut self, context: &mut ProcessorContext<'_, K, W>, record: Record<K, V>) -> Result<(), Error> {
        self.0.process(&mut FixedKeyContext(context), FixedKeyRecord(record))
    }
    fn punctuate(&mut self, context: &mut ProcessorContext<'_, K, W>, schedule: &Schedule, time: i64) -> Result<(), Error> {
        self.0.punctuate(&mut FixedKeyContext(context), schedule, time)
    }
    fn close(&mut self) {
        self.0.close();
    }
}
