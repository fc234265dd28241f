//! The log: appends, truncations, votes.

use bytes::Bytes;
use quipu_journal::JournalEntry;
use quipu_runtime::Rng;
use quipu_types::LogIndex;

use super::{Replica, index};
use crate::cluster::{count, place};
use crate::journal_model::Record;
use crate::node::Node;
use crate::plant::Plant;
use crate::stop::{Step, check};

impl Replica {
    /// Takes some entries from the leader, after it dropped what conflicts with them.
    pub(super) fn append(&mut self, node: &Node, rng: &mut Rng) -> Step {
        self.truncate_conflict(node)?;
        let running = self.running.as_ref().expect("a replica that runs");
        let start = count(running.last);
        let most = usize::try_from(1 + rng.below(6)).expect("few");
        let end = self.cluster.len().min(start + most);
        let entries: Vec<JournalEntry> = (start..end)
            .map(|at| self.cluster.entry(index(at)).expect("below the end"))
            .map(|entry| JournalEntry { id: entry.id, payload: entry.payload.clone() })
            .collect();
        let Some(last) = entries.last().map(|entry| entry.id) else { return Ok(()) };
        for entry in &entries {
            self.calls.record(Record::Entry(entry.id, entry.payload.clone()));
        }
        node.trace.note(format_args!("shard {} appends {start}..{end}", self.shard));
        let callback = self.callback();
        let running = self.running.as_mut().expect("a replica that runs");
        running.journal.append(entries, callback);
        running.last = Some(last);
        if node.has(Plant::AppendIsAcknowledgedEarly) {
            self.all_is_durable();
        }
        Ok(())
    }

    /// Drops entries that another leader replaced.
    pub(super) fn truncate_conflict(&mut self, node: &Node) -> Step {
        let Some(conflict) = self.first_conflict() else { return Ok(()) };
        let running = self.running.as_mut().expect("a replica that runs");
        check(place(conflict) >= running.applied, || {
            format!("entry {conflict} was applied and is another now")
        })?;
        if node.has(Plant::TruncationIsSkipped) {
            return Ok(());
        }
        let last_kept = conflict.get().checked_sub(1).map(LogIndex::new);
        node.trace.note(format_args!("shard {} truncates after {last_kept:?}", self.shard));
        self.calls.record(Record::TruncateAfter(last_kept));
        running.journal.truncate_after(last_kept);
        running.last = last_kept.and_then(|last_kept| running.journal.entry_id(last_kept));
        Ok(())
    }

    /// The first entry that the leader has another of.
    pub(super) fn first_conflict(&self) -> Option<LogIndex> {
        let running = self.running.as_ref().expect("a replica that runs");
        let purged = count(running.journal.state().purged);
        (purged..count(running.last).min(self.cluster.len())).map(index).find(|at| {
            let here = running.journal.entry_id(*at);
            here != self.cluster.entry(*at).map(|entry| entry.id)
        })
    }

    /// How many first entries are the leader's too.
    pub(super) fn matching(&self, node: &Node) -> usize {
        let running = self.running.as_ref().expect("a replica that runs");
        let end = count(running.last).min(self.cluster.len());
        let conflict = self.first_conflict().filter(|_| !node.has(Plant::TruncationIsSkipped));
        conflict.map_or(end, place)
    }

    /// Votes, in a term above all before.
    pub(super) fn vote(&mut self, node: &Node, rng: &mut Rng) {
        self.votes += 1;
        let voted_for = u8::try_from(rng.below(3)).expect("few");
        let vote: Bytes = self.votes.to_le_bytes().into_iter().chain([voted_for]).collect();
        node.trace.note(format_args!("shard {} votes in {}", self.shard, self.votes));
        self.calls.record(Record::Vote(vote.clone()));
        let callback = self.callback();
        let running = self.running.as_ref().expect("a replica that runs");
        running.journal.save_vote(vote, callback);
        if node.has(Plant::VoteIsAnsweredEarly) {
            self.all_is_durable();
        }
    }

    /// Saves how much is known to be committed, without waiting.
    pub(super) fn save_committed(&self) {
        let committed = u64::try_from(self.cluster.committed()).expect("few");
        let running = self.running.as_ref().expect("a replica that runs");
        running.journal.save_committed(Bytes::copy_from_slice(&committed.to_le_bytes()));
    }
}
