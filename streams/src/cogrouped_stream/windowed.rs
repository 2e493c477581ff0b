//! Cogroups in windows.

use std::sync::Arc;

use millstream_topology::{Data, DefaultSerde, SerdeRef, SessionWindowedSerde, TimeWindowedSerde, Windowed};

use super::{CogroupedKStream, Initializer, Plan, input::Merger};
use crate::{
    KTable, SessionWindows,
    builder::graph::Grace,
    options::Materialized,
    windowed_stream::{TimeKind, check_retention},
};

/// A cogroup in [`TimeWindows`](crate::TimeWindows), [`SlidingWindows`](crate::SlidingWindows) or
/// [`UnlimitedWindows`](crate::UnlimitedWindows).
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// # let paid = builder.stream::<String, i64>("paid").group_by_key(); let notes = builder.stream::<String, String>("notes").group_by_key(); let both = paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1);
/// both.windowed_by(SlidingWindows::of_time_difference_with_no_grace(60_000)).aggregate(|| 0).to_stream().to("sums");
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
pub struct TimeWindowedCogroupedKStream<K: Data<Present = K>, A: Data> {
    cogrouped: CogroupedKStream<K, A>,
    kind: TimeKind,
}

impl<K: Data<Present = K>, A: Data> Clone for TimeWindowedCogroupedKStream<K, A> {
    fn clone(&self) -> Self {
        Self { cogrouped: self.cogrouped.clone(), kind: self.kind }
    }
}

impl<K: Data<Present = K>, A: Data> TimeWindowedCogroupedKStream<K, A> {
    pub(crate) fn new(cogrouped: &CogroupedKStream<K, A>, kind: TimeKind) -> Self {
        Self { cogrouped: cogrouped.clone(), kind }
    }

    /// Folds the records of all streams in each window; an aggregate of `None` deletes the row.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let paid = builder.stream::<String, i64>("paid").group_by_key(); let notes = builder.stream::<String, String>("notes").group_by_key(); let both = paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1);
    /// both.windowed_by(TimeWindows::of_size_with_no_grace(60_000)).aggregate(|| 0).to_stream().to("sums");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate(&self, initializer: impl Fn() -> A + Send + Sync + 'static) -> KTable<Windowed<K>, A::Present>
    where
        A: DefaultSerde,
    {
        self.aggregate_with(initializer, Materialized::with_value(A::default_serde()))
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let paid = builder.stream::<String, i64>("paid").group_by_key(); let notes = builder.stream::<String, String>("notes").group_by_key(); let both = paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1);
    /// both.windowed_by(TimeWindows::of_size_with_no_grace(60_000)).aggregate_with(|| 0, Materialized::store("sums"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate_with(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        materialized: Materialized<K, A::Present>,
    ) -> KTable<Windowed<K>, A::Present> {
        let (store, initializer): (_, Initializer<A>) = (self.cogrouped.store(&materialized), Arc::new(initializer));
        let (kind, least_ms) = (self.kind, self.kind.retention_ms());
        let retention_ms = materialized.retention_ms.unwrap_or(least_ms);
        check_retention(&self.cogrouped.builder, &store.name, retention_ms, least_ms);
        let key = store.key.clone().map(|key| Arc::new(TimeWindowedSerde::new(key, kind.size_ms())) as SerdeRef<_>);
        let plan = Plan { store: store.clone(), key, versioned: None, grace: Some(kind.grace()) };
        let named = materialized.node_name.as_deref();
        self.cogrouped.table(plan, named, |input| input.time(&store, &initializer, kind, retention_ms))
    }
}

/// A cogroup in [`SessionWindows`].
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// # let paid = builder.stream::<String, i64>("paid").group_by_key(); let notes = builder.stream::<String, String>("notes").group_by_key(); let both = paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1);
/// let sessions = both.windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(60_000));
/// sessions.aggregate(|| 0, |_, one, other| one + other).to_stream().to("sums");
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
pub struct SessionWindowedCogroupedKStream<K: Data<Present = K>, A: Data> {
    cogrouped: CogroupedKStream<K, A>,
    windows: SessionWindows,
}

impl<K: Data<Present = K>, A: Data> Clone for SessionWindowedCogroupedKStream<K, A> {
    fn clone(&self) -> Self {
        Self { cogrouped: self.cogrouped.clone(), windows: self.windows }
    }
}

impl<K: Data<Present = K>, A: Data> SessionWindowedCogroupedKStream<K, A> {
    pub(crate) fn new(cogrouped: &CogroupedKStream<K, A>, windows: SessionWindows) -> Self {
        Self { cogrouped: cogrouped.clone(), windows }
    }

    /// Folds the records of all streams in each session; `merger` unites the aggregates of sessions that become one. An aggregate of
    /// `None` deletes the row.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let paid = builder.stream::<String, i64>("paid").group_by_key(); let notes = builder.stream::<String, String>("notes").group_by_key(); let both = paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1);
    /// let sessions = both.windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(60_000));
    /// sessions.aggregate(|| 0, |_, one, other| one + other);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        merger: impl Fn(&K, A, A) -> A + Send + Sync + 'static,
    ) -> KTable<Windowed<K>, A::Present>
    where
        A: DefaultSerde,
    {
        self.aggregate_with(initializer, merger, Materialized::with_value(A::default_serde()))
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let paid = builder.stream::<String, i64>("paid").group_by_key(); let notes = builder.stream::<String, String>("notes").group_by_key(); let both = paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1);
    /// let sessions = both.windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(60_000));
    /// sessions.aggregate_with(|| 0, |_, one, other| one + other, Materialized::store("sums"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate_with(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        merger: impl Fn(&K, A, A) -> A + Send + Sync + 'static,
        materialized: Materialized<K, A::Present>,
    ) -> KTable<Windowed<K>, A::Present> {
        let store = self.cogrouped.store(&materialized);
        let (initializer, merger): (Initializer<A>, Merger<K, A>) = (Arc::new(initializer), Arc::new(merger));
        let (windows, least_ms) = (self.windows, self.windows.gap_ms.wrapping_add(self.windows.grace_ms));
        let retention_ms = materialized.retention_ms.unwrap_or(least_ms);
        check_retention(&self.cogrouped.builder, &store.name, retention_ms, least_ms);
        let key = store.key.clone().map(|key| Arc::new(SessionWindowedSerde::new(key)) as SerdeRef<_>);
        let plan = Plan { store: store.clone(), key, versioned: None, grace: Some(Grace { ms: least_ms, is_last_included: true }) };
        let named = materialized.node_name.as_deref();
        self.cogrouped.table(plan, named, |input| input.sessions(&store, (&initializer, &merger), windows, retention_ms))
    }
}
