use std::sync::Arc;

use millstream_topology::{DefaultSerde, SerdeRef};

use super::SerdeChoice;

/// How two tables are joined by a foreign key (KIP-213, KIP-775): a left table of keys `K` and values `V` with a right one of `KO`, `VO`.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let (orders, customers) = (builder.table::<i64, String>("orders"), builder.table::<String, String>("customers"));
/// let text = |customer: &String, name: &String| format!("{customer}: {name}");
/// let (joined, stored) = (TableJoined::new().name("named"), Materialized::store("named"));
/// orders.foreign_key_join_with(&customers, |_, customer| customer.clone(), text, joined, stored);
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
pub struct TableJoined<K, V, KO, VO> {
    pub(crate) name: Option<String>,
    pub(crate) key: SerdeChoice<K>,
    pub(crate) value: SerdeChoice<V>,
    pub(crate) other_key: SerdeChoice<KO>,
    pub(crate) other_value: SerdeChoice<VO>,
    pub(crate) partitioner: Option<Arc<dyn Fn(&str, &K, i32) -> Option<i32> + Send + Sync>>,
    pub(crate) other_partitioner: Option<Arc<dyn Fn(&str, Option<&KO>, i32) -> Option<i32> + Send + Sync>>,
}

impl<K, V, KO, VO> TableJoined<K, V, KO, VO>
where
    K: DefaultSerde<Present = K>,
    V: DefaultSerde<Present = V>,
    KO: DefaultSerde<Present = KO>,
    VO: DefaultSerde<Present = VO>,
{
    /// With the serdes that came with the tables, or those of the types.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = TableJoined::<i64, String, String, String>::new();
    /// ```
    pub fn new() -> Self {
        Self::of(SerdeChoice::of_type::<K>(), SerdeChoice::of_type::<V>(), SerdeChoice::of_type::<KO>(), SerdeChoice::of_type::<VO>())
    }
}

impl<K, V, KO, VO> Default for TableJoined<K, V, KO, VO>
where
    K: DefaultSerde<Present = K>,
    V: DefaultSerde<Present = V>,
    KO: DefaultSerde<Present = KO>,
    VO: DefaultSerde<Present = VO>,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V, KO, VO> TableJoined<K, V, KO, VO> {
    /// With these serdes: of the left table, and of the right one.
    ///
    /// ```
    /// # use millstream::*;
    /// let text = String::default_serde;
    /// let options = TableJoined::with((i64::default_serde(), text()), (text(), text()));
    /// ```
    pub fn with((key, value): (SerdeRef<K>, SerdeRef<V>), (other_key, other_value): (SerdeRef<KO>, SerdeRef<VO>)) -> Self {
        let (key, value) = (SerdeChoice::chosen(key), SerdeChoice::chosen(value));
        Self::of(key, value, SerdeChoice::chosen(other_key), SerdeChoice::chosen(other_value))
    }

    fn of(key: SerdeChoice<K>, value: SerdeChoice<V>, other_key: SerdeChoice<KO>, other_value: SerdeChoice<VO>) -> Self {
        Self { name: None, key, value, other_key, other_value, partitioner: None, other_partitioner: None }
    }

    /// Names the join: its nodes, topics and stores begin with it.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = TableJoined::<i64, String, String, String>::new().name("named");
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Chooses the partition of a left key, given the topic and how many partitions it has: the one in which the left table has the key.
    /// `None` leaves it to the key's hash.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = TableJoined::<i64, String, String, String>::new().partitioner(|_, id, n| Some((*id % i64::from(n)) as i32));
    /// ```
    pub fn partitioner(self, partitioner: impl Fn(&str, &K, i32) -> Option<i32> + Send + Sync + 'static) -> Self {
        Self { partitioner: Some(Arc::new(partitioner)), ..self }
    }

    /// Chooses the partition of a right key: the one in which the right table has it. The key is null where a left row has none.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = TableJoined::<i64, String, String, String>::new().other_partitioner(|_, _, _| Some(0));
    /// ```
    pub fn other_partitioner(self, partitioner: impl Fn(&str, Option<&KO>, i32) -> Option<i32> + Send + Sync + 'static) -> Self {
        Self { other_partitioner: Some(Arc::new(partitioner)), ..self }
    }
}
