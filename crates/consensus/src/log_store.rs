//! openraft's log on the node's shared journal.
//!
//! One ordered queue stands behind it: votes, entries, truncations and purges of a group reach the
//! disk in the order of the calls. `append` returns once the entries are readable; the callback
//! follows the flush, from the journal's thread. `save_vote` returns once it is durable.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::sync::{Arc, Mutex};

use futures::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use quipu_journal::{GroupJournal, JournalEntry};
use quipu_types::{LogIndex, limits};
use tokio::sync::oneshot;

use crate::type_config::{Entry, LogId, RaftVote, TypeConfig, entry_id, log_id};
use crate::{entry, vote};

#[cfg(test)]
mod tests;
mod weight;

pub(crate) use weight::LogWeight;

/// Bytes of one AppendEntries request and of one step of an apply. Below
/// `PEER_APPEND_BYTES_MAX`, so that several are under way instead of one.
const READ_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(READ_BYTES_MAX <= limits::PEER_APPEND_BYTES_MAX);

/// One group's log. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    journal: GroupJournal,
    /// The last vote handed to the journal.
    vote: Arc<Mutex<Option<RaftVote>>>,
    weight: Arc<Mutex<LogWeight>>,
}

impl LogStore {
    /// The log of a recovered group.
    pub(crate) fn open(journal: GroupJournal) -> io::Result<Self> {
        let vote = journal.state().vote.as_ref().map(vote::decode).transpose();
        Ok(Self {
            journal,
            vote: Arc::new(Mutex::new(vote.map_err(io::Error::other)?)),
            weight: Arc::default(),
        })
    }

    /// How heavy the log's end is.
    pub(crate) fn weight(&self) -> Arc<Mutex<LogWeight>> {
        Arc::clone(&self.weight)
    }

    fn read(&self, start: LogIndex, end: LogIndex, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let stored = self.journal.read(start, end, bytes_max).map_err(io::Error::other)?;
        stored.into_iter().map(decode).collect()
    }

    /// The part of a range that the log holds.
    fn held(&self, range: &impl RangeBounds<u64>) -> Option<(LogIndex, LogIndex)> {
        let state = self.journal.state();
        let (first, last) = (state.first?, state.last?.index);
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let (start, end) = (start.max(first.get()), end.min(last.get() + 1));
        (start < end).then(|| (LogIndex::new(start), LogIndex::new(end)))
    }
}

fn decode(stored: JournalEntry) -> io::Result<Entry> {
    entry::decode(log_id(stored.id), stored.payload).map_err(io::Error::other)
}

fn encode(entry: &Entry) -> JournalEntry {
    JournalEntry { id: entry_id(&entry.log_id), payload: entry::encode(&entry.payload) }
}

/// Reads `next..end` piece by piece.
struct Cursor {
    log: LogStore,
    next: LogIndex,
    end: LogIndex,
    read: std::vec::IntoIter<Entry>,
}

impl Cursor {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        if let Some(entry) = self.read.next() {
            return Ok(Some(entry));
        }
        if self.next >= self.end {
            return Ok(None);
        }
        let read = self.log.read(self.next, self.end, READ_BYTES_MAX)?;
        let Some(last) = read.last() else {
            return Err(io::Error::other(format!("entry {} is not in the log", self.next)));
        };
        self.next = entry_id(&last.log_id).index.next();
        self.read = read.into_iter();
        Ok(self.read.next())
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (next, end) = self.held(&range).unwrap_or_default();
        let cursor = Cursor { log: self.clone(), next, end, read: Vec::new().into_iter() };
        let steps = stream::unfold(Some(cursor), |cursor| {
            let step = cursor.and_then(|mut cursor| match cursor.next() {
                Ok(Some(entry)) => Some((Ok(entry), Some(cursor))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            });
            std::future::ready(step)
        });
        Box::pin(steps)
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (next, end) = self.held(&range).unwrap_or_default();
        let mut cursor = Cursor { log: self.clone(), next, end, read: Vec::new().into_iter() };
        let mut entries = Vec::new();
        while let Some(entry) = cursor.next()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        Ok(*self.vote.lock().expect("no code panics under this lock"))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let read = self.read(LogIndex::new(start), LogIndex::new(end), READ_BYTES_MAX)?;
        let is_purged = || self.journal.state().purged.is_some_and(|at| start <= at.index.get());
        // Purged meanwhile is no damage: openraft goes on with a snapshot.
        if read.is_empty() && start < end && !is_purged() {
            return Err(io::Error::other(format!("entry {start} is not in the log")));
        }
        Ok(read)
    }

    async fn get_key_log_ids(
        &mut self,
        range: RangeInclusive<LogId>,
    ) -> Result<Vec<LogId>, io::Error> {
        // The last entry of every term: alpha.37's own documentation says "first", its code and
        // its suite mean "last".
        let (first, last) = range.into_inner();
        let mut keys = Vec::new();
        let mut term = first.leader_id;
        for start in self.journal.term_starts().into_iter().map(log_id) {
            if start.leader_id > term && start <= last {
                keys.push(LogId { leader_id: term, index: start.index - 1 });
                term = start.leader_id;
            }
        }
        keys.push(last);
        Ok(keys)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.journal.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(log_id),
            last_log_id: state.last.or(state.purged).map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        quipu_failpoint::hit("consensus.vote.save.before");
        let (done, flushed) = oneshot::channel();
        self.journal.save_vote(
            vote::encode(vote),
            Box::new(move |result| drop(done.send(result.map_err(io::Error::other)))),
        );
        *self.vote.lock().expect("no code panics under this lock") = Some(*vote);
        if quipu_failpoint::is_planted("plant.vote.before-flush") {
            return Ok(());
        }
        let saved = flushed.await.map_err(|_| io::Error::other("the journal is closed"))?;
        quipu_failpoint::hit("consensus.vote.save.after");
        saved
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.journal.save_committed(vote::encode_committed(entry_id(&committed)));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let state = self.journal.state();
        let Some(saved) = state.committed.as_ref() else { return Ok(None) };
        let saved = vote::decode_committed(saved).map_err(io::Error::other)?;
        // Never beyond what the journal kept, or openraft would look for entries that are gone.
        Ok(state.last.map(|last| if saved.index > last.index { last } else { saved }).map(log_id))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut hooks = Vec::new();
        let mut stored = Vec::new();
        for entry in entries {
            if let EntryPayload::Normal(command) = &entry.payload {
                hooks.extend(command.take_hook());
            }
            stored.push(encode(&entry));
        }
        self.weight.lock().expect("no code panics under this lock").append(&stored);
        self.journal.append(
            stored,
            Box::new(move |result| {
                let is_flushed = result.is_ok();
                callback.io_completed(result.map_err(io::Error::other));
                if is_flushed {
                    hooks.into_iter().for_each(|hook| hook());
                }
            }),
        );
        Ok(())
    }

    async fn truncate_after(&mut self, last_kept: Option<LogId>) -> Result<(), io::Error> {
        let last_kept = last_kept.map(|id| entry_id(&id).index);
        self.weight.lock().expect("no code panics under this lock").truncate_after(last_kept);
        quipu_failpoint::hit("consensus.log.truncate.before");
        self.journal.truncate_after(last_kept);
        quipu_failpoint::hit("consensus.log.truncate.after");
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let upto = entry_id(&upto);
        self.weight.lock().expect("no code panics under this lock").purge(upto.index);
        quipu_failpoint::hit("consensus.log.purge.before");
        self.journal.purge(upto);
        quipu_failpoint::hit("consensus.log.purge.after");
        Ok(())
    }
}
