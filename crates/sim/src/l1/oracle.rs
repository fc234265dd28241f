//! The one log that all replicas of a shard must agree on, and what was promised about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use quipu_consensus::{AppliedState, Payload, Reply};
use quipu_shard::{Bundle, Outcome, reply};
use quipu_types::{EntryId, LogIndex, ReplicaId, ShardId, Term};

use super::members::Members;
use super::proposals::Proposals;
use super::replicas::Replicas;
use crate::model::{Applied, Model};

/// One shard's.
pub(crate) struct Oracle {
    shard: ShardId,
    entries: Vec<Entry>,
    /// After each entry; before the first, the empty state.
    states: Vec<After>,
    pub(crate) proposals: Proposals,
    leaders: BTreeMap<Term, ReplicaId>,
    /// Entries up to the last acknowledged one.
    acknowledged: usize,
    /// Who else looks at what the log says; then proposals are somebody else's to know.
    watch: Option<Box<dyn Watch>>,
    /// Who judges its members.
    replicas: Replicas,
}

/// Looks at each command as the log says it, once.
pub(crate) trait Watch: Send {
    /// A command was applied for the first time by any replica.
    fn applied(&mut self, step: &Applied<'_>) -> Result<(), String>;
}

struct Entry {
    id: EntryId,
    payload: Payload,
}

/// Everything known after some entries.
#[derive(Clone)]
struct After {
    model: Model,
    membership: Bytes,
    outcomes: Arc<Vec<Outcome>>,
}

impl Oracle {
    pub(crate) fn new(shard: ShardId, replicas: Replicas) -> Self {
        let empty =
            After { model: Model::default(), membership: Bytes::new(), outcomes: Arc::default() };
        Self {
            shard,
            entries: Vec::new(),
            states: vec![empty],
            proposals: Proposals::default(),
            leaders: BTreeMap::new(),
            acknowledged: 0,
            watch: None,
            replicas,
        }
    }

    /// Has every command looked at; who proposed what is not checked here then.
    pub(crate) fn watched_by(mut self, watch: Box<dyn Watch>) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Entries that some replica has applied.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Entries up to the last acknowledged one.
    pub(crate) const fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// The state after the first `applied` entries.
    pub(crate) fn model(&self, applied: usize) -> &Model {
        &self.states[applied].model
    }

    /// The newest state.
    pub(crate) fn newest(&self) -> &Model {
        &self.states[self.len()].model
    }

    /// What a checkpoint after the first `applied` entries says.
    pub(crate) fn applied_state(&self, applied: usize) -> AppliedState {
        let last = applied.checked_sub(1).map(|last| self.entries[last].id);
        AppliedState { applied: last, membership: self.states[applied].membership.clone() }
    }

    /// How many entries a checkpoint speaks of, if it is one of this log.
    pub(crate) fn recognize(&self, state: &AppliedState) -> Result<usize, String> {
        let applied = count(state.applied);
        if applied > self.len() || self.applied_state(applied) != *state {
            let shard = self.shard;
            return Err(format!("shard {shard} has a checkpoint nobody made: {state:?}"));
        }
        Ok(applied)
    }

    /// A replica leads in a term.
    pub(crate) fn leads(&mut self, replica: ReplicaId, term: Term) -> Result<(), String> {
        match *self.leaders.entry(term).or_insert(replica) {
            leader if leader == replica => Ok(()),
            leader => {
                let shard = self.shard;
                Err(format!("replicas {leader} and {replica} lead shard {shard} in term {term}"))
            }
        }
    }

    /// Whoever leads in a term may have been chosen when it began.
    fn check_leader(&self, id: EntryId) -> Result<(), String> {
        let begins = self.entries.last().is_some_and(|last| last.id.term < id.term);
        let leader = self.leaders.get(&id.term).filter(|_| begins);
        leader.map_or(Ok(()), |leader| self.replicas.check_leader(self.shard, *leader, id))
    }

    /// Who the members are after all entries; nobody before the group is formed.
    pub(crate) fn members(&self) -> Result<Option<Members>, String> {
        let stored = &self.states[self.len()].membership;
        let members = stored.get(STORED_BYTES..).filter(|members| !members.is_empty());
        members.map(Members::decode).transpose()
    }

    /// A replica applied its next entry, after `applied` others, and answered it.
    pub(crate) fn applied(
        &mut self,
        applied: usize,
        id: EntryId,
        payload: &Payload,
        reply: &Reply,
    ) -> Result<(), String> {
        let shard = self.shard;
        if count(Some(id)) != applied + 1 {
            return Err(format!("shard {shard} applies {id} after {applied} entries"));
        }
        match self.entries.get(applied) {
            None => self.extend(id, payload)?,
            Some(entry) if entry.id == id && entry.payload == *payload => {}
            Some(entry) => {
                let (there, was, is) = (entry.id, brief(&entry.payload), brief(payload));
                return Err(format!(
                    "shard {shard} has two logs: {was} at {there} was applied elsewhere, {is} at \
                     {id} is applied here"
                ));
            }
        }
        self.check_reply(applied, payload, reply)
    }

    fn check_reply(&self, applied: usize, payload: &Payload, found: &Reply) -> Result<(), String> {
        let Payload::Command(_) = payload else { return Ok(()) };
        let outcomes = reply::decode(&found.0).map_err(|error| error.to_string())?;
        let expected = &self.states[applied + 1].outcomes;
        if outcomes == **expected {
            return Ok(());
        }
        let (shard, id) = (self.shard, self.entries[applied].id);
        Err(format!("shard {shard} answers {id} with {outcomes:?}, should be {expected:?}"))
    }

    /// The first replica to apply an entry shows what the log is.
    fn extend(&mut self, id: EntryId, payload: &Payload) -> Result<(), String> {
        let shard = self.shard;
        if self.entries.last().is_some_and(|last| last.id.term > id.term) {
            return Err(format!("shard {shard} has terms that fall, at {id}"));
        }
        self.check_leader(id)?;
        let mut next = self.states[self.len()].clone();
        next.outcomes = Arc::default();
        match payload {
            Payload::Command(bytes) => {
                let bundle = Bundle::decode(bytes.clone()).map_err(|error| error.to_string())?;
                next.outcomes = Arc::new(match &mut self.watch {
                    Some(watch) => {
                        next.model.apply_each(id, &bundle, &mut |step| watch.applied(step))?
                    }
                    None => {
                        self.proposals.found(shard, bytes, id)?;
                        next.model.apply(id, &bundle)
                    }
                });
            }
            Payload::Membership(members) => {
                let after = Members::decode(members)?;
                self.replicas.changed(shard, id, self.members()?.as_ref(), &after)?;
                next.membership = stored(id, members);
            }
            Payload::Blank => {}
        }
        let before = &self.states[self.len()].model;
        next.model.check_follows(before).map_err(|error| format!("shard {shard}: {error}"))?;
        self.entries.push(Entry { id, payload: payload.clone() });
        self.states.push(next);
        Ok(())
    }

    /// A proposal was acknowledged at an index.
    pub(crate) fn acknowledge(&mut self, command: &Bytes, id: EntryId) -> Result<(), String> {
        let is_there = self.entries.get(place(id.index)).is_some_and(|entry| {
            entry.id == id && entry.payload == Payload::Command(command.clone())
        });
        self.acknowledged = self.acknowledged.max(count(Some(id)));
        if is_there {
            return Ok(());
        }
        Err(format!("shard {} acknowledges {id} and has something else there", self.shard))
    }

    /// Everything acknowledged is in the log, and every replica came so far.
    pub(crate) fn check_end(&self, applied: usize) -> Result<(), String> {
        let (shard, all, acknowledged) = (self.shard, self.len(), self.acknowledged);
        if applied == all && acknowledged <= all {
            return self.proposals.check_end(shard);
        }
        Err(format!(
            "a replica of shard {shard} ends after {applied} entries of {all}, of which \
             {acknowledged} were acknowledged"
        ))
    }
}

/// What a stored membership has in front.
const STORED_BYTES: usize = 17;

/// A membership as consensus stores it: with the entry that made it.
fn stored(id: EntryId, members: &Bytes) -> Bytes {
    let mut stored = BytesMut::new();
    stored.put_u8(1);
    stored.put_u64_le(id.term.get());
    stored.put_u64_le(id.index.get());
    stored.extend_from_slice(members);
    stored.freeze()
}

fn brief(payload: &Payload) -> String {
    match payload {
        Payload::Command(bytes) => format!("a command {:08x}", crc32c::crc32c(bytes)),
        Payload::Membership(_) => "a membership".to_owned(),
        Payload::Blank => "a blank entry".to_owned(),
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
