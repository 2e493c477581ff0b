//! The hash of a left row's value that a foreign-key join sends along: Murmur3, 128 bits, as Kafka Streams computes it.

const SEED: u64 = 104_729;
const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The hash; its first half is the higher one.
pub(super) fn hash(bytes: &[u8]) -> u128 {
    let (mut h1, mut h2) = (SEED, SEED);
    let blocks = bytes.chunks_exact(16);
    let tail = blocks.remainder();
    for block in blocks {
        h1 ^= mix_first(word(&block[..8]));
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix_second(word(&block[8..]));
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (first, second) = tail.split_at(tail.len().min(8));
    h2 ^= mix_second(word(second));
    h1 ^= mix_first(word(first));
    h1 ^= bytes.len() as u64;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2) = (finish(h1), finish(h2));
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    u128::from(h1) << 64 | u128::from(h2)
}

/// Up to eight bytes, little endian.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

fn mix_first(word: u64) -> u64 {
    word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_second(word: u64) -> u64 {
    word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn hashes_are_those_of_kafka_streams() {
        for (text, expected) in [
            ("x|2", 0xd13d_6288_d18c_f340_4d42_c8ab_0df0_9866),
            ("0123456789", 0xbcb9_fdcb_0e53_25c2_4e38_21fd_fdf3_742d),
            ("0123456789abcdef", 0x1a6e_941e_c6a7_6967_d7d8_2808_f505_d6b1),
            ("0123456789abcdefghijk", 0xeb79_096d_a243_fba3_0f4b_41b0_787b_f070),
            ("the-quick-brown-fox-jumps-over-the-lazy-dog", 0x28e1_52d8_e0ce_2149_23f5_4f13_4a1c_622d),
        ] {
            assert_eq!(hash(text.as_bytes()), expected, "{text}");
        }
    }
}
