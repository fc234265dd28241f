//! The starts a data directory remembers.

use serde::{Deserialize, Serialize};

use crate::{Incarnation, StartId};

/// Starts that are kept when none of them gets to register.
const STARTS_MAX: usize = 64;

/// What tells a data directory from an old copy of it: the last start that it knows the cluster
/// registered, those since, and last the present one.
///
/// A copy that comes back lacks the start that was registered after it was made, and making it
/// start more often does not help it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartHistory {
    /// The number of the first of them.
    since: Incarnation,
    /// Made up at random, one each start.
    ids: Vec<StartId>,
}

impl StartHistory {
    /// Begins with a directory's first start.
    #[must_use]
    pub fn first(start: StartId) -> Self {
        Self { since: Incarnation::new(1), ids: vec![start] }
    }

    /// A history as it was told; `None` when it is longer than any.
    #[must_use]
    pub fn new(since: Incarnation, ids: Vec<StartId>) -> Option<Self> {
        (ids.len() <= STARTS_MAX).then_some(Self { since, ids })
    }

    /// The number of the first start in it.
    #[must_use]
    pub const fn since(&self) -> Incarnation {
        self.since
    }

    /// The starts, the present one last.
    #[must_use]
    pub fn ids(&self) -> &[StartId] {
        &self.ids
    }

    /// The present start.
    #[must_use]
    pub fn present(&self) -> StartId {
        self.ids.last().copied().unwrap_or_default()
    }

    /// Adds a start. Of many that never registered the newest are kept, behind the one that did.
    pub fn push(&mut self, start: StartId) {
        self.ids.push(start);
        if self.ids.len() > STARTS_MAX {
            self.ids.remove(1);
        }
    }

    /// The present start, number `incarnation`, is registered: earlier ones are not needed now.
    pub fn note_registered(&mut self, incarnation: Incarnation) {
        *self = Self { since: incarnation, ids: vec![self.present()] };
    }

    /// Whether the directory went through a start that others know of. Who knows only of one
    /// before the last registered is behind, and cannot tell.
    #[must_use]
    pub fn follows(&self, incarnation: Incarnation, start: StartId) -> bool {
        incarnation < self.since || self.ids.contains(&start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(of: u8) -> StartId {
        StartId::from_bytes([of; 16])
    }

    fn number(of: u64) -> Incarnation {
        Incarnation::new(of)
    }

    #[test]
    fn an_old_copy_never_becomes_the_directory_again() {
        let mut history = StartHistory::first(id(1));
        history.note_registered(number(1));
        let mut copy = history.clone();
        history.push(id(2));
        assert!(history.follows(number(1), id(1)));
        history.note_registered(number(2));
        // Same number, another start; and so for ever.
        for start in 100..=255 {
            copy.push(id(start));
            assert!(!copy.follows(number(2), id(2)), "after {} starts", copy.ids().len());
        }
        assert!(history.follows(number(2), id(2)));
    }

    #[test]
    fn who_is_behind_lets_a_later_start_in() {
        let mut history = StartHistory::first(id(1));
        for start in 2..=5 {
            history.push(id(start));
            history.note_registered(number(u64::from(start)));
        }
        assert_eq!(history.ids(), [id(5)]);
        assert!(history.follows(number(1), id(1)), "registered once, forgotten since");
    }

    #[test]
    fn starts_that_never_registered_do_not_crowd_out_the_one_that_did() {
        let mut history = StartHistory::first(id(1));
        (2..=200).for_each(|start| history.push(id(start)));
        assert_eq!(history.ids().len(), STARTS_MAX);
        assert!(history.follows(number(1), id(1)) && history.follows(number(200), id(200)));
        assert_eq!(history.present(), id(200));
    }
}
