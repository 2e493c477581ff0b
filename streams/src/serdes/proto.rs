//! Keys and values as Protocol Buffers.

use std::{marker::PhantomData, sync::Arc};

use bytes::Bytes;
use millstream_topology::{DefaultSerde, Serde, SerdeError, SerdeRef};
use prost::Message;

/// A key or value that is written as a Protocol Buffers message, without anything before it. It dereferences to what is in it.
///
/// ```
/// use millstream::{Proto, StreamsBuilder, TopologyTestDriver};
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Order {
///     #[prost(int64, tag = "1")]
///     amount: i64,
/// }
///
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, Proto<Order>>("orders").map_values(|order| order.amount).to("amounts");
/// let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// driver.input_topic::<String, Proto<Order>>("orders").pipe("a".into(), Order { amount: 12 }.into(), 0)?;
/// assert_eq!(driver.output_topic::<String, i64>("amounts").read_key_values()?, [("a".to_string(), 12)]);
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proto<T>(pub T);
super::newtype!(Proto);

struct ProtoSerde<T>(PhantomData<fn() -> T>);

impl<T: Message + Default + 'static> Proto<T> {
    /// The serde of a message that is not wrapped: for options.
    ///
    /// ```
    /// use millstream::Proto;
    /// assert_eq!(Proto::<u32>::serde().serialize(&150).unwrap().as_ref(), [0x08, 0x96, 0x01]);
    /// ```
    pub fn serde() -> SerdeRef<T> {
        Arc::new(ProtoSerde(PhantomData))
    }
}

impl<T: Message + Default> Serde<T> for ProtoSerde<T> {
    fn serialize(&self, value: &T) -> Result<Bytes, SerdeError> {
        Ok(value.encode_to_vec().into())
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<T, SerdeError> {
        T::decode(bytes.clone())
            .map_err(|error| SerdeError(format!("{} from {} bytes of Protocol Buffers: {error}", std::any::type_name::<T>(), bytes.len())))
    }
}

impl<T: Message + Default> Serde<Proto<T>> for ProtoSerde<T> {
    fn serialize(&self, value: &Proto<T>) -> Result<Bytes, SerdeError> {
        Serde::<T>::serialize(self, &value.0)
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<Proto<T>, SerdeError> {
        Serde::<T>::deserialize(self, bytes).map(Proto)
    }
}

impl<T: Message + Default + Clone + 'static> DefaultSerde for Proto<T> {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(ProtoSerde::<T>(PhantomData))
    }
}
