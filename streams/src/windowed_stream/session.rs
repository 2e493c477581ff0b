//! [`SessionWindowedKStream`]: a grouped stream in sessions.

use std::sync::Arc;

use millstream_topology::{Data, DefaultSerde, SerdeRef, SessionWindowedSerde};

use super::Plan;
use crate::{
    Counter, EmitStrategy, KGroupedStream, KTable, SessionWindows, Windowed,
    builder::graph::Grace,
    operator::{Count, Fold, MergingFold, SessionAggregate, SessionAggregateNode, WindowReduce},
    options::{Materialized, Named},
};

/// A grouped stream in [`SessionWindows`], about to be aggregated by key and session.
///
/// **Law.** A record without a key is dropped; one without a value reaches the aggregation (and is counted). When sessions become one, the
/// rows of the old ones are deleted. A row's timestamp is its session's end. A record whose session has closed is dropped.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let clicks = builder.stream::<String, i64>("clicks").group_by_key();
/// let visits = clicks.windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(5)).count();
/// visits.to_stream_with_key(|visit, _| visit.to_string()).to("visits");
/// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// # let input = driver.input_topic("clicks"); for (n, time) in [(1i64, 1), (2, 5), (3, 12)] { input.pipe("a".to_string(), n, time)?; }
/// let visits = driver.output_topic::<String, Option<i64>>("visits").read_key_values()?;
/// let text = |key: &str, count| (key.to_string(), count);
/// // A longer session takes the place of the shorter one.
/// assert_eq!(visits, [text("[a@1/1]", Some(1)), text("[a@1/1]", None), text("[a@1/5]", Some(2)), text("[a@12/12]", Some(1))]);
/// # Ok::<(), Error>(())
/// ```
pub struct SessionWindowedKStream<K: Data, V: Data> {
    grouped: KGroupedStream<K, V>,
    windows: SessionWindows,
    emit: EmitStrategy,
}

impl<K: Data, V: Data> Clone for SessionWindowedKStream<K, V> {
    fn clone(&self) -> Self {
        Self { grouped: self.grouped.clone(), windows: self.windows, emit: self.emit }
    }
}

impl<K: Data, V: Data> SessionWindowedKStream<K, V> {
    pub(crate) fn new(grouped: &KGroupedStream<K, V>, windows: SessionWindows) -> Self {
        Self { grouped: grouped.clone(), windows, emit: EmitStrategy::default() }
    }

    /// When results are sent.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(5));
    /// clicks.emit_strategy(EmitStrategy::OnWindowClose).count().to_stream().to("final");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn emit_strategy(self, emit: EmitStrategy) -> Self {
        Self { emit, ..self }
    }

    /// How many records there are in each session.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(5));
    /// clicks.count().to_stream().to("visits");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count(&self) -> KTable<Windowed<K::Present>, i64> {
        self.count_as(i64::default_serde())
    }

    /// The same, with options; in any type that can count.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(5));
    /// clicks.count_with(Materialized::<_, i64>::store("counts"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_with<C: Counter>(&self, materialized: Materialized<K::Present, C>) -> KTable<Windowed<K::Present>, C> {
        if materialized.store_name.is_none() {
            // Kafka Streams spends a number here, and names of later nodes depend on it.
            self.grouped.stream.builder.graph.borrow_mut().generate_store("KSTREAM-AGGREGATE-");
        }
        self.do_count(materialized)
    }

    /// The same, with a named node.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(5));
    /// clicks.count_named(Named::new("counting"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_named(&self, named: Named) -> KTable<Windowed<K::Present>, i64> {
        self.count_as_named(named, i64::default_serde())
    }

    /// The same as [`count`](Self::count) in another type that can count, also as far as generated names go.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(5));
    /// clicks.count_as(i32::default_serde());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_as<C: Counter>(&self, value: SerdeRef<C>) -> KTable<Windowed<K::Present>, C> {
        self.do_count(Materialized::with_value(value))
    }

    /// The same, with a named node.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(5));
    /// clicks.count_as_named(Named::new("counting"), i32::default_serde());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_as_named<C: Counter>(&self, named: Named, value: SerdeRef<C>) -> KTable<Windowed<K::Present>, C> {
        self.do_count(Materialized::with_value(value).name(named.0))
    }

    fn do_count<C: Counter>(&self, materialized: Materialized<K::Present, C>) -> KTable<Windowed<K::Present>, C> {
        self.aggregate_as("KSTREAM-AGGREGATE-", materialized, None, Count)
    }

    /// Combines the values of each session, beginning with the first; `None` deletes the row.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(5));
    /// clicks.reduce(|most, n| *most.max(n)).to_stream().to("most");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reduce<R>(&self, reducer: impl Fn(&V::Present, &V) -> R + Send + Sync + 'static) -> KTable<Windowed<K::Present>, V::Present>
    where
        R: Data<Present = V::Present>,
    {
        self.reduce_with(reducer, self.grouped.reduced())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(5));
    /// clicks.reduce_with(|most, n| *most.max(n), Materialized::store("most"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reduce_with<R>(
        &self,
        reducer: impl Fn(&V::Present, &V) -> R + Send + Sync + 'static,
        materialized: Materialized<K::Present, V::Present>,
    ) -> KTable<Windowed<K::Present>, V::Present>
    where
        R: Data<Present = V::Present>,
    {
        self.aggregate_as("KSTREAM-REDUCE-", materialized, self.grouped.value.as_ref(), WindowReduce::new(reducer))
    }

    /// Folds the values of each session into an aggregate, beginning with `initializer`, which `merger` unites with those of the sessions
    /// that become one; an aggregate of `None` deletes the row.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(5));
    /// clicks.aggregate(|| 0, |_, n, sum: i64| sum + n, |_, one, other| one + other).to_stream().to("sums");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate<A: DefaultSerde>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K::Present, &V, A) -> A + Send + Sync + 'static,
        merger: impl Fn(&K::Present, A, A) -> A + Send + Sync + 'static,
    ) -> KTable<Windowed<K::Present>, A::Present> {
        self.aggregate_with(initializer, aggregator, merger, Materialized::with_value(A::default_serde()))
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(5));
    /// clicks.aggregate_with(|| 0, |_, n, sum: i64| sum + n, |_, one, other| one + other, Materialized::store("sums"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate_with<A: Data>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K::Present, &V, A) -> A + Send + Sync + 'static,
        merger: impl Fn(&K::Present, A, A) -> A + Send + Sync + 'static,
        materialized: Materialized<K::Present, A::Present>,
    ) -> KTable<Windowed<K::Present>, A::Present> {
        self.aggregate_as("KSTREAM-AGGREGATE-", materialized, None, MergingFold::new(Fold::new(initializer, aggregator), merger))
    }

    fn aggregate_as<A, F>(
        &self,
        prefix: &str,
        materialized: Materialized<K::Present, A>,
        value: Option<&SerdeRef<A>>,
        fold: F,
    ) -> KTable<Windowed<K::Present>, A>
    where
        A: Data<Present = A>,
        F: SessionAggregate<K::Present, V, A>,
    {
        let (store, name) = self.grouped.windowed_names(prefix, &materialized, value);
        let least_ms = self.windows.gap_ms.wrapping_add(self.windows.grace_ms);
        let retention_ms = materialized.retention_ms.unwrap_or(least_ms);
        self.grouped.check_retention(&store.name, retention_ms, least_ms);
        let key = store.key.clone().map(|key| Arc::new(SessionWindowedSerde::new(key)) as SerdeRef<_>);
        let plan = Plan { name, store: store.clone(), key, grace: Grace { ms: least_ms, is_last_included: true } };
        self.grouped.windowed_table(plan, SessionAggregateNode::new(store, self.windows, self.emit, retention_ms, fold))
    }
}
