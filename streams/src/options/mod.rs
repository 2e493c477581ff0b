//! The options of DSL calls, with the JVM's names.

mod consumed;
mod grouped;
mod joined;
mod materialized;
mod printed;
mod produced;
mod serdes;
mod stream_joined;
mod suppressed;
mod table_joined;

pub use consumed::Consumed;
pub use grouped::{Branched, Grouped, Repartitioned};
pub use joined::Joined;
pub use materialized::Materialized;
pub(crate) use materialized::Versioned;
pub(crate) use printed::PrintTo;
pub use printed::Printed;
pub use produced::Produced;
pub(crate) use serdes::SerdeChoice;
pub use stream_joined::StreamJoined;
pub use suppressed::{BufferConfig, EagerBufferConfig, StrictBufferConfig, Suppressed};
pub use table_joined::TableJoined;

/// The name of a node.
///
/// ```
/// use millstream::{Named, StreamsBuilder};
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, i64>("orders").filter_named(Named::new("large"), |_, amount| *amount > 100).to("large-orders");
/// assert!(builder.build()?.describe().contains("Processor: large"));
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Named(pub(crate) String);

impl Named {
    /// A node of that name: 1 to 249 letters, digits, dots, underscores and hyphens.
    ///
    /// ```
    /// # use millstream::*;
    /// let name = Named::new("large-orders");
    /// ```
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}
