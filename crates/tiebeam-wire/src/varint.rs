//! Whole numbers as [`codec`](crate::codec) writes them, by hand: for the few numbers that stand before each message.
//!
//! The format is that of bincode 2's standard configuration: what is below 251 is one byte; 251, 252 and 253 announce two,
//! four and eight bytes, little-endian.

/// Numbers and bytes in the order in which they were put; no more than [`Head::BYTES_MAX`].
#[derive(Debug)]
pub struct Head {
    bytes: [u8; Self::BYTES_MAX],
    len: usize,
}

impl Head {
    /// How much fits.
    pub const BYTES_MAX: usize = 128;

    /// Makes an empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; Self::BYTES_MAX], len: 0 }
    }

    /// Puts a byte as it is.
    ///
    /// # Panics
    /// If it doesn't fit.
    #[inline]
    pub const fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Puts a number; in at most nine bytes.
    ///
    /// # Panics
    /// If it doesn't fit.
    #[inline]
    pub fn number(&mut self, number: u64) {
        match number {
            0..WORD => self.byte(number as u8),
            WORD..=0xFFFF => self.marked(WORD as u8, &(number as u16).to_le_bytes()),
            0x1_0000..=0xFFFF_FFFF => self.marked(DOUBLE, &(number as u32).to_le_bytes()),
            _ => self.marked(QUAD, &number.to_le_bytes()),
        }
    }

    fn marked(&mut self, marker: u8, bytes: &[u8]) {
        self.byte(marker);
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// What was put.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads what [`Head`] wrote. `None` where bytes are missing, or a number is longer than it must be: whoever reads asks the
/// codec then, whose word counts.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the next byte.
    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Returns the next number.
    #[inline]
    pub fn number(&mut self) -> Option<u64> {
        match self.byte()? {
            small if u64::from(small) < WORD => Some(u64::from(small)),
            marker => self.marked(marker),
        }
    }

    fn marked(&mut self, marker: u8) -> Option<u64> {
        let (number, shortest) = match marker {
            _ if u64::from(marker) == WORD => (u64::from(u16::from_le_bytes(self.array()?)), WORD),
            DOUBLE => (u64::from(u32::from_le_bytes(self.array()?)), 0x1_0000),
            QUAD => (u64::from_le_bytes(self.array()?), 0x1_0000_0000),
            _ => return None,
        };
        (number >= shortest).then_some(number)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// Passes over some bytes and returns them.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// How many bytes are left.
    #[inline]
    #[must_use]
    pub const fn left(&self) -> usize {
        self.0.len()
    }
}

/// Announces two bytes; what is below it is a number by itself.
const WORD: u64 = 251;
/// Announces four bytes.
const DOUBLE: u8 = 252;
/// Announces eight bytes.
const QUAD: u8 = 253;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec;

    /// Numbers of every length, and both sides of each border.
    fn numbers() -> impl Strategy<Value = u64> {
        let borders = [0, 250, 251, 0xFFFF, 0x1_0000, 0xFFFF_FFFF, 0x1_0000_0000, u64::MAX];
        prop_oneof![prop::sample::select(borders.to_vec()), 0..300_u64, 0..0x2_0000_u64, any::<u64>()]
    }

    proptest! {
        /// Fails if a number is written in other bytes than the codec's, which every node reads.
        #[test]
        fn numbers_are_written_and_read_as_the_codec_does(number in numbers()) {
            let mut head = Head::new();
            head.byte(1);
            head.number(number);
            prop_assert_eq!(head.as_bytes(), codec::encode(1, &number));
            let mut reader = Reader::new(head.as_bytes());
            prop_assert_eq!((reader.byte(), reader.number(), reader.left()), (Some(1), Some(number), 0));
        }

        /// Fails if something is read that the codec reads in another way, or refuses.
        #[test]
        fn what_is_read_the_codec_reads_too(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 250..=255_u8], 0..10)) {
            let mut reader = Reader::new(&bytes);
            if let Some(number) = reader.number() {
                let whole = [&[1], &bytes[..bytes.len() - reader.left()]].concat();
                prop_assert_eq!(codec::decode::<u64>(1, &whole).ok(), Some(number));
                if let Ok(short) = u32::try_from(number) {
                    prop_assert_eq!(codec::decode::<u32>(1, &whole).ok(), Some(short));
                }
            }
        }
    }
}
