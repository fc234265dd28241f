//! The bytes of an entry's payload, in the journal and between nodes alike:
//! `docs/formats/raft-entry.md`.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | kind: 0 blank, 1 command, 2 membership |
//! | … | the command, or the membership (see [`crate::membership`]) |

use bytes::{BufMut, Bytes, BytesMut};
use openraft::EntryPayload;

use crate::membership;
use crate::state_machine::Payload;
use crate::type_config::{Command, Entry, LogId, Place};

/// Persisted; never reuse.
const BLANK: u8 = 0;
/// Persisted; never reuse.
const COMMAND: u8 = 1;
/// Persisted; never reuse.
const MEMBERSHIP: u8 = 2;

/// The bytes do not follow the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decode an entry of {bytes} bytes: {why}")]
pub(crate) struct Undecodable {
    bytes: usize,
    why: &'static str,
}

impl Undecodable {
    pub(crate) const fn new(bytes: usize, why: &'static str) -> Self {
        Self { bytes, why }
    }
}

/// A command behind its kind.
pub(crate) fn encode_command(command: &[u8]) -> Bytes {
    let mut encoded = BytesMut::with_capacity(1 + command.len());
    encoded.put_u8(COMMAND);
    encoded.put_slice(command);
    encoded.freeze()
}

/// The stored form of an entry's payload; a command is shared, not copied.
pub(crate) fn encode(payload: &EntryPayload<Command, u64, Place>) -> Bytes {
    match payload {
        EntryPayload::Blank => Bytes::from_static(&[BLANK]),
        EntryPayload::Normal(command) => command.encoded.clone(),
        EntryPayload::Membership(members) => {
            let mut encoded = BytesMut::new();
            encoded.put_u8(MEMBERSHIP);
            membership::encode(members, &mut encoded);
            encoded.freeze()
        }
    }
}

/// An entry from its stored form; a command shares the bytes.
pub(crate) fn decode(id: LogId, encoded: Bytes) -> Result<Entry, Undecodable> {
    let payload = match encoded.first() {
        Some(&BLANK) => EntryPayload::Blank,
        Some(&COMMAND) => EntryPayload::Normal(Command::stored(encoded)),
        Some(&MEMBERSHIP) => EntryPayload::Membership(membership::decode(&mut encoded.slice(1..))?),
        Some(_) => return Err(Undecodable::new(encoded.len(), "unknown kind")),
        None => return Err(Undecodable::new(0, "no kind")),
    };
    Ok(Entry { log_id: id, payload })
}

/// What a state machine gets to see.
pub(crate) fn payload(payload: &EntryPayload<Command, u64, Place>) -> Payload {
    match payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(command) => Payload::Command(command.encoded.slice(1..)),
        EntryPayload::Membership(_) => Payload::Membership(encode(payload).slice(1..)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use quipu_types::{EntryId, LogIndex, NodeId, Term};

    use super::*;
    use crate::type_config::{Membership, log_id};

    fn id() -> LogId {
        log_id(EntryId::new(Term::new(3), LogIndex::new(9)))
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        assert_eq!(encode_command(b"abc").as_ref(), b"\x01abc");
        assert_eq!(encode(&EntryPayload::Blank).as_ref(), b"\x00");
        let members = Membership::new(
            vec![BTreeSet::from([1])],
            BTreeMap::from([(1, Place { node: NodeId::new(7) })]),
        )
        .expect("one voter with its place");
        let encoded = encode(&EntryPayload::Membership(members));
        let mut expected = vec![2, 1];
        expected.extend([1, 0, 0, 0]);
        expected.extend([1, 0, 0, 0]);
        expected.extend(1_u64.to_le_bytes());
        expected.extend([1, 0, 0, 0]);
        expected.extend(1_u64.to_le_bytes());
        expected.extend(7_u64.to_le_bytes());
        assert_eq!(encoded.as_ref(), expected);
    }

    #[test]
    fn a_payload_comes_back_and_damage_is_refused() {
        let members = Membership::new(
            vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])],
            BTreeMap::from([1, 2, 3, 9].map(|id| (id, Place { node: NodeId::new(id + 10) }))),
        )
        .expect("all voters have places");
        let encoded = encode(&EntryPayload::Membership(members.clone()));
        let back = decode(id(), encoded.clone()).expect("just encoded").payload;
        let EntryPayload::Membership(back) = back else { panic!("{back:?}") };
        assert_eq!(back, members);
        for cut in 1..encoded.len() {
            assert!(decode(id(), encoded.slice(..cut)).is_err(), "cut at {cut}");
        }
        assert!(decode(id(), Bytes::from_static(b"\x07abc")).is_err());
        assert!(decode(id(), Bytes::new()).is_err());
        let command = decode(id(), encode_command(b"xyz")).expect("a command");
        assert_eq!(payload(&command.payload), Payload::Command(Bytes::from_static(b"xyz")));
    }
}
