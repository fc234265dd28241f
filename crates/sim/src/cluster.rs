//! What the other replicas of a shard know: the leader's log, and how much of it is committed.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use quipu_consensus::{AppliedState, Payload};
use quipu_runtime::Rng;
use quipu_shard::{Bundle, Outcome};
use quipu_types::{EntryId, LogIndex, Term};

use crate::commands::{self, one_in};
use crate::model::Model;

/// First byte of a payload, as in consensus.
mod kind {
    pub(super) const BLANK: u8 = 0;
    pub(super) const COMMAND: u8 = 1;
    pub(super) const MEMBERSHIP: u8 = 2;
}

/// An entry of the leader's log.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    pub(crate) payload: Bytes,
}

/// Everything known after one more committed entry.
#[derive(Clone, Debug)]
struct After {
    model: Model,
    membership: Bytes,
    outcomes: Arc<Vec<Outcome>>,
}

/// The leader's log. What is committed never changes; the rest may be replaced by a later leader's.
pub(crate) struct Cluster {
    entries: Vec<Entry>,
    term: Term,
    /// After each committed entry; before the first, the empty state.
    states: Vec<After>,
    proposed: u64,
}

impl Cluster {
    /// A log with its first entry, the members.
    pub(crate) fn new() -> Self {
        let empty = After {
            model: Model::default(),
            membership: Bytes::new(),
            outcomes: Arc::new(Vec::new()),
        };
        let term = Term::new(1);
        let mut own = Self { entries: Vec::new(), term, states: vec![empty], proposed: 0 };
        own.push(tagged(kind::MEMBERSHIP, b"members 0"));
        own
    }

    /// Entries of the leader's log.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Committed entries.
    pub(crate) fn committed(&self) -> usize {
        self.states.len() - 1
    }

    /// The entry at an index, if there is one.
    pub(crate) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        self.entries.get(place(index))
    }

    /// The state after the first `applied` entries.
    pub(crate) fn model(&self, applied: usize) -> &Model {
        &self.states[applied].model
    }

    /// What the last of the first `applied` entries answered.
    pub(crate) fn outcomes(&self, applied: usize) -> &[Outcome] {
        &self.states[applied].outcomes
    }

    /// What a checkpoint after the first `applied` entries says.
    pub(crate) fn applied_state(&self, applied: usize) -> AppliedState {
        let last = applied.checked_sub(1).map(|last| self.entries[last].id);
        AppliedState { applied: last, membership: self.states[applied].membership.clone() }
    }

    fn push(&mut self, payload: Bytes) {
        let index = LogIndex::new(u64::try_from(self.entries.len()).expect("few"));
        self.entries.push(Entry { id: EntryId::new(self.term, index), payload });
    }

    /// The leader proposes something.
    pub(crate) fn propose(&mut self, rng: &mut Rng) {
        self.proposed += 1;
        let payload = if one_in(rng, 20) {
            tagged(kind::MEMBERSHIP, format!("members {}", self.proposed).as_bytes())
        } else {
            let known = &self.states[self.committed()].model;
            tagged(kind::COMMAND, &commands::bundle(rng, known, self.proposed))
        };
        self.push(payload);
    }

    /// Another leader: a part of what was not committed is gone, and its term begins.
    pub(crate) fn elect(&mut self, rng: &mut Rng) {
        let open = u64::try_from(self.len() - self.committed()).expect("few");
        let kept = self.committed() + usize::try_from(rng.below(open + 1)).expect("few");
        self.entries.truncate(kept);
        self.term = Term::new(self.term.get() + 1);
        self.push(tagged(kind::BLANK, b""));
    }

    /// The first entries up to some further one are committed.
    pub(crate) fn commit(&mut self, rng: &mut Rng) -> Result<(), String> {
        let open = u64::try_from(self.len() - self.committed()).expect("few");
        for _ in 0..rng.below(open + 1) {
            let next = self.next_state();
            next.model.check_follows(&self.states[self.committed()].model)?;
            self.states.push(next);
        }
        Ok(())
    }

    fn next_state(&self) -> After {
        let entry = &self.entries[self.committed()];
        let mut next = self.states[self.committed()].clone();
        next.outcomes = Arc::new(Vec::new());
        match payload(entry.payload.clone()) {
            Payload::Command(bytes) => {
                let bundle = Bundle::decode(bytes).expect("encoded here");
                next.outcomes = Arc::new(next.model.apply(entry.id, &bundle));
            }
            Payload::Membership(members) => next.membership = members,
            Payload::Blank => {}
        }
        next
    }
}

/// An index as a place in a list.
pub(crate) fn place(index: LogIndex) -> usize {
    usize::try_from(index.get()).expect("few")
}

/// How many entries end with this one.
pub(crate) fn count(last: Option<EntryId>) -> usize {
    last.map_or(0, |id| place(id.index) + 1)
}

/// What a state machine gets to see of a stored payload.
pub(crate) fn payload(stored: Bytes) -> Payload {
    match stored.first() {
        Some(&kind::COMMAND) => Payload::Command(stored.slice(1..)),
        Some(&kind::MEMBERSHIP) => Payload::Membership(stored.slice(1..)),
        Some(_) | None => Payload::Blank,
    }
}

fn tagged(kind: u8, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + body.len());
    bytes.put_u8(kind);
    bytes.put_slice(body);
    bytes.freeze()
}
