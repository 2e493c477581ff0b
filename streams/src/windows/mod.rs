//! Definitions of windows: which windows a record belongs to, and how late it may come.
//!
//! All sizes are event time in milliseconds. A definition that cannot be (a size of zero, say) is an error of
//! [`build`](crate::StreamsBuilder::build).

mod join;
mod session;
mod sliding;
mod time;
mod unlimited;

pub use join::JoinWindows;
use millstream_topology::Data;
pub use session::SessionWindows;
pub use sliding::SlidingWindows;
pub use time::TimeWindows;
pub use unlimited::UnlimitedWindows;

use crate::{
    CogroupedKStream, KGroupedStream, SessionWindowedCogroupedKStream, TimeWindowedCogroupedKStream,
    windowed_stream::{SessionWindowedKStream, TimeKind, TimeWindowedKStream},
};

/// When a windowed aggregation sends its results (KIP-825).
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let clicks = builder.stream::<String, i64>("clicks").group_by_key();
/// clicks.windowed_by(TimeWindows::of_size_with_no_grace(60_000)).emit_strategy(EmitStrategy::OnWindowClose).count();
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmitStrategy {
    /// At every update.
    #[default]
    OnWindowUpdate,
    /// Once, when the window and its grace are over.
    OnWindowClose,
}

/// A definition of windows, which [`KGroupedStream::windowed_by`] and [`CogroupedKStream::windowed_by`] take.
///
/// ```
/// use millstream::{KGroupedStream, TimeWindowedKStream, TimeWindows, WindowDefinition};
///
/// fn windows<K: millstream::Data, V: millstream::Data, W: WindowDefinition>(clicks: &KGroupedStream<K, V>, of: W) -> W::Stream<K, V> {
///     clicks.windowed_by(of)
/// }
/// ```
pub trait WindowDefinition: Sized {
    /// What a grouped stream becomes.
    type Stream<K: Data, V: Data>;
    /// What a cogroup becomes.
    type Cogrouped<K: Data<Present = K>, A: Data>;
    #[doc(hidden)]
    fn windowed<K: Data, V: Data>(self, grouped: &KGroupedStream<K, V>) -> Self::Stream<K, V>;
    #[doc(hidden)]
    fn cogrouped<K: Data<Present = K>, A: Data>(self, cogrouped: &CogroupedKStream<K, A>) -> Self::Cogrouped<K, A>;
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
            type Cogrouped<K: Data<Present = K>, A: Data> = TimeWindowedCogroupedKStream<K, A>;
            fn cogrouped<K: Data<Present = K>, A: Data>(self, cogrouped: &CogroupedKStream<K, A>) -> Self::Cogrouped<K, A> {
                TimeWindowedCogroupedKStream::new(cogrouped, TimeKind::$kind(self))
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
    type Cogrouped<K: Data<Present = K>, A: Data> = SessionWindowedCogroupedKStream<K, A>;
    fn cogrouped<K: Data<Present = K>, A: Data>(self, cogrouped: &CogroupedKStream<K, A>) -> Self::Cogrouped<K, A> {
        SessionWindowedCogroupedKStream::new(cogrouped, self)
    }
    fn check(&self) -> Result<(), String> {
        self.validate()
    }
}

/// The first of the demands that does not hold.
fn demand(demands: &[(bool, &str)]) -> Result<(), String> {
    demands.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, text)| Err(text.to_string()))
}
