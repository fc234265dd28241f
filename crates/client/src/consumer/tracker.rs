//! How far a partition is processed: acknowledgements come in any order, the position is the
//! lowest offset that waits for one.
//!
//! Offsets that were never handed out (removed, of control batches, before the start) hold nothing
//! back.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// A message that was handed out.
#[derive(Clone, Copy, Debug)]
struct HandedOut {
    state: Waiting,
    /// When its processing began; absent while it waits in a lane.
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The application holds it.
    Held,
    /// The application dropped it: nobody will acknowledge it.
    Dropped,
    Acked,
}

/// The progress of one partition since its position was set.
#[derive(Debug)]
pub(crate) struct Tracker {
    /// From the position on; those below are settled.
    handed_out: BTreeMap<u64, HandedOut>,
    /// All below was handed out, or is not there.
    next: u64,
    start: u64,
    /// Entries in state [`Waiting::Held`].
    held: usize,
}

impl Tracker {
    pub(crate) fn new(start: u64) -> Self {
        Self { handed_out: BTreeMap::new(), next: start, start, held: 0 }
    }

    /// The offset to commit: nothing below it waits for an acknowledgement.
    pub(crate) fn position(&self) -> u64 {
        self.handed_out.first_key_value().map_or(self.next, |(offset, _)| *offset)
    }

    /// Where it began.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// The next offset to hand out.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// A message goes out.
    pub(crate) fn hand_out(&mut self, offset: u64, now: Instant) {
        let entry = HandedOut { state: Waiting::Held, since: Some(now) };
        let before = self.handed_out.insert(offset, entry);
        self.held += usize::from(before.is_none_or(|before| before.state != Waiting::Held));
        self.next = self.next.max(offset + 1);
    }

    /// There are no messages below `to` but those that were handed out.
    pub(crate) fn skip_to(&mut self, to: u64) {
        self.next = self.next.max(to);
    }

    /// Takes an acknowledgement; returns whether it is new.
    pub(crate) fn ack(&mut self, offset: u64) -> bool {
        let Some(entry) = self.handed_out.get_mut(&offset) else { return false };
        let is_new = entry.state != Waiting::Acked;
        self.held -= usize::from(entry.state == Waiting::Held);
        entry.state = Waiting::Acked;
        while let Some(first) = self.handed_out.first_entry() {
            if first.get().state != Waiting::Acked {
                break;
            }
            first.remove();
        }
        is_new
    }

    /// The application let go of a message; one that is not acknowledged never will be, and is
    /// late in time even if its processing had not begun.
    pub(crate) fn dropped(&mut self, offset: u64, now: Instant) {
        if let Some(entry) = self.handed_out.get_mut(&offset)
            && entry.state == Waiting::Held
        {
            entry.state = Waiting::Dropped;
            entry.since.get_or_insert(now);
            self.held -= 1;
        }
    }

    /// Sets when the processing of a message began; `None`: it did not yet.
    pub(crate) fn set_since(&mut self, offset: u64, since: Option<Instant>) {
        if let Some(entry) = self.handed_out.get_mut(&offset) {
            entry.since = since;
        }
    }

    /// Messages that the application holds unacknowledged.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// The message that is unacknowledged for the longest time, and since when.
    pub(crate) fn oldest(&self) -> Option<(u64, Instant)> {
        let open = self.handed_out.iter().filter(|(_, entry)| entry.state != Waiting::Acked);
        open.filter_map(|(offset, entry)| Some((*offset, entry.since?))).min_by_key(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_position_is_the_lowest_unacknowledged_whatever_the_order(
            offsets in proptest::collection::btree_set(10_u64..60, 1..40),
            order in any::<u64>(),
            acked in 0_usize..41,
        ) {
            let mut tracker = Tracker::new(10);
            for offset in &offsets {
                tracker.hand_out(*offset, Instant::now());
            }
            let end = offsets.last().unwrap() + 1;
            let mut shuffled: Vec<u64> = offsets.iter().copied().collect();
            // A fixed permutation of the seed.
            let key = |offset: &u64| (offset ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
            shuffled.sort_by_key(key);
            let mut open: BTreeSet<u64> = offsets;
            let mut last = tracker.position();
            for offset in shuffled.into_iter().take(acked) {
                prop_assert!(tracker.ack(offset));
                prop_assert!(!tracker.ack(offset), "twice is as once");
                open.remove(&offset);
                let expected = open.first().copied().unwrap_or(end);
                prop_assert_eq!(tracker.position(), expected);
                prop_assert!(tracker.position() >= last, "it never moves back");
                last = tracker.position();
            }
            prop_assert_eq!(tracker.held(), open.len());
            prop_assert_eq!(tracker.next(), end);
        }
    }

    #[test]
    fn gaps_hold_nothing_back_and_what_is_not_known_is_no_acknowledgement() {
        let mut tracker = Tracker::new(5);
        assert_eq!(tracker.position(), 5);
        assert!(!tracker.ack(5));
        tracker.skip_to(9);
        assert_eq!(tracker.position(), 9);
        tracker.hand_out(12, Instant::now());
        assert_eq!((tracker.position(), tracker.next()), (12, 13));
        assert!(tracker.ack(12));
        assert_eq!(tracker.position(), 13);
    }

    #[test]
    fn a_dropped_message_holds_the_position_but_not_the_partition() {
        let mut tracker = Tracker::new(0);
        tracker.hand_out(0, Instant::now());
        tracker.hand_out(1, Instant::now());
        tracker.set_since(0, None);
        assert_eq!(tracker.oldest().map(|(offset, _)| offset), Some(1), "0 has not begun");
        tracker.dropped(0, Instant::now());
        tracker.ack(1);
        tracker.dropped(1, Instant::now());
        assert_eq!((tracker.position(), tracker.held()), (0, 0));
        assert_eq!(tracker.oldest().map(|(offset, _)| offset), Some(0));
    }
}
