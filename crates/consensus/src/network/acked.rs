//! What a follower acknowledged to a leader, and whether it still has it.

use openraft::raft::{StreamAppendError, StreamAppendResult};

use crate::type_config::{RaftVote, TypeConfig};

/// A follower lacks entries that it said were on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the follower acknowledged entries up to {acked} and now lacks entry {missing}: its disk lost \
     what it had flushed, or its directory is an old copy; it gets nothing more from this leader. \
     Replace the node: `quipu node replace`"
)]
pub(super) struct LostEntries {
    acked: u64,
    missing: u64,
}

/// The high-water mark of one replica's acknowledgements to one leader. openraft counts on it
/// never to fall; a follower for which it fell counts for nothing any more.
#[derive(Debug, Default)]
pub(super) struct Acked {
    leader: Option<RaftVote>,
    index: u64,
}

impl Acked {
    /// A request of this leader goes out. Another leader may have cut the log meanwhile.
    pub(super) fn lead(&mut self, leader: &RaftVote) {
        if self.leader.as_ref() != Some(leader) {
            *self = Self { leader: Some(leader.clone()), index: 0 };
        }
    }

    pub(super) fn note(
        &mut self,
        answer: &StreamAppendResult<TypeConfig>,
    ) -> Result<(), LostEntries> {
        match answer {
            Ok(Some(acked)) => self.index = self.index.max(acked.index()),
            Err(StreamAppendError::Conflict(missing)) if missing.index() <= self.index => {
                return Err(LostEntries { acked: self.index, missing: missing.index() });
            }
            Ok(None) | Err(_) => {}
        }
        Ok(())
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
        assert_eq!(acked.note(&conflict(12)), Ok(()), "behind from the start");
        assert_eq!(acked.note(&Ok(Some(id(10)))), Ok(()));
        assert_eq!(acked.note(&conflict(11)), Ok(()), "behind what it acknowledged");
        let lost = LostEntries { acked: 10, missing: 10 };
        assert_eq!(acked.note(&conflict(10)), Err(lost));
        acked.lead(&leader(1));
        assert_eq!(acked.note(&conflict(10)), Err(lost), "for as long as this leader leads");
        acked.lead(&leader(2));
        assert_eq!(acked.note(&conflict(10)), Ok(()), "another leader cut it");
    }
}
