//! What a shard holds of the journal.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use quipu_types::{EntryId, LogIndex, ShardId};

use crate::frame::HEADER_BYTES;
use crate::frame::{Frame, Kind};
use crate::group::{Found, Group, GroupInner};
use crate::queue::Op;
use crate::shared::Shared;
use crate::{Damage, FlushFailed, JournalPosition, ReadError};

/// One Raft entry. The journal does not look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Term and index.
    pub id: EntryId,
    /// Its bytes.
    pub payload: Bytes,
}

/// Called once, from the writer's thread (from the caller's after the journal was closed): keep it
/// short, and do not wait in it.
pub type FlushCallback = Box<dyn FnOnce(Result<(), FlushFailed>) + Send>;

/// What a group holds at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// The last vote saved.
    pub vote: Option<Bytes>,
    /// The last committed id saved. After a crash it may be older than the last one before.
    pub committed: Option<Bytes>,
    /// Entries up to here were purged.
    pub purged: Option<EntryId>,
    /// The last entry, or `purged` when there is none.
    pub last: Option<EntryId>,
    /// The first live entry.
    pub first: Option<LogIndex>,
}

/// One group's part of the journal.
///
/// - Order: what one group does takes effect, in memory and on disk, in call order; callbacks come
///   in that order, over all groups.
/// - No call waits, except [`Self::read`], which may read from disk.
/// - Memory changes at once, durable or not: a caller acknowledges from the callback only.
#[derive(Clone)]
pub struct GroupJournal {
    shared: Arc<Shared>,
    group: Arc<Group>,
}

impl GroupJournal {
    pub(crate) fn new(shared: Arc<Shared>, group: Arc<Group>) -> Self {
        Self { shared, group }
    }

    /// The group.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.group.shard
    }

    /// What the group holds: after a start, what was recovered.
    #[must_use]
    pub fn state(&self) -> GroupState {
        let inner = self.group.lock();
        GroupState {
            vote: inner.vote.clone(),
            committed: inner.committed.clone(),
            purged: inner.purged,
            last: inner.last(),
            first: (!inner.index.is_empty()).then(|| LogIndex::new(inner.index.range().start)),
        }
    }

    /// Adds entries after the last. They can be read at once and are durable when called back.
    ///
    /// # Panics
    /// When an entry does not follow the last one: truncate before overwriting.
    pub fn append(&self, entries: Vec<JournalEntry>, on_flushed: FlushCallback) {
        self.change(|inner| {
            if inner.is_removed {
                return Some(refuse(on_flushed));
            }
            inner.append(&entries);
            Some(Op::Append { group: Arc::clone(&self.group), entries, on_flushed })
        });
    }

    /// Replaces the vote. Flushed at once under every policy.
    pub fn save_vote(&self, vote: Bytes, on_flushed: FlushCallback) {
        self.change(|inner| {
            if inner.is_removed {
                return Some(refuse(on_flushed));
            }
            inner.vote = Some(vote.clone());
            Some(Op::Vote { shard: self.group.shard, vote, on_flushed })
        });
    }

    /// Replaces the committed id. It goes with the next write of any group, or with closing.
    pub fn save_committed(&self, committed: Bytes) {
        let mut inner = self.group.lock();
        if !inner.is_removed {
            inner.committed = Some(committed.clone());
            self.shared.queue.leave_committed(self.group.shard, committed);
        }
    }

    /// Drops entries after `last_kept` (all, for `None`). Durable no later than the next append.
    ///
    /// # Panics
    /// When that would drop purged entries.
    pub fn truncate_after(&self, last_kept: Option<LogIndex>) {
        self.change(|inner| {
            if let (Some(purged), Some(last_kept)) = (inner.purged, last_kept) {
                assert!(last_kept >= purged.index, "truncate after {last_kept}, purged {purged}");
            }
            let group = Arc::clone(&self.group);
            inner.truncate_after(last_kept).then_some(Op::Truncate { group, last_kept })
        });
    }

    /// Drops entries up to `upto`, which may lie beyond the last (a snapshot was installed): then
    /// the next entry is the one after `upto`. Files without live entries are used again.
    pub fn purge(&self, upto: EntryId) {
        self.change(|inner| {
            if inner.is_removed {
                return None;
            }
            inner.purge(upto).then_some(Op::Purge { shard: self.group.shard, upto })
        });
    }

    /// Calls back once everything enqueued before is durable, under every flush policy.
    pub fn barrier(&self, on_flushed: FlushCallback) {
        self.change(|_| Some(Op::Barrier { on_flushed }));
    }

    /// Forgets the group for good. Later calls on this handle have no effect; their callbacks fail.
    pub fn remove(&self) {
        self.change(|inner| {
            if inner.is_removed {
                return None;
            }
            inner.remove();
            Some(Op::Remove { shard: self.group.shard })
        });
        // Only now may another group take the number: its first record comes after the removal.
        self.shared.forget(&self.group);
    }

    /// Reads entries from `start`, up to `end` (excluded) and about `bytes_max` payload bytes.
    ///
    /// - Dense from `start`; at least one entry if `start` is live, whatever its size; none if
    ///   `start` is purged or not appended yet.
    /// - From memory if it is there, else from disk with all checks.
    ///
    /// # Errors
    /// `Corruption` and `Io` concern the first entry that could not be read; nothing is skipped.
    pub fn read(
        &self,
        start: LogIndex,
        end: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<JournalEntry>, ReadError> {
        let found = self.group.lock().find(start.get()..end.get(), bytes_max);
        let mut entries = Vec::with_capacity(found.len());
        for one in found {
            match one {
                Found::Memory(entry) => entries.push(entry),
                Found::Disk { id, position, payload_bytes } => {
                    match self.read_from_disk(id, position, payload_bytes) {
                        Ok(entry) => entries.push(entry),
                        // Purged or truncated meanwhile, and its file used again.
                        Err(_) if !self.is_still_at(id, position) => break,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(entries)
    }

    /// The id of a live entry, or of the last purged one.
    #[must_use]
    pub fn entry_id(&self, index: LogIndex) -> Option<EntryId> {
        let inner = self.group.lock();
        let purged = inner.purged.filter(|purged| purged.index == index);
        inner.index.entry_id(index).or(purged)
    }

    /// The first live entry of every term.
    #[must_use]
    pub fn term_starts(&self) -> Vec<EntryId> {
        self.group.lock().index.term_starts()
    }

    /// The last entry before which everything is durable; purged ones count as durable.
    #[must_use]
    pub fn durable_index(&self) -> Option<LogIndex> {
        self.group.lock().durable_index()
    }

    /// Changes memory and enqueues the record of it as one step, so that disk keeps call order.
    fn change(&self, change: impl FnOnce(&mut GroupInner) -> Option<Op>) {
        let mut inner = self.group.lock();
        let Some(op) = change(&mut inner) else { return };
        let pushed = self.shared.queue.push(op);
        drop(inner);
        if let Err(op) = pushed {
            op.fail(&FlushFailed::new("the journal is closed"));
        }
    }

    fn is_still_at(&self, id: EntryId, position: JournalPosition) -> bool {
        let inner = self.group.lock();
        let slot = inner.index.get(id.index);
        slot.is_some_and(|slot| slot.term() == id.term && slot.position() == Some(position))
    }

    fn read_from_disk(
        &self,
        id: EntryId,
        position: JournalPosition,
        payload_bytes: usize,
    ) -> Result<JournalEntry, ReadError> {
        let (shard, index) = (self.group.shard, id.index);
        let corruption = |damage| ReadError::Corruption { shard, index, position, damage };
        let file =
            self.shared.files.get(position.file).ok_or_else(|| corruption(Damage::NoFrame))?;
        let mut bytes = vec![0; HEADER_BYTES + payload_bytes];
        file.read_exact_at(&mut bytes, position.byte).map_err(|source| ReadError::Io {
            shard,
            index,
            position,
            source,
        })?;
        let frame = Frame::read_alone(&bytes, position).map_err(corruption)?;
        let subject = frame.header.subject;
        if (subject.kind, subject.shard, subject.id) != (Kind::Entry, shard, id)
            || frame.payload.len() != payload_bytes
        {
            return Err(corruption(Damage::Misplaced));
        }
        Ok(JournalEntry { id, payload: Bytes::from(bytes).slice(HEADER_BYTES..) })
    }
}

impl fmt::Debug for GroupJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupJournal").field("shard", &self.group.shard).finish_non_exhaustive()
    }
}

fn refuse(on_flushed: FlushCallback) -> Op {
    Op::Refused { error: FlushFailed::new("the group was removed from the journal"), on_flushed }
}
