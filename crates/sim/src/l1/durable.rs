//! What a replica has on its disk for certain, through all lives of its node.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use quipu_journal::{GroupJournal, GroupState};
use quipu_types::{EntryId, ReplicaId, ShardId};

use super::forgotten::Forgotten;

/// One node's. Made once; a start is checked against it.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    shards: BTreeMap<ShardId, DurableShard>,
}

#[derive(Debug, Default)]
struct DurableShard {
    /// Whose all this is.
    replica: Option<ReplicaId>,
    vote: Option<Bytes>,
    /// What the last start found.
    vote_at_start: Option<Bytes>,
    purged: Option<EntryId>,
    /// Entries that a checkpoint covers.
    checkpoint: usize,
    /// The last entry, to see truncations.
    last: Option<EntryId>,
    forgotten: Forgotten,
}

impl Durable {
    fn shard(&mut self, shard: ShardId) -> &mut DurableShard {
        self.shards.entry(shard).or_default()
    }

    /// A replica is about to start. Says whether it is another one than before: then there must be
    /// nothing.
    pub(crate) fn belongs_to(&mut self, shard: ShardId, replica: ReplicaId) -> bool {
        let own = self.shard(shard);
        let is_new = own.replica != Some(replica);
        if is_new {
            *own = DurableShard { replica: Some(replica), ..DurableShard::default() };
        }
        is_new
    }

    /// Everything handed to the journal is on disk. Says whether entries were cut off since the
    /// last time.
    pub(crate) fn flushed(&mut self, journal: &GroupJournal) -> bool {
        let GroupState { vote, purged, last, .. } = journal.state();
        let own = self.shard(journal.shard());
        let stands = |was: EntryId| purged >= Some(was) || journal.entry_id(was.index) == Some(was);
        let is_cut = own.last.is_some_and(|was| !stands(was));
        (own.vote, own.purged, own.last) = (vote, purged, last);
        is_cut
    }

    /// A checkpoint is on disk.
    pub(crate) fn checkpointed(&mut self, shard: ShardId, entries: usize) {
        self.shard(shard).checkpoint = entries;
    }

    /// The vote that the start before this one found.
    pub(crate) fn old_vote(&mut self, shard: ShardId) -> Option<Bytes> {
        self.shard(shard).vote_at_start.clone()
    }

    /// What truncations took, for a planted fault.
    pub(crate) fn forgotten(&mut self, shard: ShardId) -> &mut Forgotten {
        &mut self.shard(shard).forgotten
    }

    /// Checks what a replica finds that never was here.
    pub(crate) fn check_fresh(found: &GroupJournal, entries: usize) -> Result<(), String> {
        let state = found.state();
        if state == GroupState::default() && entries == 0 {
            return Ok(());
        }
        let shard = found.shard();
        Err(format!("shard {shard} begins on what another left: {entries} entries, {state:?}"))
    }

    /// Checks what a start finds.
    pub(crate) fn check(&mut self, found: &GroupJournal, entries: usize) -> Result<(), String> {
        let shard = found.shard();
        let own = self.shard(shard);
        let state = found.state();
        if ballot(state.vote.as_ref()) < ballot(own.vote.as_ref()) {
            let was = own.vote.as_deref();
            return Err(format!("shard {shard} forgot its vote {was:02x?}: {state:?}"));
        }
        if state.purged < own.purged || entries < own.checkpoint {
            return Err(format!("shard {shard} went back from {own:?} to {entries}, {state:?}"));
        }
        own.vote_at_start = state.vote;
        own.last = state.last;
        Ok(())
    }
}

/// A stored vote, `consensus::vote`, as votes follow each other: who asked for votes in a term may
/// follow another that won them there.
fn ballot(vote: Option<&Bytes>) -> Option<(u64, u8, u64)> {
    let mut fields = vote?.slice(1..);
    let (term, replica, is_won) = (fields.get_u64_le(), fields.get_u64_le(), fields.get_u8());
    Some((term, is_won, replica))
}
