//! Avro with a schema registry, as Confluent's serializers write it. Behind the feature `avro`.
//!
//! A key or value is a zero, the number of its writer's schema in four bytes, and its body in Avro's binary encoding.

mod registry;

use std::{any::type_name, marker::PhantomData, sync::Arc};

use apache_avro::{Schema, from_value, reader::datum::GenericDatumReader, to_value, writer::datum::GenericDatumWriter};
use bytes::{BufMut, Bytes, BytesMut};
use millstream_topology::{Serde, SerdeError, SerdeRef};
pub use registry::{RegistryError, SchemaRegistry};
use serde::{Serialize, de::DeserializeOwned};

const MAGIC: u8 = 0;

/// The serde of a type that is written by an Avro schema, registered under a subject: by convention the topic's name and `-key` or
/// `-value`.
///
/// **Law.** What is written has the number of this schema. What is read may have any: its schema is looked up, and resolved into this one
/// by Avro's rules of evolution.
///
/// ```no_run
/// use millstream::{Consumed, DefaultSerde, StreamsBuilder, avro::{Avro, SchemaRegistry}, data};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Order { id: String, amount: i64 }
/// data!(Order);
///
/// let schema = r#"{"type": "record", "name": "Order", "fields": [
///     {"name": "id", "type": "string"}, {"name": "amount", "type": "long", "default": 0}]}"#;
/// let registry = SchemaRegistry::new("http://localhost:8081");
/// let orders = Avro::<Order>::new(&registry, "orders-value", schema)?.serde();
///
/// let builder = StreamsBuilder::new();
/// builder.stream_with::<String, Order>(&["orders"], Consumed::with(String::default_serde(), orders)).map_values(|order| order.amount).to("amounts");
/// # Ok::<(), millstream::SerdeError>(())
/// ```
pub struct Avro<T> {
    registry: SchemaRegistry,
    subject: String,
    schema: Schema,
    text: String,
    register: bool,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned + 'static> Avro<T> {
    /// A serde by that schema, in JSON. The registry is asked when the first value is written or read.
    ///
    /// # Errors
    /// The schema cannot be parsed.
    pub fn new(registry: &SchemaRegistry, subject: impl Into<String>, schema: &str) -> Result<Self, SerdeError> {
        let parsed = Schema::parse_str(schema).map_err(|error| SerdeError::of::<T>(format!("its Avro schema: {error}")))?;
        let (registry, subject) = (registry.clone(), subject.into());
        Ok(Self { registry, subject, schema: parsed, text: schema.to_string(), register: true, of: PhantomData })
    }

    /// Registers nothing (`auto.register.schemas=false`): a schema that is not there is an error.
    pub fn only_registered(self) -> Self {
        Self { register: false, ..self }
    }

    /// The serde, for options.
    pub fn serde(self) -> SerdeRef<T> {
        Arc::new(self)
    }

    fn to_avro(&self, value: &T) -> Result<Bytes, String> {
        let id = match self.register {
            true => self.registry.register(&self.subject, &self.text),
            false => self.registry.lookup(&self.subject, &self.text),
        };
        let id = id.map_err(|error| error.to_string())?;
        let body = || {
            to_value(value)?
                .resolve(&self.schema)
                .and_then(|value| GenericDatumWriter::builder(&self.schema).build()?.write_value_to_vec(value))
        };
        let body = body().map_err(|error| error.to_string())?;
        let mut bytes = BytesMut::with_capacity(5 + body.len());
        bytes.put_u8(MAGIC);
        bytes.put_i32(id);
        bytes.put_slice(&body);
        Ok(bytes.freeze())
    }

    fn from_avro(&self, bytes: &Bytes) -> Result<T, String> {
        let (id, mut body) = match bytes.split_first_chunk::<5>() {
            Some(([MAGIC, id @ ..], body)) => (i32::from_be_bytes(*id), body),
            Some(([first, ..], _)) => return Err(format!("byte {first:#04x} where 0x00 begins a value with the number of its schema")),
            None => return Err(format!("{} bytes, which are too few for the number of a schema", bytes.len())),
        };
        let writer = self.registry.schema(id).map_err(|error| error.to_string())?;
        let mut value = || GenericDatumReader::builder(&writer).reader_schema(&self.schema).build()?.read_value(&mut body);
        value().and_then(|value| from_value(&value)).map_err(|error| format!("by schema {id}: {error}"))
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Serde<T> for Avro<T> {
    fn serialize(&self, value: &T) -> Result<Bytes, SerdeError> {
        self.to_avro(value).map_err(|reason| SerdeError(format!("{} to Avro: {reason}", type_name::<T>())))
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<T, SerdeError> {
        self.from_avro(bytes).map_err(|reason| SerdeError(format!("{} from Avro: {reason}", type_name::<T>())))
    }
}
