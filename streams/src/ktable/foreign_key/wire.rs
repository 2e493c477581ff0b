//! What the two sides of a foreign-key join tell each other, in Kafka Streams' own format (KIP-213, KIP-775).

use bytes::{Buf, BufMut, Bytes};
use millstream_topology::{Serde, SerdeError, SerdeRef, data};

/// What a left row asks of the right side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// Unsubscribe.
    Delete,
    /// Unsubscribe, and answer that there is no right row.
    DeleteAndAnswer,
    /// Subscribe, and answer in any case.
    Answer,
    /// Subscribe, and answer if there is a right row.
    AnswerIfPresent,
}

/// A left row's subscription to a right row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subscription<K> {
    /// Of the left row's value; `None` if the row was deleted.
    pub hash: Option<u128>,
    pub instruction: Instruction,
    /// The left row's key.
    pub key: K,
    /// The partition of the left row; versions before KIP-775 do not say.
    pub partition: Option<i32>,
}

/// The right side's answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Response<V> {
    /// Of the value that the left row had when it subscribed.
    pub hash: Option<u128>,
    /// The right row.
    pub value: Option<V>,
    /// Where the answer goes; not written.
    pub partition: Option<i32>,
}

data!(impl[T: Clone + 'static] Subscription<T>);
data!(impl[T: Clone + 'static] Response<T>);

const HASH_IS_NULL: u8 = 0x80;

fn short(bytes: &Bytes, what: &str) -> SerdeError {
    SerdeError(format!("{} bytes are too few for {what} of a foreign-key join", bytes.len()))
}

/// Reads the version and whether there is a hash.
fn version(bytes: &mut Bytes, known: u8) -> Option<Result<(u8, bool), SerdeError>> {
    let first = bytes.try_get_u8().ok()?;
    let version = first & !HASH_IS_NULL;
    Some(match version <= known {
        true => Ok((version, first & HASH_IS_NULL == 0)),
        false => Err(SerdeError(format!("version {version} of a foreign-key join is not known: only up to {known} is"))),
    })
}

/// **Law.** A byte: the version, and the highest bit if there is no hash; a byte: the instruction; the hash; the left key; since version 1
/// the left partition.
pub(crate) struct SubscriptionSerde<K>(pub SerdeRef<K>);

impl<K> Serde<Subscription<K>> for SubscriptionSerde<K> {
    fn serialize(&self, subscription: &Subscription<K>) -> Result<Bytes, SerdeError> {
        let key = self.0.serialize(&subscription.key)?;
        let mut bytes = Vec::with_capacity(2 + 16 + key.len() + 4);
        let version = u8::from(subscription.partition.is_some());
        bytes.put_u8(if subscription.hash.is_none() { version | HASH_IS_NULL } else { version });
        bytes.put_u8(subscription.instruction as u8);
        subscription.hash.iter().for_each(|hash| bytes.put_u128(*hash));
        bytes.put_slice(&key);
        subscription.partition.iter().for_each(|partition| bytes.put_i32(*partition));
        Ok(bytes.into())
    }

    fn deserialize(&self, bytes: &Bytes) -> Result<Subscription<K>, SerdeError> {
        let short = || short(bytes, "a subscription");
        let mut rest = bytes.clone();
        let (version, has_hash) = version(&mut rest, 1).ok_or_else(short)??;
        let instruction = match rest.try_get_u8().map_err(|_| short())? {
            0 => Instruction::Delete,
            1 => Instruction::DeleteAndAnswer,
            2 => Instruction::Answer,
            3 => Instruction::AnswerIfPresent,
            other => return Err(SerdeError(format!("a foreign-key join has instructions from 0 to 3, not {other}"))),
        };
        let hash = has_hash.then(|| rest.try_get_u128()).transpose().map_err(|_| short())?;
        let mut partition = None;
        if version > 0 {
            let at = rest.len().checked_sub(4).ok_or_else(short)?;
            partition = rest.split_off(at).try_get_i32().ok();
        }
        Ok(Subscription { hash, instruction, key: self.0.deserialize(&rest)?, partition })
    }
}

/// **Law.** A byte: the version, and the highest bit if there is no hash; the hash; the right value, nothing if there is none.
pub(crate) struct ResponseSerde<V>(pub SerdeRef<V>);

impl<V> Serde<Response<V>> for ResponseSerde<V> {
    fn serialize(&self, response: &Response<V>) -> Result<Bytes, SerdeError> {
        let value = response.value.as_ref().map(|value| self.0.serialize(value)).transpose()?.unwrap_or_default();
        let mut bytes = Vec::with_capacity(1 + 16 + value.len());
        bytes.put_u8(if response.hash.is_none() { HASH_IS_NULL } else { 0 });
        response.hash.iter().for_each(|hash| bytes.put_u128(*hash));
        bytes.put_slice(&value);
        Ok(bytes.into())
    }

    fn deserialize(&self, bytes: &Bytes) -> Result<Response<V>, SerdeError> {
        let short = || short(bytes, "an answer");
        let mut rest = bytes.clone();
        let (_, has_hash) = version(&mut rest, 0).ok_or_else(short)??;
        let hash = has_hash.then(|| rest.try_get_u128()).transpose().map_err(|_| short())?;
        let value = (!rest.is_empty()).then(|| self.0.deserialize(&rest)).transpose()?;
        Ok(Response { hash, value, partition: None })
    }
}

/// The key of a subscription in its store: the length of the foreign key, the foreign key, the left key.
pub(crate) fn combined_key(foreign_key: &[u8], key: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(4 + foreign_key.len() + key.len());
    bytes.put_i32(foreign_key.len() as i32);
    bytes.put_slice(foreign_key);
    bytes.put_slice(key);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use millstream_topology::DefaultSerde;

    use super::*;

    #[test]
    fn subscriptions_are_read_as_they_were_written() {
        let serde = SubscriptionSerde(String::default_serde());
        for (hash, partition) in [(Some(7), Some(3)), (None, Some(0)), (Some(u128::MAX), None), (None, None)] {
            let subscription = Subscription { hash, instruction: Instruction::Answer, key: "k".to_string(), partition };
            let bytes = serde.serialize(&subscription).unwrap();
            assert_eq!(serde.deserialize(&bytes).unwrap(), subscription);
        }
    }

    #[test]
    fn an_empty_right_value_is_no_value() {
        let serde = ResponseSerde(String::default_serde());
        let bytes = serde.serialize(&Response { hash: None, value: Some(String::new()), partition: None }).unwrap();
        assert_eq!(bytes[..], [0x80]);
        assert_eq!(serde.deserialize(&bytes).unwrap().value, None);
    }

    #[test]
    fn bad_bytes_are_errors() {
        let (subscriptions, responses) = (SubscriptionSerde(i64::default_serde()), ResponseSerde(i64::default_serde()));
        for bytes in [&b""[..], b"\x02\x00", b"\x81", b"\x81\x09\0\0\0\0", b"\x01\x01\0\0", b"\x81\x01\0\0"] {
            assert!(subscriptions.deserialize(&Bytes::from_static(bytes)).is_err(), "{bytes:?}");
            assert!(responses.deserialize(&Bytes::from_static(bytes)).is_err(), "{bytes:?}");
        }
    }
}
