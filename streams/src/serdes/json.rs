//! Keys and values as JSON.

use std::{marker::PhantomData, sync::Arc};

use bytes::Bytes;
use millstream_topology::{DefaultSerde, Serde, SerdeError, SerdeRef};
use serde::{Serialize, de::DeserializeOwned};

/// A key or value that is written as JSON, without spaces. It dereferences to what is in it.
///
/// ```
/// use millstream::{Json, StreamsBuilder, TopologyTestDriver};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Order { id: u32, amount: i64 }
///
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, Json<Order>>("orders").map_values(|order| order.amount).to("amounts");
/// let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// driver.input_topic::<String, String>("orders").pipe("a".into(), r#"{"id": 7, "amount": 12}"#.into(), 0)?;
/// assert_eq!(driver.output_topic::<String, i64>("amounts").read_key_values()?, [("a".to_string(), 12)]);
///
/// let text = driver.input_topic::<String, String>("orders").pipe("a".into(), r#"{"id": "seven"}"#.into(), 1).unwrap_err().to_string();
/// assert!(text.ends_with("Order from JSON: invalid type: string \"seven\", expected u32 at line 1 column 14"), "{text}");
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json<T>(pub T);
super::newtype!(Json);

struct JsonSerde<T>(PhantomData<fn() -> T>);

impl<T: Serialize + DeserializeOwned + 'static> Json<T> {
    /// The serde of a type that is not wrapped: for options.
    ///
    /// ```
    /// use millstream::Json;
    /// assert_eq!(Json::<Vec<u32>>::serde().serialize(&vec![1, 2]).unwrap().as_ref(), b"[1,2]");
    /// ```
    pub fn serde() -> SerdeRef<T> {
        Arc::new(JsonSerde(PhantomData))
    }
}

impl<T: Serialize + DeserializeOwned> Serde<T> for JsonSerde<T> {
    fn serialize(&self, value: &T) -> Result<Bytes, SerdeError> {
        serde_json::to_vec(value).map(Bytes::from).map_err(|error| SerdeError(format!("{} to JSON: {error}", std::any::type_name::<T>())))
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<T, SerdeError> {
        self.deserialize_slice(bytes)
    }
    fn deserialize_slice(&self, bytes: &[u8]) -> Result<T, SerdeError> {
        serde_json::from_slice(bytes).map_err(|error| SerdeError(format!("{} from JSON: {error}", std::any::type_name::<T>())))
    }
}

impl<T: Serialize + DeserializeOwned> Serde<Json<T>> for JsonSerde<T> {
    fn serialize(&self, value: &Json<T>) -> Result<Bytes, SerdeError> {
        Serde::<T>::serialize(self, &value.0)
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<Json<T>, SerdeError> {
        self.deserialize_slice(bytes)
    }
    fn deserialize_slice(&self, bytes: &[u8]) -> Result<Json<T>, SerdeError> {
        Serde::<T>::deserialize_slice(self, bytes).map(Json)
    }
}

impl<T: Serialize + DeserializeOwned + Clone + 'static> DefaultSerde for Json<T> {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(JsonSerde::<T>(PhantomData))
    }
}
