//! Votes, committed marks, entries and memberships in the journal.

use bytes::Bytes;
use quipu_consensus::fuzz::{stored_committed, stored_entry, stored_membership, stored_vote};

use crate::input::shared;
use crate::{Seed, Verdict};

pub(crate) fn run(input: &[u8]) -> Verdict {
    let bytes = shared(input);
    let readers: [fn(Bytes) -> Option<Bytes>; 4] = [
        |bytes| stored_vote(&bytes),
        |bytes| stored_committed(&bytes),
        stored_entry,
        stored_membership,
    ];
    let mut verdict = Verdict::Refused;
    for read in readers {
        if let Some(written) = read(bytes.clone()) {
            assert!(written.len() <= bytes.len().max(1 << 6), "no more than came");
            assert_eq!(read(written.clone()), Some(written), "read and written the same");
            verdict = Verdict::Accepted;
        }
    }
    verdict
}

/// Two numbers behind a byte, little-endian, as the tables of the formats say.
fn numbers(first: u8, numbers: &[u64]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

/// A membership of these voter sets and places.
pub(super) fn membership(sets: &[&[u64]], places: &[(u64, u64)]) -> Vec<u8> {
    let count = |count: usize| u32::try_from(count).expect("a few").to_le_bytes();
    let mut bytes = vec![1];
    bytes.extend(count(sets.len()));
    for set in sets {
        bytes.extend(count(set.len()));
        bytes.extend(set.iter().flat_map(|voter| voter.to_le_bytes()));
    }
    bytes.extend(count(places.len()));
    for (replica, node) in places {
        bytes.extend(replica.to_le_bytes());
        bytes.extend(node.to_le_bytes());
    }
    bytes
}

pub(crate) fn seeds() -> Vec<Seed> {
    let one = membership(&[&[1]], &[(1, 7)]);
    let joint = membership(&[&[1, 2, 3], &[2, 3, 4]], &[(1, 1), (2, 2), (3, 3), (4, 4)]);
    let vote = |is_committed: u8| [numbers(1, &[7, 3]), vec![is_committed]].concat();
    vec![
        ("ok-vote", vote(0)),
        ("ok-vote-granted", vote(1)),
        ("ok-committed", numbers(1, &[2, 40])),
        ("ok-blank", vec![0]),
        ("ok-command", b"\x01command".to_vec()),
        ("ok-members", [vec![2], one.clone()].concat()),
        ("ok-joint", [vec![2], joint.clone()].concat()),
        ("ok-stored", [numbers(1, &[2, 9]), one].concat()),
        ("ok-stored-joint", [numbers(1, &[2, 9]), joint].concat()),
    ]
}
