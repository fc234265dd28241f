//! What records carry: when they were due, which one they are, and bytes that do not compress.

use bytes::{BufMut, Bytes, BytesMut};

/// Run, due time, number.
pub(crate) const HEADER_BYTES: usize = 24;

const POOL_BYTES: usize = 4 << 20;

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Another run's records may be in the same topic.
    pub(crate) run: u64,
    /// Nanoseconds after the run's origin.
    pub(crate) due: u64,
    pub(crate) number: u64,
}

impl Header {
    /// Reads it from a value; `None` when the value is too short to be ours.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = value.get(at..at + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
        };
        Some(Self { run: word(0)?, due: word(8)?, number: word(16)? })
    }
}

/// Makes values.
#[derive(Debug)]
pub(crate) struct Payloads {
    pool: Bytes,
    bytes: usize,
    run: u64,
}

impl Payloads {
    pub(crate) fn new(bytes: usize, random_ratio: f64, run: u64) -> Self {
        let mut rng = Rng::new(run);
        let mut pool = BytesMut::with_capacity(POOL_BYTES + bytes);
        while pool.len() < POOL_BYTES + bytes {
            // Compressible words come between the others, so every slice has its share of them.
            let word = if rng.unit() < random_ratio { rng.next() } else { 0 };
            pool.put_u64_le(word);
        }
        Self { pool: pool.freeze(), bytes, run }
    }

    pub(crate) fn make(&self, due: u64, number: u64) -> Bytes {
        let mut value = BytesMut::with_capacity(self.bytes);
        for word in [self.run, due, number] {
            value.put_u64_le(word);
        }
        let from = usize::try_from(number.wrapping_mul(4_099) % (POOL_BYTES as u64))
            .expect("below the pool's size");
        value.put_slice(&self.pool[from..from + self.bytes - HEADER_BYTES]);
        value.freeze()
    }
}

/// xorshift64*: fast, and the same everywhere.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// In [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float has")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_who_it_is_and_has_its_size() {
        for bytes in [24, 25, 100, 1_024, 65_536] {
            let value = Payloads::new(bytes, 1.0, 7).make(11, 4_000_000_123);
            assert_eq!(value.len(), bytes);
            let header = Header { run: 7, due: 11, number: 4_000_000_123 };
            assert_eq!(Header::parse(&value), Some(header));
        }
        assert_eq!(Header::parse(b"short"), None);
    }

    #[test]
    fn the_random_share_is_what_was_asked() {
        let zeros = |ratio| {
            let value = Payloads::new(80_000, ratio, 3).make(0, 0);
            value[HEADER_BYTES..].iter().filter(|byte| **byte == 0).count()
        };
        assert!(zeros(1.0) < 1_000);
        assert!((35_000..45_000).contains(&zeros(0.5)));
    }
}
