//! The smallest input that breaks the same promise.

use crate::{Target, caught};

/// Tries of one shrinking.
const TRIES_MAX: usize = 20_000;

/// Makes a finding smaller, as long as it panics at the same place.
#[must_use]
pub fn shrink(target: &Target, input: &[u8], words: &str) -> Vec<u8> {
    let mut shrinking = Shrinking { target, place: place(words), tries: 0 };
    let mut input = input.to_vec();
    loop {
        let before = input.clone();
        shrinking.cut(&mut input);
        shrinking.plain(&mut input);
        if input == before || shrinking.tries >= TRIES_MAX {
            return input;
        }
    }
}

/// Where a panic happened: its first line.
fn place(words: &str) -> &str {
    words.lines().next().unwrap_or_default()
}

struct Shrinking<'a> {
    target: &'a Target,
    place: &'a str,
    tries: usize,
}

impl Shrinking<'_> {
    fn still_breaks(&mut self, input: &[u8]) -> bool {
        self.tries += 1;
        self.tries < TRIES_MAX
            && caught(|| (self.target.run)(input)).is_err_and(|words| place(&words) == self.place)
    }

    /// Takes pieces away, large ones first.
    fn cut(&mut self, input: &mut Vec<u8>) {
        let mut piece = input.len().div_ceil(2);
        while piece > 0 {
            let mut at = 0;
            while at < input.len() {
                let mut shorter = input.clone();
                shorter.drain(at..input.len().min(at + piece));
                if self.still_breaks(&shorter) {
                    *input = shorter;
                } else {
                    at += piece;
                }
            }
            piece /= 2;
        }
    }

    /// Makes bytes zero.
    fn plain(&mut self, input: &mut [u8]) {
        for at in 0..input.len() {
            let byte = std::mem::replace(&mut input[at], 0);
            if byte != 0 && !self.still_breaks(input) {
                input[at] = byte;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    #[test]
    fn what_does_not_matter_goes() {
        let run = |input: &[u8]| {
            assert!(!input.windows(2).any(|pair| pair == b"xy"), "broken");
            Verdict::Accepted
        };
        let target = Target { name: "test", covers: "", run, seeds: Vec::new };
        let input = b"some words, then xy and more words";
        let words = caught(|| run(input)).unwrap_err();
        assert_eq!(shrink(&target, input, &words), b"xy");
    }
}
