//! Definitions of windows: which windows a record belongs to, and how late it may come.
//!
//! All sizes are event time in milliseconds. A definition that cannot be (a size of zero, say) is an error of
//! [`build`](crate::StreamsBuilder::build).

mod join;
mod session;
mod sliding;
mod time;
mod unlimited;

use millstream_topology::Data;
pub use join::JoinWindows;
pub use session::SessionWindows;
pub use sliding::SlidingWindows;
pub use time::TimeWindows;
pub use unlimited::UnlimitedWindows;

use crate::{
    KGroupedStream,
    windowed_stream::{SessionWindowedKStream, TimeKind, TimeWindowedKStream},
};

/// When a windowed aggregation sends its results (KIP-825).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmitStrategy {
    /// At every update.
    #[default]
    OnWindowUpdate,
    /// Once, when the window and its grace are over.
    OnWindowClose,
}

/// A definition of windows, which [`KGroupedStream::windowed_by`] takes.
pub trait WindowDefinition: Sized {
    /// What a grouped stream becomes.
    type Stream<K: Data, V: Data>;
    #[doc(hidden)]
    fn windowed<K: Data, V: Data>(self, grouped: &KGroupedStream<K, V>) -> Self::Stream<K, V>;
    /// Why there are no such windows, if so.
    #[doc(hidden)]
    fn check(&self) -> Result<(), String>;
}

macro_rules! time_definition {
    ($($windows:ident => $kind:ident),*) => { $(
        impl WindowDefinition for $windows {
            type Stream<K: Data, V: Data> = TimeWindowedKStream<K, V>;
            fn windowed<K: Data, V: Data>(self, grouped: &KGroupedStream<K, V>) -> TimeWindowedKStream<K, V> {
                TimeWindowedKStream::new(grouped, TimeKind::$kind(self))
            }
            fn check(&self) -> Result<(), String> {
                self.validate()
            }
        }
    )* };
}
time_definition!(TimeWindows => Time, SlidingWindows => Sliding, UnlimitedWindows => Unlimited);

impl WindowDefinition for SessionWindows {
    type Stream<K: Data, V: Data> = SessionWindowedKStream<K, V>;
    fn windowed<K: Data, V: Data>(self, grouped: &KGroupedStream<K, V>) -> SessionWindowedKStream<K, V> {
        SessionWindowedKStream::new(grouped, self)
    }
    fn check(&self) -> Result<(), String> {
        self.validate()
    }
}

/// The first of the demands that does not hold.
fn demand(demands: &[(bool, &str)]) -> Result<(), String> {
    demands.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, text)| Err(text.to_string()))
}
