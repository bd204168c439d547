//! From key to partition, as Kafka's default partitioner has it: producers of both kinds put a key in the same place.

/// The partition of `key` among `partitions`: positive murmur2 of the key, modulo their number.
///
/// # Panics
/// If there are no partitions.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// Austin Appleby's MurmurHash2, 32 bits, with Kafka's seed (`Utils.murmur2`).
fn murmur2(key: &[u8]) -> u32 {
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        k ^= k >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ k.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of kafka-python 3.0.12; those of the later ones are in Kafka's own `UtilsTest.java` as well.
    #[test]
    fn keys_go_where_other_clients_put_them() {
        let expected: [(&str, u32, u32); 7] = [
            ("", 275_646_681, 9),
            ("a", 2_731_586_172, 4),
            ("21", 3_321_034_988, 0),
            ("foobar", 3_504_634_814, 6),
            ("a-little-bit-long-string", 3_308_985_760, 8),
            ("a-little-bit-longer-string", 2_808_662_467, 11),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 4_236_069_325, 5),
        ];
        for (key, hash, partition) in expected {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key:?}");
            assert_eq!(partition_of(key.as_bytes(), 12), partition, "{key:?}");
        }
    }
}
