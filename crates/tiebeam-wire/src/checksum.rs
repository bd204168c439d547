//! CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum of records on disk and of Kafka record batches.

/// Computes the CRC-32C of `bytes`; 0 for no bytes.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// Extends `crc`, the checksum of what came before, by `bytes`: `extend(crc32c(a), b) == crc32c(a ++ b)`.
#[must_use]
pub fn extend(crc: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(crc, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value that the CRC catalogue gives for CRC-32/ISCSI: another polynomial would fail it.
    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(extend(crc32c(b"1234"), b"56789"), 0xE306_9283);
    }
}
