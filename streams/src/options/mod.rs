//! The options of DSL calls, with the JVM's names.

mod consumed;
mod grouped;
mod joined;
mod materialized;
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
pub use produced::Produced;
pub(crate) use serdes::SerdeChoice;
pub use stream_joined::StreamJoined;
pub use suppressed::{BufferConfig, EagerBufferConfig, StrictBufferConfig, Suppressed};
pub use table_joined::TableJoined;

/// The name of a node.
#[derive(Clone, Debug)]
pub struct Named(pub(crate) String);

impl Named {
    /// A node of that name: 1 to 249 letters, digits, dots, underscores and hyphens.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}
