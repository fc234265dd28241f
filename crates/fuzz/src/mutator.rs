//! Seeded changes of inputs.

use quipu_runtime::Rng;

/// Longest input that is made.
const BYTES_MAX: usize = 8 << 10;
/// Changes of one input, at most.
const CHANGES_MAX: u64 = 5;
/// Further tries at an input that is still what it was.
const TRIES_MAX: u64 = 20;
/// Bytes that one change inserts or takes away, at most.
const SPAN_MAX: u64 = 40;
/// Bytes on the edge of something.
const EDGES: [u8; 9] = [0, 1, 2, 0x7F, 0x80, 0xFF, b'"', b'\n', b'-'];
/// Numbers on the edge of something; lengths and counts like to be one of them.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000,
    0xFFFF_FFFF_FFFF_FFFF,
];
/// Pieces of texts.
const WORDS: [&str; 12] = [
    "null",
    "-1",
    "18446744073709551615",
    "1e999",
    "[]",
    "{}",
    "\"\"",
    "true",
    "ü",
    "\\u0000",
    ":",
    "0",
];

/// Makes inputs out of inputs. One seed gives one sequence.
#[derive(Clone, Debug)]
pub struct Mutator {
    rng: Rng,
}

impl Mutator {
    /// The sequence of a seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self { rng: Rng::seeded(seed) }
    }

    /// A place below `bound`; 0 when there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.rng.below(bound)).expect("below a usize")
    }

    /// A changed copy of one of the inputs; `None` when there are none.
    pub fn next(&mut self, inputs: &[Vec<u8>]) -> Option<Vec<u8>> {
        let origin = inputs.get(self.below(inputs.len()))?;
        let mut input = origin.clone();
        let changes = 1 + self.rng.below(CHANGES_MAX);
        // Some changes find nothing to change, or undo the one before.
        for change in 0..changes + TRIES_MAX {
            if change >= changes && input != *origin {
                break;
            }
            let other = &inputs[self.below(inputs.len())];
            self.change(&mut input, other);
            input.truncate(BYTES_MAX);
        }
        Some(input)
    }

    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        // Only three kinds make something out of nothing.
        let kind = if input.is_empty() { 9 + self.rng.below(3) } else { self.rng.below(12) };
        match kind {
            0 | 1 => self.flip(input),
            2 => self.set(input),
            3 => self.shift(input),
            4 | 5 => self.number(input),
            6 => input.truncate(self.below(input.len() + 1)),
            7 => self.remove(input),
            8 => self.repeat(input),
            9 => self.insert(input),
            10 => self.word(input),
            _ => self.splice(input, other),
        }
    }

    /// Flips a bit.
    fn flip(&mut self, input: &mut [u8]) {
        let at = self.below(input.len());
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << self.rng.below(8);
        }
    }

    /// Puts another byte.
    fn set(&mut self, input: &mut [u8]) {
        let at = self.below(input.len());
        let byte = self.byte();
        if let Some(place) = input.get_mut(at) {
            *place = byte;
        }
    }

    /// Adds a little to a byte, or takes it away.
    fn shift(&mut self, input: &mut [u8]) {
        let at = self.below(input.len());
        let by = self.byte() % 17;
        if let Some(place) = input.get_mut(at) {
            *place = place.wrapping_add(by).wrapping_sub(8);
        }
    }

    /// Puts a number of two, four or eight bytes, as lengths and counts are.
    fn number(&mut self, input: &mut [u8]) {
        let width = [2, 4, 8][self.below(3)];
        let at = self.below(input.len());
        let number = match self.rng.below(3) {
            0 => u64::try_from(self.below(input.len() + 2)).unwrap_or(u64::MAX),
            _ => NUMBERS[self.below(NUMBERS.len())],
        };
        let is_big_endian = self.rng.below(2) == 0;
        let (big, little) = (number.to_be_bytes(), number.to_le_bytes());
        let bytes = if is_big_endian { &big[8 - width..] } else { &little[..width] };
        for (place, byte) in input[at..].iter_mut().zip(bytes) {
            *place = *byte;
        }
    }

    /// Inserts bytes.
    fn insert(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let bytes: Vec<u8> = (0..=self.rng.below(SPAN_MAX)).map(|_| self.byte()).collect();
        input.splice(at..at, bytes);
    }

    /// Takes bytes away.
    fn remove(&mut self, input: &mut Vec<u8>) {
        let (from, to) = self.span(input.len());
        input.drain(from..to);
    }

    /// Writes bytes twice.
    fn repeat(&mut self, input: &mut Vec<u8>) {
        let (from, to) = self.span(input.len());
        let bytes = input[from..to].to_vec();
        input.splice(to..to, bytes);
    }

    /// Puts a word somewhere, or in place of something.
    fn word(&mut self, input: &mut Vec<u8>) {
        let word = WORDS[self.below(WORDS.len())];
        let (from, to) = if self.rng.below(2) == 0 {
            self.span(input.len())
        } else {
            let at = self.below(input.len() + 1);
            (at, at)
        };
        input.splice(from..to, word.bytes());
    }

    /// Puts a piece of another input.
    fn splice(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len() + 1);
        let from = self.below(other.len() + 1);
        let to = from + self.below(other.len() - from + 1);
        let end = if self.rng.below(2) == 0 { at } else { input.len().min(at + to - from) };
        input.splice(at..end, other[from..to].iter().copied());
    }

    fn span(&mut self, length: usize) -> (usize, usize) {
        let from = self.below(length);
        let most = length.saturating_sub(from);
        let wanted = 1 + self.rng.below(SPAN_MAX);
        (from, from + most.min(usize::try_from(wanted).expect("small")))
    }

    fn byte(&mut self) -> u8 {
        match self.rng.below(3) {
            0 => EDGES[self.below(EDGES.len())],
            _ => u8::try_from(self.rng.below(256)).expect("below 256"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn made(seed: u64, inputs: &[Vec<u8>], count: usize) -> Vec<Vec<u8>> {
        let mut mutator = Mutator::seeded(seed);
        (0..count).filter_map(|_| mutator.next(inputs)).collect()
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let inputs = [b"first input".to_vec(), b"second".to_vec(), Vec::new()];
        assert_eq!(made(7, &inputs, 500), made(7, &inputs, 500));
        assert_ne!(made(7, &inputs, 500), made(8, &inputs, 500));
        assert!(made(1, &[], 3).is_empty());
    }

    #[test]
    fn every_input_is_changed() {
        for input in [&b""[..], b"\0", b"0", b"first input", &[7; BYTES_MAX]] {
            let made = made(7, &[input.to_vec()], 2_000);
            assert_eq!(made.len(), 2_000);
            assert!(made.iter().all(|changed| changed != input), "{input:?} stays");
        }
    }

    #[test]
    fn changes_differ() {
        let distinct = |input: &[u8]| BTreeSet::from_iter(made(7, &[input.to_vec()], 500)).len();
        let (short, long) = (distinct(b"first input"), distinct(&[9; 1_000]));
        assert!(short > 400 && long > 450, "{short} and {long} of 500 differ");
    }
}
