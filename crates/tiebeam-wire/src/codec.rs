//! The one seam through which values become bytes for another node or for a disk.
//!
//! bincode 2 (variable-length integers, little-endian) behind a version byte: `[version][body]`. The format is
//! positional, so the variants of an enum and the fields of a struct are never reordered; golden bytes in the tests of
//! each protocol keep that. The crate behind it is unmaintained (RUSTSEC-2025-0141); `wincode` reads the same bytes and
//! is the way out.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest value that [`decode`] accepts, in bytes; the same as the largest frame.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What most values fit into, in bytes.
const SMALL_BYTES: usize = 127;

/// Why bytes were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There is not even a version byte.
    #[error("value is empty")]
    Empty,
    /// The bytes were written by a version that this one can't read.
    #[error("value has version {found}, expected {expected}")]
    Version {
        /// The version in the first byte.
        found: u8,
        /// The only version that the caller reads.
        expected: u8,
    },
    /// The value is larger than [`VALUE_BYTES_MAX`].
    #[error("value has {size} bytes, more than the limit of {VALUE_BYTES_MAX}")]
    TooLarge {
        /// Size of the value in bytes.
        size: usize,
    },
    /// The value decoded, but bytes were left over.
    #[error("value has {left} bytes after its end")]
    Trailing {
        /// How many bytes were left over.
        left: usize,
    },
    /// The body is not a value of the type that was asked for.
    #[error("value can't be decoded")]
    Body(#[source] bincode::error::DecodeError),
}

/// Encodes `value` behind its `version` byte.
///
/// # Panics
/// If `value`'s own `Serialize` fails; derived ones don't.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(version: u8, value: &T) -> Vec<u8> {
    encode_sized(version, value, SMALL_BYTES)
}

/// As [`encode`], for a value that is known to take about `size` bytes: its memory is taken once.
///
/// # Panics
/// As [`encode`].
#[must_use]
pub fn encode_sized<T: Serialize + ?Sized>(version: u8, value: &T, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 1);
    encode_into(version, value, &mut bytes);
    bytes
}

/// As [`encode`], behind what `bytes` holds already; for memory that can't refuse.
///
/// # Panics
/// As [`encode`], and if writing to `bytes` fails.
pub fn encode_into<T: Serialize + ?Sized>(version: u8, value: &T, bytes: &mut impl std::io::Write) {
    bytes.write_all(&[version]).expect("memory takes what is written");
    bincode::serde::encode_into_std_write(value, bytes, bincode::config::standard())
        .expect("derived Serialize into memory doesn't fail");
}

/// Decodes what [`encode`] made with the same `version`.
///
/// # Errors
/// Each [`DecodeError`] says what was wrong; no error is worth a retry with the same bytes.
pub fn decode<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T, DecodeError> {
    let (found, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *found != version {
        return Err(DecodeError::Version { found: *found, expected: version });
    }
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(DecodeError::TooLarge { size: bytes.len() });
    }
    let config = bincode::config::standard().with_limit::<VALUE_BYTES_MAX>();
    let (value, read) = bincode::serde::decode_from_slice(body, config).map_err(DecodeError::Body)?;
    if read < body.len() {
        return Err(DecodeError::Trailing { left: body.len() - read });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Golden bytes: a codec that changes its integers or its order would fail here before it fails a cluster.
    #[test]
    fn bytes_are_golden() {
        let bytes = encode(3, &(7_u64, "tie", Some(300_u32)));
        assert_eq!(bytes, [3, 7, 3, b't', b'i', b'e', 1, 251, 44, 1]);
    }

    #[test]
    fn other_version_is_refused() {
        let bytes = encode(1, &1_u8);
        assert!(matches!(decode::<u8>(2, &bytes), Err(DecodeError::Version { found: 1, expected: 2 })));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(1, &1_u8);
        bytes.push(0);
        assert!(matches!(decode::<u8>(1, &bytes), Err(DecodeError::Trailing { left: 1 })));
    }

    #[test]
    fn length_that_lies_is_refused_without_allocation() {
        let bytes = [1, 253, 255, 255, 255, 255, 255, 255, 255, 127];
        assert!(matches!(decode::<Vec<u8>>(1, &bytes), Err(DecodeError::Body(_))));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(value: (u64, String, Vec<Option<i32>>)) {
            prop_assert_eq!(decode::<(u64, String, Vec<Option<i32>>)>(9, &encode(9, &value)).unwrap(), value);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            let _ = decode::<(u64, String, Vec<Vec<u8>>)>(0, &bytes);
        }
    }
}
