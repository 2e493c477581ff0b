//! Joins of two tables by a foreign key: a left row names the right row that it is joined with (KIP-213).
//!
//! ```text
//! left table ─► subscribe ─► registration topic ─► receive ─► answer ─┐
//!                                                     │ store         ├─► response topic ─► resolve ─► result
//!                                   right table ─► fan out ───────────┘
//! ```

mod hash;
mod names;
mod nodes;
mod operators;
mod wire;

use std::{cell::OnceCell, collections::BTreeSet, rc::Rc, sync::Arc};

use millstream_topology::{Data, DefaultSerde, StreamPartitioner, Topology};

use self::{
    names::{Names, OUTPUT},
    nodes::{Serdes, Subscriptions, Topic, answer_node, fan_out_node, receive_node, resolve_node, subscribe_node},
    wire::{Response, Subscription},
};
use super::{KTable, StoreSpec, TableSource};
use crate::{
    builder::graph::{GraphNode, Kind, Written},
    options::{Materialized, TableJoined},
};

impl<K: Data<Present = K>, V: Data<Present = V>> KTable<K, V> {
    /// Each row joined with the other table's row of the key that `foreign_key` finds in it; rows without a partner are left out.
    ///
    /// ```
    /// # use millstream::StreamsBuilder;
    /// let builder = StreamsBuilder::new();
    /// let (orders, customers) = (builder.table::<i64, String>("orders"), builder.table::<String, String>("customers"));
    /// let named = orders.foreign_key_join(&customers, |_, customer| customer.clone(), |customer, name| format!("{customer}: {name}"));
    /// named.to_stream().to("named-orders");
    /// assert!(builder.build().is_ok());
    /// ```
    pub fn foreign_key_join<KO, VO, F, R>(
        &self,
        other: &KTable<KO, VO>,
        foreign_key: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        joiner: impl Fn(&V, &VO) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Present>
    where
        K: DefaultSerde,
        V: DefaultSerde,
        KO: DefaultSerde<Present = KO>,
        VO: DefaultSerde<Present = VO>,
        F: Data<Present = KO>,
        R: DefaultSerde,
    {
        self.foreign_key_join_with(other, foreign_key, joiner, TableJoined::new(), Materialized::with_value(R::default_serde()))
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.table::<i64, String>("orders"); let customers = builder.table::<String, String>("customers");
    /// let text = |customer: &String, name: &String| format!("{customer}: {name}");
    /// let (joined, stored) = (TableJoined::new().name("named"), Materialized::store("named"));
    /// orders.foreign_key_join_with(&customers, |_, customer| customer.clone(), text, joined, stored);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn foreign_key_join_with<KO, VO, F, R>(
        &self,
        other: &KTable<KO, VO>,
        foreign_key: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        joiner: impl Fn(&V, &VO) -> R + Send + Sync + 'static,
        tables: TableJoined<K, V, KO, VO>,
        materialized: Materialized<K, R::Present>,
    ) -> KTable<K, R::Present>
    where
        KO: Data<Present = KO>,
        VO: Data<Present = VO>,
        F: Data<Present = KO>,
        R: Data,
    {
        let join = Join {
            foreign_key: move |key: &K, value: &V| foreign_key(key, value).into_present(),
            joiner: move |left: &V, right: Option<&VO>| joiner(left, right?).into_present(),
            is_left: false,
        };
        self.join_by_foreign_key(other, join, tables, &materialized)
    }

    /// Each row joined with the other table's row of the key that `foreign_key` finds in it, if there is one.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.table::<i64, String>("orders"); let customers = builder.table::<String, String>("customers");
    /// let text = |customer: &String, name: Option<&String>| format!("{customer}: {name:?}");
    /// orders.foreign_key_left_join(&customers, |_, customer| customer.clone(), text).to_stream().to("named-orders");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn foreign_key_left_join<KO, VO, F, R>(
        &self,
        other: &KTable<KO, VO>,
        foreign_key: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        joiner: impl Fn(&V, Option<&VO>) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Present>
    where
        K: DefaultSerde,
        V: DefaultSerde,
        KO: DefaultSerde<Present = KO>,
        VO: DefaultSerde<Present = VO>,
        F: Data<Present = KO>,
        R: DefaultSerde,
    {
        self.foreign_key_left_join_with(other, foreign_key, joiner, TableJoined::new(), Materialized::with_value(R::default_serde()))
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.table::<i64, String>("orders"); let customers = builder.table::<String, String>("customers");
    /// let text = |customer: &String, name: Option<&String>| format!("{customer}: {name:?}");
    /// let (joined, stored) = (TableJoined::new().name("named"), Materialized::store("named"));
    /// orders.foreign_key_left_join_with(&customers, |_, customer| customer.clone(), text, joined, stored);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn foreign_key_left_join_with<KO, VO, F, R>(
        &self,
        other: &KTable<KO, VO>,
        foreign_key: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        joiner: impl Fn(&V, Option<&VO>) -> R + Send + Sync + 'static,
        tables: TableJoined<K, V, KO, VO>,
        materialized: Materialized<K, R::Present>,
    ) -> KTable<K, R::Present>
    where
        KO: Data<Present = KO>,
        VO: Data<Present = VO>,
        F: Data<Present = KO>,
        R: Data,
    {
        let join = Join {
            foreign_key: move |key: &K, value: &V| foreign_key(key, value).into_present(),
            joiner: move |left: &V, right: Option<&VO>| joiner(left, right).into_present(),
            is_left: true,
        };
        self.join_by_foreign_key(other, join, tables, &materialized)
    }

    fn join_by_foreign_key<KO, VO, W>(
        &self,
        other: &KTable<KO, VO>,
        join: Join<impl Fn(&K, &V) -> Option<KO> + Send + Sync + 'static, impl Fn(&V, Option<&VO>) -> Option<W> + Send + Sync + 'static>,
        tables: TableJoined<K, V, KO, VO>,
        materialized: &Materialized<K, W>,
    ) -> KTable<K, W>
    where
        KO: Data<Present = KO>,
        VO: Data<Present = VO>,
        W: Data<Present = W>,
    {
        other.table.send_old_values(true);
        self.table.send_old_values(true);
        let mut graph = self.builder.graph.borrow_mut();
        let names = Names::new(&mut graph, tables.name.as_deref());
        let serdes = Arc::new(Serdes {
            join: names.subscribe.clone(),
            key: tables.key.resolve(self.key.as_ref()),
            value: tables.value.resolve(self.value.as_ref()),
            other_key: tables.other_key.resolve(other.key.as_ref()),
            other_value: tables.other_value.resolve(other.value.as_ref()),
        });
        let subscriptions = Subscriptions {
            name: names.store.clone(),
            serdes: serdes.clone(),
            store_type: self.builder.config.store_type,
            def: OnceCell::new(),
        };
        let (subscriptions, joiner) = (Rc::new(subscriptions), Arc::new(join.joiner));

        let registered = {
            let to = subscribe_node(&names, serdes.clone(), Arc::new(join.foreign_key), join.is_left);
            let to = graph.add(&[self.node], to);
            let partitioner = tables.other_partitioner.map(|choose| -> StreamPartitioner<Option<KO>, Subscription<K>> {
                Arc::new(move |topic, key, _, partitions| choose(topic, key.as_ref(), partitions).map(|partition| vec![partition]))
            });
            let serdes = serdes.clone();
            let topic = Topic { sink: &names.registration_sink, topic: &names.registration, source: &names.registration_source };
            topic.add(&mut graph, &[to], move || Ok((serdes.other_key()?, serdes.subscription()?)), partitioner)
        };
        let with_right: BTreeSet<_> = other.sources.iter().cloned().chain([names.registration_source.clone()]).collect();
        graph.copartitioned.push(with_right);

        let received = graph.add(&[registered], receive_node(&names, subscriptions.clone()));
        let answered = graph.add(&[received], answer_node::<K, KO, VO>(&names, other));
        let fanned_out = graph.add(&[other.node], fan_out_node(&names, subscriptions));

        let responded = {
            let chosen = tables.partitioner;
            let partitioner: StreamPartitioner<K, Response<VO>> = Arc::new(move |topic, key, response, partitions| {
                let partition = match &chosen {
                    Some(choose) => choose(topic, key, partitions),
                    None => response.partition,
                };
                partition.map(|partition| vec![partition])
            });
            let serdes = serdes.clone();
            let topic = Topic { sink: &names.response_sink, topic: &names.response, source: &names.response_source };
            let parents = [answered, fanned_out];
            topic.add(&mut graph, &parents, move || Ok((serdes.key()?, serdes.response()?)), Some(partitioner))
        };
        let sources: BTreeSet<_> = self.sources.iter().cloned().chain([names.response_source.clone()]).collect();
        graph.copartitioned.push(sources.clone());
        let resolved = graph.add(&[responded], resolve_node(&names, self, serdes, joiner));

        let name = names.result(&mut graph);
        let store = StoreSpec::new(&mut graph, OUTPUT, materialized, self.key.as_ref(), None, &self.builder.config);
        let table = TableSource::new(store.clone());
        let write_table = table.write::<K, Option<W>>(name.clone());
        let mut node = GraphNode::new(name.clone(), Kind::Plain, move |topology: &mut Topology, written: &Written| {
            write_table(topology, &written.parents, false)
        });
        node.output_versioned = Some(store.is_versioned());
        let node = graph.add(&[resolved], node);
        let derived = self.derived(name, node, (self.key.clone(), store.value.clone()), store.queryable(), Rc::new(table));
        KTable { sources, ..derived }
    }
}

struct Join<F, J> {
    foreign_key: F,
    joiner: J,
    is_left: bool,
}
