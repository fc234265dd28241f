//! The bytes of a vote and of a committed mark in the journal. Little endian.
//!
//! | bytes | vote | committed mark |
//! |---|---|---|
//! | 1 | format version: 1 | format version: 1 |
//! | 8 | term | term |
//! | 8 | replica voted for | index |
//! | 1 | 1 once a quorum granted it, else 0 | |

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_types::{EntryId, LogIndex, Term};

use crate::entry::Undecodable;
use crate::type_config::RaftVote;

/// Persisted; never reuse.
const VERSION: u8 = 1;

/// The stored form of a vote.
pub(crate) fn encode(vote: &RaftVote) -> Bytes {
    let mut out = BytesMut::with_capacity(18);
    out.put_u8(VERSION);
    out.put_u64_le(vote.leader_id.term);
    out.put_u64_le(vote.leader_id.voted_for);
    out.put_u8(u8::from(vote.committed));
    out.freeze()
}

/// A vote from its stored form.
pub(crate) fn decode(from: &Bytes) -> Result<RaftVote, Undecodable> {
    if from.len() != 18 || from[0] != VERSION {
        return Err(Undecodable::new(from.len(), "not a vote of version 1"));
    }
    let mut rest = from.slice(1..);
    let (term, replica) = (rest.get_u64_le(), rest.get_u64_le());
    Ok(match rest.get_u8() {
        0 => RaftVote::new(term, replica),
        _ => RaftVote::new_committed(term, replica),
    })
}

/// The stored form of how far the group is known to have committed.
pub(crate) fn encode_committed(committed: EntryId) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u8(VERSION);
    out.put_u64_le(committed.term.get());
    out.put_u64_le(committed.index.get());
    out.freeze()
}

/// The reverse of [`encode_committed`].
pub(crate) fn decode_committed(from: &Bytes) -> Result<EntryId, Undecodable> {
    if from.len() != 17 || from[0] != VERSION {
        return Err(Undecodable::new(from.len(), "not a committed mark of version 1"));
    }
    let mut rest = from.slice(1..);
    let term = Term::new(rest.get_u64_le());
    Ok(EntryId::new(term, LogIndex::new(rest.get_u64_le())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_and_a_mark_come_back() {
        for vote in [RaftVote::new(7, 3), RaftVote::new_committed(8, u64::MAX)] {
            assert_eq!(decode(&encode(&vote)), Ok(vote));
        }
        let id = EntryId::new(Term::new(2), LogIndex::new(40));
        assert_eq!(decode_committed(&encode_committed(id)), Ok(id));
        assert!(decode(&Bytes::from_static(b"short")).is_err());
        assert!(decode_committed(&Bytes::from_static(b"short")).is_err());
    }
}
