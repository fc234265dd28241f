//! Sets of offsets, as ranges.

use std::collections::BTreeMap;

/// A set of offsets, kept as ranges that do not touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets {
    ranges: BTreeMap<u64, u64>,
}

impl Offsets {
    /// Adds `start..end`.
    pub(crate) fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let (mut start, mut end) = (start, end);
        while let Some((&from, &to)) = self.ranges.range(..=end).next_back() {
            if to < start {
                break;
            }
            start = start.min(from);
            end = end.max(to);
            self.ranges.remove(&from);
        }
        self.ranges.insert(start, end);
    }

    pub(crate) fn contains(&self, offset: u64) -> bool {
        self.ranges.range(..=offset).next_back().is_some_and(|(_, to)| offset < *to)
    }

    /// The first offset of `start..end` that is missing.
    pub(crate) fn first_missing(&self, start: u64, end: u64) -> Option<u64> {
        let reached = match self.ranges.range(..=start).next_back() {
            Some((_, to)) if *to > start => *to,
            _ => start,
        };
        (reached < end).then_some(reached)
    }

    /// The first offset of `start..end` that is in the set.
    pub(crate) fn first_within(&self, start: u64, end: u64) -> Option<u64> {
        if start < end && self.contains(start) {
            return Some(start);
        }
        self.ranges.range(start..end.max(start)).next().map(|(from, _)| *from)
    }

    /// The smallest offset.
    pub(crate) fn first(&self) -> Option<u64> {
        self.ranges.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_where_they_touch_and_holes_stay() {
        let mut set = Offsets::default();
        set.add(5, 8);
        set.add(0, 2);
        set.add(2, 4);
        assert_eq!(set.first(), Some(0));
        assert_eq!(set.first_missing(0, 8), Some(4));
        assert!(!set.contains(4) && set.contains(7) && !set.contains(8));
        assert_eq!((set.first_within(4, 5), set.first_within(4, 6)), (None, Some(5)));
        set.add(3, 6);
        assert_eq!(set.first_missing(0, 8), None);
        assert_eq!(set.first_missing(0, 9), Some(8));
        assert_eq!(set.ranges.len(), 1);
    }
}
