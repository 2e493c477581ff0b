//! Unique ids of pipeline versions.

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// Twenty characters that sort by time: seconds since the epoch (4 bytes), then 8 random bytes, in base 32.
pub(crate) fn uid(seconds: u32, random: [u8; 8]) -> String {
    let mut bits = u128::from(seconds) << 64 | u128::from(u64::from_be_bytes(random));
    bits <<= 4; // 96 bits in 20 × 5
    (0..20).rev().map(|digit| char::from(DIGITS[(bits >> (5 * digit)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_twenty_characters_and_sort_by_time() {
        let (earlier, later) = (uid(1_700_000_000, [255; 8]), uid(1_700_000_001, [0; 8]));
        assert_eq!((earlier.len(), later.len()), (20, 20));
        assert!(earlier < later);
        assert_ne!(uid(1, [0; 8]), uid(1, [0, 0, 0, 0, 0, 0, 0, 1]));
    }
}
