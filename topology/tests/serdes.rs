//! The serdes of types: Kafka's bytes, and errors that say what was found.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use millstream_topology::DefaultSerde;
use uuid::Uuid;

fn found<T: DefaultSerde<Present = T>>(bytes: &'static [u8]) -> String {
    T::default_serde().deserialize(&Bytes::from_static(bytes)).err().map_or_else(|| "a value".into(), |error| error.to_string())
}

#[test]
fn what_cannot_be_read_is_named_with_its_type() {
    assert_eq!(found::<i32>(b"abc"), "i32: 3 bytes where 4 are expected");
    assert_eq!(found::<String>(b"ab\xffc"), "alloc::string::String: byte 0xff at 2 of 4 is not UTF-8");
    assert_eq!(found::<bool>(b"\x02"), "bool: byte 0x02 where 0x00 or 0x01 is expected");
    assert!(found::<Uuid>(b"not a uuid").starts_with("uuid::Uuid: 10 bytes of text: "));
}

/// The bytes are those of Kafka's serializers of the same names.
#[test]
fn bytes_are_kafkas_and_read_back() {
    fn check<T: DefaultSerde<Present = T> + PartialEq + std::fmt::Debug>(value: T, bytes: &[u8]) {
        let written = T::default_serde().serialize(&value).unwrap();
        assert_eq!(written.as_ref(), bytes, "{value:?}");
        assert_eq!(T::default_serde().deserialize(&written).unwrap(), value);
    }
    check(-2i16, &[0xff, 0xfe]);
    check(1i32, &[0, 0, 0, 1]);
    check(-1i64, &[0xff; 8]);
    check(1.5f32, &[0x3f, 0xc0, 0, 0]);
    check(-2.0f64, &[0xc0, 0, 0, 0, 0, 0, 0, 0]);
    check(false, &[0]);
    check("é".to_string(), &[0xc3, 0xa9]);
    check(vec![1u8, 2], &[1, 2]);
    check(Bytes::from_static(b"b"), b"b");
    check(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), b"01234567-89ab-cdef-0123-456789abcdef");
}
