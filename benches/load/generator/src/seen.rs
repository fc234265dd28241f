//! Which numbers occurred: one bit each.

/// A set of numbers that is dense from 0.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    words: Vec<u64>,
    count: u64,
}

impl Seen {
    /// Adds a number; whether it is new.
    pub(crate) fn add(&mut self, number: u64) -> bool {
        let at = usize::try_from(number / 64).expect("a run's numbers fit in memory");
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        let bit = 1 << (number % 64);
        let is_new = self.words[at] & bit == 0;
        self.words[at] |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// How many of ours the other has not.
    pub(crate) fn missing_in(&self, other: &Self) -> u64 {
        let theirs = other.words.iter().copied().chain(std::iter::repeat(0));
        let missing = self.words.iter().zip(theirs).map(|(ours, theirs)| ours & !theirs);
        missing.map(|word| u64::from(word.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_has_not_is_counted() {
        let (mut ours, mut theirs) = (Seen::default(), Seen::default());
        for number in [0, 1, 63, 64, 1_000] {
            assert!(ours.add(number));
        }
        assert!(!ours.add(63));
        assert!(theirs.add(1) && theirs.add(64) && theirs.add(65));
        assert_eq!((ours.count(), theirs.count()), (5, 3));
        assert_eq!((ours.missing_in(&theirs), theirs.missing_in(&ours)), (3, 1));
    }
}
