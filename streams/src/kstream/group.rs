//! Grouping by key.

use millstream_topology::{Data, DefaultSerde};

use super::KStream;
use crate::{
    KGroupedStream,
    options::{Grouped, Named},
};

impl<K: Data, V: Data> KStream<K, V> {
    /// Groups by the key as it is.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.group_by_key().count().to_stream().to("counts");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// assert_eq!(driver.output_topic::<String, i64>("counts").read_key_values()?, [("a".to_string(), 1)]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn group_by_key(&self) -> KGroupedStream<K, V>
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.group_by_key_with(Grouped::new())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.group_by_key_with(Grouped::new().name("orders-by-id")).count();
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn group_by_key_with(&self, grouped: Grouped<K, V>) -> KGroupedStream<K, V> {
        KGroupedStream::new(self.clone(), grouped)
    }

    /// Groups by a new key; always repartitions.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// let counts = orders.group_by(|_, amount| amount / 100).count();
    /// counts.to_stream().to("counts");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn group_by<L: DefaultSerde>(&self, selector: impl Fn(&K, &V) -> L + Send + Sync + 'static) -> KGroupedStream<L, V>
    where
        V: DefaultSerde,
    {
        self.group_by_with(selector, Grouped::new())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.group_by_with(|_, amount| amount / 100, Grouped::new().name("by-hundreds")).count();
    /// assert!(builder.build()?.internal_topics().contains_key("by-hundreds-repartition"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn group_by_with<L: Data>(
        &self,
        selector: impl Fn(&K, &V) -> L + Send + Sync + 'static,
        grouped: Grouped<L, V>,
    ) -> KGroupedStream<L, V> {
        let named = grouped.name.clone().map(Named);
        KGroupedStream::new(self.select_key_as(named.as_ref(), selector), grouped)
    }
}
