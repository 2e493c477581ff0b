//! The Processor API: nodes of the user's own, below any stream (KIP-478, KIP-820).

mod context;
mod fixed_key;
mod node;
mod topology;

pub(crate) use context::open_store;
pub use context::{ProcessorContext, Schedule};
pub(crate) use fixed_key::FixedKey;
pub use fixed_key::{FixedKeyContext, FixedKeyProcessor, FixedKeyRecord};
use millstream_topology::{Error, Record};
pub(crate) use node::ProcessorNode;
pub use topology::ProcessorTopology;
pub(crate) use topology::write_global_store;

/// A node of the user's own: takes records, forwards records, keeps state in the stores that are connected to it.
///
/// **Law.** One instance per task, made by its supplier; it is called by one thread, one record at a time, and may forward only while it
/// is called.
///
/// ```
/// use millstream::{Error, Processor, ProcessorContext, Record, StreamsBuilder, TopologyTestDriver};
///
/// struct Double;
/// impl Processor<String, i64, String, i64> for Double {
///     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> Result<(), Error> {
///         let twice = record.value * 2;
///         context.forward(record.with_value(twice))
///     }
/// }
///
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, i64>("in").process(|| Double, &[]).to("out");
/// let driver = TopologyTestDriver::new(&builder.build().unwrap(), Default::default()).unwrap();
/// driver.input_topic::<String, i64>("in").pipe("a".into(), 21, 0).unwrap();
/// assert_eq!(driver.output_topic::<String, i64>("out").read_key_values().unwrap(), [("a".to_string(), 42)]);
/// ```
pub trait Processor<KIn, VIn, KOut, VOut>: 'static {
    /// Called once before the first record: where stores are opened and punctuators scheduled.
    fn init(&mut self, _: &mut ProcessorContext<'_, KOut, VOut>) -> Result<(), Error> {
        Ok(())
    }
    /// Takes a record.
    fn process(&mut self, context: &mut ProcessorContext<'_, KOut, VOut>, record: Record<KIn, VIn>) -> Result<(), Error>;
    /// Called when a punctuator that [`ProcessorContext::schedule`] has made is due, with the time that it is then.
    fn punctuate(&mut self, _: &mut ProcessorContext<'_, KOut, VOut>, _: &Schedule, _: i64) -> Result<(), Error> {
        Ok(())
    }
    /// Called once after the last record.
    fn close(&mut self) {}
}
