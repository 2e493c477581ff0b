//! [`TimeWindowedKStream`]: a grouped stream in time windows.

use std::sync::Arc;

use millstream_topology::{Data, DefaultSerde, ErrorKind, SerdeRef, TimeWindowedSerde, store::bytes::WindowOrder};

use super::Plan;
use crate::{
    Counter, EmitStrategy, KGroupedStream, KTable, SlidingWindows, TimeWindows, UnlimitedWindows, Windowed,
    builder::graph::Grace,
    operator::{Aggregate, Count, Fold, SlidingAggregateNode, WindowAggregateNode, WindowReduce},
    options::{Materialized, Named},
};

/// The kinds of windows that are stored by their start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimeKind {
    Time(TimeWindows),
    Sliding(SlidingWindows),
    Unlimited(UnlimitedWindows),
}

impl TimeKind {
    pub fn size_ms(&self) -> i64 {
        match self {
            Self::Time(windows) => windows.size_ms,
            Self::Sliding(windows) => windows.time_difference_ms,
            Self::Unlimited(_) => i64::MAX,
        }
    }

    pub fn grace(&self) -> Grace {
        Grace { ms: self.grace_ms(), is_last_included: matches!(self, Self::Sliding(_)) }
    }

    pub fn grace_ms(&self) -> i64 {
        match self {
            Self::Time(windows) => windows.grace_ms,
            Self::Sliding(windows) => windows.grace_ms,
            Self::Unlimited(_) => 0,
        }
    }

    /// How long a store keeps windows unless the user says otherwise, and at least.
    pub fn retention_ms(&self) -> i64 {
        match self {
            Self::Sliding(windows) => windows.time_difference_ms.wrapping_mul(2).wrapping_add(windows.grace_ms),
            kind => kind.size_ms().wrapping_add(kind.grace_ms()),
        }
    }

    /// The order of a store on disk.
    pub fn order(&self, emit: EmitStrategy) -> WindowOrder {
        match (emit, self) {
            (EmitStrategy::OnWindowUpdate, _) => WindowOrder::Key,
            (EmitStrategy::OnWindowClose, Self::Sliding(_)) => WindowOrder::TimeIndexed,
            (EmitStrategy::OnWindowClose, _) => WindowOrder::Time,
        }
    }
}

/// A grouped stream in [`TimeWindows`], [`SlidingWindows`] or [`UnlimitedWindows`], about to be aggregated by key and window.
///
/// **Law.** A record without a key is dropped; one without a value reaches the aggregation (and is counted), except in sliding windows. A
/// record that comes after a window has closed does not change it, and is counted as dropped once for each such window. A row's timestamp
/// is the highest of its records.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let clicks = builder.stream::<String, i64>("clicks").group_by_key();
/// let sums = clicks.windowed_by(TimeWindows::of_size_with_no_grace(10)).reduce(|sum, n| sum + n);
/// sums.to_stream_with_key(|window, _| window.to_string()).to("sums");
/// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// # let input = driver.input_topic("clicks"); for (n, time) in [(1i64, 1), (2, 5), (3, 12)] { input.pipe("a".to_string(), n, time)?; }
/// let sums = driver.output_topic::<String, i64>("sums").read_key_values()?;
/// assert_eq!(sums, [("[a@0/10]".to_string(), 1), ("[a@0/10]".to_string(), 3), ("[a@10/20]".to_string(), 3)]);
/// # Ok::<(), Error>(())
/// ```
pub struct TimeWindowedKStream<K: Data, V: Data> {
    grouped: KGroupedStream<K, V>,
    kind: TimeKind,
    emit: EmitStrategy,
}

impl<K: Data, V: Data> Clone for TimeWindowedKStream<K, V> {
    fn clone(&self) -> Self {
        Self { grouped: self.grouped.clone(), kind: self.kind, emit: self.emit }
    }
}

impl<K: Data, V: Data> TimeWindowedKStream<K, V> {
    pub(crate) fn new(grouped: &KGroupedStream<K, V>, kind: TimeKind) -> Self {
        Self { grouped: grouped.clone(), kind, emit: EmitStrategy::default() }
    }

    /// When results are sent. An unlimited window never closes.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(10));
    /// clicks.emit_strategy(EmitStrategy::OnWindowClose).count().to_stream().to("final");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("clicks"); for (n, time) in [(1i64, 1), (2, 5), (3, 12)] { input.pipe("a".to_string(), n, time)?; }
    /// assert_eq!(driver.output_topic::<Windowed<String>, i64>("final").read_values()?, [2]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn emit_strategy(self, emit: EmitStrategy) -> Self {
        if emit == EmitStrategy::OnWindowClose && matches!(self.kind, TimeKind::Unlimited(_)) {
            let text = format!("{}: an unlimited window never closes: emit on update", self.grouped.stream.name);
            self.grouped.stream.builder.graph.borrow_mut().fail(ErrorKind::IllegalArgument, text);
        }
        Self { emit, ..self }
    }

    /// How many records there are of each key in each window.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(10));
    /// clicks.count().to_stream().to("counts");
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
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(10));
    /// clicks.count_with(Materialized::<_, i64>::store("counts"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn count_with<C: Counter>(&self, materialized: Materialized<K::Present, C>) -> KTable<Windowed<K::Present>, C> {
        if materialized.store_name.is_none() && !matches!(self.kind, TimeKind::Sliding(_)) {
            // Kafka Streams spends a number here, and names of later nodes depend on it.
            self.grouped.stream.builder.graph.borrow_mut().generate_store("KSTREAM-AGGREGATE-");
        }
        self.do_count(materialized)
    }

    /// The same, with a named node.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(10));
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
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(10));
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
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(10));
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

    /// Combines the values of each key in each window, beginning with the first; `None` deletes the row.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(10));
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
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(10));
    /// clicks.reduce_with(|most, n| *most.max(n), Materialized::store("most").retention_ms(86_400_000));
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

    /// Folds the values of each key in each window into an aggregate, beginning with `initializer`; an aggregate of `None` deletes the row.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(10));
    /// clicks.aggregate(String::new, |_, n, text| format!("{text}{n};")).to_stream().to("texts");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate<A: DefaultSerde>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K::Present, &V, A) -> A + Send + Sync + 'static,
    ) -> KTable<Windowed<K::Present>, A::Present> {
        self.aggregate_with(initializer, aggregator, Materialized::with_value(A::default_serde()))
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let clicks = builder.stream::<String, i64>("clicks").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(10));
    /// clicks.aggregate_with(|| 0, |_, n, sum: i64| sum + n, Materialized::store("sums"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate_with<A: Data>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K::Present, &V, A) -> A + Send + Sync + 'static,
        materialized: Materialized<K::Present, A::Present>,
    ) -> KTable<Windowed<K::Present>, A::Present> {
        self.aggregate_as("KSTREAM-AGGREGATE-", materialized, None, Fold::new(initializer, aggregator))
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
        F: Aggregate<K::Present, V, A>,
    {
        let (store, name) = self.grouped.windowed_names(prefix, &materialized, value);
        let retention_ms = materialized.retention_ms.unwrap_or(self.kind.retention_ms());
        self.grouped.check_retention(&store.name, retention_ms, self.kind.retention_ms());
        let size_ms = self.kind.size_ms();
        let key = store.key.clone().map(|key| Arc::new(TimeWindowedSerde::new(key, size_ms)) as SerdeRef<_>);
        let plan = Plan { name, store: store.clone(), key, grace: self.kind.grace() };
        match self.kind {
            TimeKind::Sliding(windows) => {
                self.grouped.windowed_table(plan, SlidingAggregateNode::new(store, windows, self.emit, retention_ms, fold))
            }
            kind => self.grouped.windowed_table(plan, WindowAggregateNode::new(store, kind, self.emit, retention_ms, fold)),
        }
    }
}
