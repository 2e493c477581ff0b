//! How a change of a row is written to the repartition topic of a grouped table: in Kafka Streams' own format (KIP-904).

use bytes::{Buf, BufMut, Bytes};
use millstream_topology::{Change, Serde, SerdeError, SerdeRef};

/// **Law.** Old value and flag 0, new value and flag 1, or both with the length of the new one before them and flag 2. Flags 3 to 5 are
/// the same with a byte that says whether the version is the newest; they are read, not written.
pub(crate) struct ChangeSerde<V>(pub SerdeRef<V>);

impl<V> Serde<Change<V>> for ChangeSerde<V> {
    fn serialize(&self, change: &Change<V>) -> Result<Bytes, SerdeError> {
        let write = |value: &Option<V>| value.as_ref().map(|value| self.0.serialize(value)).transpose();
        let (new, old) = (write(&change.new)?, write(&change.old)?);
        let flag = match (&new, &old) {
            (None, Some(_)) => 0,
            (Some(_), None) => 1,
            (Some(_), Some(_)) => 2,
            (None, None) => return Err(SerdeError("a change has a value before or after it: forward no other".into())),
        };
        let (new, old) = (new.unwrap_or_default(), old.unwrap_or_default());
        let mut bytes = Vec::with_capacity(MAX_VARINT + new.len() + old.len() + 1);
        if flag == 2 {
            put_varint(&mut bytes, new.len() as i32);
        }
        bytes.put_slice(&new);
        bytes.put_slice(&old);
        bytes.put_u8(flag);
        Ok(bytes.into())
    }

    fn deserialize(&self, bytes: &Bytes) -> Result<Change<V>, SerdeError> {
        let short = || SerdeError(format!("{} bytes are too few for a change", bytes.len()));
        let mut bytes = bytes.clone();
        let mut take_last = || Some(bytes.split_off(bytes.len().checked_sub(1)?)[0]);
        let mut flag = take_last().ok_or_else(short)?;
        let mut is_latest = true;
        if (3..=5).contains(&flag) {
            is_latest = take_last().ok_or_else(short)? == 1;
            flag -= 3;
        }
        let (new, old) = match flag {
            0 => (None, Some(bytes)),
            1 => (Some(bytes), None),
            2 => {
                let length = get_varint(&mut bytes).and_then(|length| usize::try_from(length).ok());
                let length = length.filter(|&length| length <= bytes.len()).ok_or_else(short)?;
                (Some(bytes.split_to(length)), Some(bytes))
            }
            flag => return Err(SerdeError(format!("a change has a flag from 0 to 5, not {flag}"))),
        };
        let read = |value: Option<Bytes>| value.map(|value| self.0.deserialize(&value)).transpose();
        Ok(Change { new: read(new)?, old: read(old)?, is_latest })
    }
}

const MAX_VARINT: usize = 5;

fn put_varint(bytes: &mut Vec<u8>, number: i32) {
    let mut rest = ((number << 1) ^ (number >> 31)) as u32;
    while rest > 0x7f {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn get_varint(bytes: &mut Bytes) -> Option<i32> {
    let mut number = 0u32;
    for at in 0..MAX_VARINT {
        let byte = bytes.try_get_u8().ok()?;
        number |= u32::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((number >> 1) as i32 ^ -((number & 1) as i32));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use millstream_topology::DefaultSerde;

    use super::*;

    fn serde() -> ChangeSerde<String> {
        ChangeSerde(String::default_serde())
    }

    #[test]
    fn both_values_have_the_new_ones_length_before_them() {
        let change = Change::new(Some("a".repeat(100)), Some("b".to_string()));
        let bytes = serde().serialize(&change).unwrap();
        assert_eq!(bytes[..3], [200, 1, b'a']);
        assert_eq!(bytes[bytes.len() - 2..], [b'b', 2]);
        assert_eq!(serde().deserialize(&bytes).unwrap(), change);
    }

    #[test]
    fn one_value_has_only_its_flag() {
        assert_eq!(serde().serialize(&Change::new(None, Some("x".to_string()))).unwrap()[..], *b"x\0");
        assert_eq!(serde().serialize(&Change::new(Some(String::new()), None)).unwrap()[..], *b"\x01");
    }

    #[test]
    fn flags_of_versioned_tables_are_read() {
        let change = serde().deserialize(&Bytes::from_static(b"x\0\x04")).unwrap();
        assert_eq!(change, Change { new: Some("x".to_string()), old: None, is_latest: false });
    }

    #[test]
    fn bad_bytes_are_errors() {
        for bytes in [&b""[..], b"\x07", b"\x03", b"\x09\x02", b"\xff\xff\xff\xff\xff\xff\x02"] {
            assert!(serde().deserialize(&Bytes::from_static(bytes)).is_err(), "{bytes:?}");
        }
    }
}
