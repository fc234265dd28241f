//! What a follower acknowledged to a leader, and whether it still has it.

use std::fmt;

use openraft::raft::{StreamAppendError, StreamAppendResult};

use crate::type_config::{RaftVote, TypeConfig};

/// A follower lacks entries that it said were on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LostEntries {
    acked: u64,
    missing: u64,
}

impl fmt::Display for LostEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acked, missing } = self;
        write!(
            f,
            "a follower acknowledged entries up to {acked} and lacks entry {missing}: its disk \
             lost what it had flushed. It gets them again; see to the disk"
        )
    }
}

/// The high-water mark of one replica's acknowledgements to one leader: it should never fall.
#[derive(Debug, Default)]
pub(super) struct Acked {
    leader: Option<RaftVote>,
    index: u64,
}

impl Acked {
    /// A request of this leader goes out. Another leader may have cut the log meanwhile.
    pub(super) fn lead(&mut self, leader: &RaftVote) {
        if self.leader.as_ref() != Some(leader) {
            *self = Self { leader: Some(*leader), index: 0 };
        }
    }

    /// Takes an answer in; says when it takes earlier ones back.
    pub(super) fn note(&mut self, answer: &StreamAppendResult<TypeConfig>) -> Option<LostEntries> {
        match answer {
            Ok(Some(acked)) => {
                self.index = self.index.max(acked.index());
                None
            }
            Err(StreamAppendError::Conflict(missing)) if missing.index() <= self.index => {
                let acked = std::mem::take(&mut self.index);
                Some(LostEntries { acked, missing: missing.index() })
            }
            Ok(None) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::{EntryId, LogIndex, Term};

    use super::*;
    use crate::type_config::log_id;

    fn id(index: u64) -> crate::type_config::LogId {
        log_id(EntryId::new(Term::new(1), LogIndex::new(index)))
    }

    fn leader(term: u64) -> RaftVote {
        RaftVote::new_committed(term, 1)
    }

    #[test]
    fn a_follower_that_lost_what_it_acknowledged_is_told_from_one_that_is_behind() {
        let mut acked = Acked::default();
        acked.lead(&leader(1));
        let conflict = |index| Err(StreamAppendError::Conflict(id(index)));
        assert_eq!(acked.note(&conflict(12)), None, "behind from the start");
        assert_eq!(acked.note(&Ok(Some(id(10)))), None);
        assert_eq!(acked.note(&conflict(11)), None, "behind what it acknowledged");
        let lost = LostEntries { acked: 10, missing: 10 };
        assert_eq!(acked.note(&conflict(10)), Some(lost));
        assert_eq!(acked.note(&conflict(5)), None, "said once");
        assert_eq!(acked.note(&Ok(Some(id(10)))), None);
        acked.lead(&leader(2));
        assert_eq!(acked.note(&conflict(10)), None, "another leader cut it");
    }
}
