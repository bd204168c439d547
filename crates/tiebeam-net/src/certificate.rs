//! What a node's certificate says, beyond who it is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tiebeam_wire::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{Identity, IdentityError};

/// Longest serial number of a certificate, in bytes (RFC 5280, section 4.1.2.2).
const SERIAL_BYTES_MAX: usize = 20;

/// The number that the authority gave a certificate, as `openssl x509 -serial` prints it: hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

/// A text that is no serial number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("serial number {0:?} is not 1 to 40 hexadecimal digits")]
pub struct NotASerial(pub String);

impl Serial {
    /// Without leading zeros, which DER adds to keep a number positive.
    fn new(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes[zeros..].to_vec())
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Serial {
    type Err = NotASerial;

    fn from_str(text: &str) -> Result<Self, NotASerial> {
        let bad = || NotASerial(text.chars().take(64).collect());
        if !(1..=2 * SERIAL_BYTES_MAX).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let even = format!("{}{text}", if text.len().is_multiple_of(2) { "" } else { "0" });
        let pairs = (0..even.len()).step_by(2).map(|at| u8::from_str_radix(&even[at..at + 2], 16).map_err(|_| bad()));
        Ok(Self::new(&pairs.collect::<Result<Vec<_>, _>>()?))
    }
}

/// From when until when a certificate is good, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub from_ms: i64,
    /// Until then.
    pub until_ms: i64,
}

impl Validity {
    /// How much is left at `wall_ms`; nothing from its end on.
    #[must_use]
    pub fn left(self, wall_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(self.until_ms.saturating_sub(wall_ms)).unwrap_or(0))
    }

    /// Says whether the certificate is good at `wall_ms`.
    #[must_use]
    pub const fn contains(self, wall_ms: i64) -> bool {
        self.from_ms <= wall_ms && wall_ms < self.until_ms
    }

    /// How long it is in all.
    #[must_use]
    pub fn span(self) -> Duration {
        self.left(self.from_ms)
    }

    /// The moment at which it ends, counted from now on by the monotonic clock: a wall clock that is set forward must
    /// not end all connections of a cluster at once.
    pub(crate) fn end(self) -> Instant {
        tiebeam_world::now() + self.left(tiebeam_world::wall_clock_ms())
    }
}

/// A node's certificate, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) identity: Identity,
    pub(crate) serial: Serial,
    pub(crate) validity: Validity,
}

impl Leaf {
    /// Reads a certificate in DER. Says nothing about who signed it.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, IdentityError> {
        let identity = Identity::from_certificate(der)?;
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
        let validity = certificate.validity();
        let ms = |time: x509_parser::time::ASN1Time| time.timestamp().saturating_mul(1000);
        let validity = Validity { from_ms: ms(validity.not_before), until_ms: ms(validity.not_after) };
        Ok(Self { identity, serial: Serial::new(certificate.raw_serial()), validity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_is_read_as_it_is_shown() {
        for text in ["7A0B", "01", "FF"] {
            assert_eq!(text.parse::<Serial>().unwrap().to_string(), text);
        }
        assert_eq!("00007a0b".parse::<Serial>(), "7A0B".parse());
        assert_eq!("A0B".parse::<Serial>(), "0a0b".parse());
        for text in ["", "7A:0B", "x", "+1", &"1".repeat(41)] {
            assert!(text.parse::<Serial>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_left_never_goes_below_nothing() {
        let validity = Validity { from_ms: 1000, until_ms: 5000 };
        assert_eq!(validity.left(2000), Duration::from_secs(3));
        assert_eq!(validity.left(9000), Duration::ZERO);
        assert_eq!(validity.span(), Duration::from_secs(4));
        assert_eq!(Validity { from_ms: i64::MAX, until_ms: i64::MIN }.span(), Duration::ZERO);
    }
}
