//! What is known of groups: who handled what, who committed what, who holds what.

use std::collections::{BTreeMap, BTreeSet};

use quipu_types::PartitionId;

use super::Books;
use crate::l1::census::Event;

/// One group's.
#[derive(Debug, Default)]
pub(super) struct GroupBook {
    /// Its epochs never fall below.
    epoch: u64,
    partitions: BTreeMap<PartitionId, Progress>,
    /// What each member holds, by its own account.
    holding: BTreeMap<String, BTreeSet<PartitionId>>,
}

#[derive(Debug, Default)]
struct Progress {
    handled: BTreeSet<u64>,
    /// Records that went before they were read, as members were told.
    skipped: BTreeSet<u64>,
    /// What was acknowledged as committed.
    acknowledged: u64,
    /// What is stored.
    position: u64,
}

/// A commit on its way.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    group: String,
    member: String,
    epoch: u64,
    positions: Vec<(PartitionId, u64)>,
    /// Positions that were stored.
    stored: BTreeSet<PartitionId>,
    is_refused: bool,
    /// Of a member that is dead.
    is_late: bool,
}

/// What a member was told of a position it committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l2) enum CommitTold {
    Stored,
    NotOwner,
}

/// A position as a commit found it, or left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l2) struct Stored {
    pub(in crate::l2) before: Option<u64>,
    pub(in crate::l2) after: u64,
}

impl Books {
    fn group(&mut self, group: &str) -> &mut GroupBook {
        self.groups.entry(group.to_owned()).or_default()
    }

    /// A member's account of what it holds.
    pub(in crate::l2) fn holds(
        &mut self,
        group: &str,
        member: &str,
        partitions: BTreeSet<PartitionId>,
    ) {
        self.group(group).holding.insert(member.to_owned(), partitions);
    }

    /// Whether a member goes on with a partition.
    pub(in crate::l2) fn is_held(&self, group: &str, member: &str, partition: PartitionId) -> bool {
        let holding = self.groups.get(group).and_then(|book| book.holding.get(member));
        holding.is_some_and(|held| held.contains(&partition))
    }

    /// The group has this epoch now.
    pub(in crate::l2) fn has_epoch(&mut self, group: &str, epoch: u64) -> Result<(), String> {
        let book = self.group(group);
        if epoch < book.epoch {
            return Err(format!("group {group} has epoch {epoch} after {}", book.epoch));
        }
        book.epoch = epoch;
        Ok(())
    }

    /// A member has handled a record.
    pub(in crate::l2) fn handled(&mut self, group: &str, partition: PartitionId, offset: u64) {
        let progress = self.group(group).partitions.entry(partition).or_default();
        let is_new = progress.handled.insert(offset);
        let event = if is_new { Event::Handled } else { Event::HandledAgain };
        self.note(event, format_args!("group {group} handled {offset} of {partition}"));
    }

    /// A member was told that records below the log start are gone.
    pub(in crate::l2) fn skipped(
        &mut self,
        group: &str,
        partition: PartitionId,
        (from, to): (u64, u64),
    ) -> Result<(), String> {
        let log_start = self.log_start(partition);
        if to > log_start {
            return Err(format!(
                "group {group} is told that {partition} begins at {to}, it does at {log_start}"
            ));
        }
        let progress = self.group(group).partitions.entry(partition).or_default();
        progress.skipped.extend(from..to);
        self.note(
            Event::Skipped,
            format_args!("group {group} skips {from} to {to} of {partition}"),
        );
        Ok(())
    }

    /// What was acknowledged as committed: a look from now on finds no less.
    pub(in crate::l2) fn acknowledged_commit(&self, group: &str, partition: PartitionId) -> u64 {
        let book = self.groups.get(group).and_then(|book| book.partitions.get(&partition));
        book.map_or(0, |progress| progress.acknowledged)
    }

    /// A member begins to read where a look, begun when `known` was acknowledged, says.
    pub(in crate::l2) fn begins(
        &self,
        group: &str,
        partition: PartitionId,
        (known, start): (u64, u64),
    ) -> Result<(), String> {
        let book = self.groups.get(group).and_then(|book| book.partitions.get(&partition));
        let stored = book.map_or(0, |progress| progress.position);
        if known <= start && start <= stored {
            return Ok(());
        }
        Err(format!(
            "group {group} goes on at {start} of {partition}: {known} was acknowledged before, \
             {stored} is stored"
        ))
    }

    /// What is stored of a group.
    pub(in crate::l2) fn position(&self, group: &str, partition: PartitionId) -> u64 {
        let book = self.groups.get(group).and_then(|book| book.partitions.get(&partition));
        book.map_or(0, |progress| progress.position)
    }

    /// A member is about to commit; gives the commit's number.
    pub(in crate::l2) fn commit(
        &mut self,
        (group, member, epoch): (&str, &str, u64),
        positions: Vec<(PartitionId, u64)>,
        is_late: bool,
    ) -> u64 {
        let number = u64::try_from(self.commits.len()).expect("few") + 1;
        let commit = Commit {
            group: group.to_owned(),
            member: member.to_owned(),
            epoch,
            positions,
            stored: BTreeSet::new(),
            is_refused: false,
            is_late,
        };
        self.commits.insert(number, commit);
        number
    }

    /// A commit was refused as a whole: it is not stored and never will be.
    pub(in crate::l2) fn commit_refused(&mut self, number: u64) -> Result<(), String> {
        let commit = self.commits.get_mut(&number).expect("it was made");
        commit.is_refused = true;
        if commit.stored.is_empty() {
            return Ok(());
        }
        Err(format!("commit {number} was refused and is stored: {commit:?}"))
    }

    /// A commit was answered for one of its positions.
    pub(in crate::l2) fn commit_told(
        &mut self,
        number: u64,
        partition: PartitionId,
        told: CommitTold,
    ) -> Result<(), String> {
        let commit = self.commits.get(&number).expect("it was made").clone();
        let is_stored = commit.stored.contains(&partition);
        if is_stored != (told == CommitTold::Stored) {
            return Err(format!("commit {number} of {partition} is answered {told:?}: {commit:?}"));
        }
        let found = commit.positions.iter().find(|(id, _)| *id == partition);
        if let Some((_, position)) = found.filter(|_| is_stored) {
            let book = self.group(&commit.group).partitions.entry(partition).or_default();
            book.acknowledged = book.acknowledged.max(*position);
        }
        let event = if is_stored { Event::Committed } else { Event::CommitRefused };
        self.note(event, format_args!("commit {number} of {partition} is told {told:?}"));
        Ok(())
    }

    /// A position of a commit is in the log.
    pub(in crate::l2) fn committed(
        &mut self,
        number: Option<u64>,
        (group, member, epoch): (&str, &str, u64),
        (partition, position): (PartitionId, Stored),
    ) -> Result<(), String> {
        let found = number.and_then(|number| self.commits.get_mut(&number));
        let Some(commit) = found else {
            return Err(format!("group {group} stores a commit that nobody made: {number:?}"));
        };
        let is_meant = commit.positions.contains(&(partition, position.after));
        if (commit.group.as_str(), commit.member.as_str(), commit.epoch) != (group, member, epoch)
            || !is_meant
        {
            return Err(format!("group {group} stores another commit than was made: {commit:?}"));
        }
        if commit.is_refused {
            return Err(format!("group {group} stores a commit that was refused: {commit:?}"));
        }
        commit.stored.insert(partition);
        let is_late = commit.is_late;
        if is_late {
            self.note(Event::LateCommit, format_args!("a dead member's commit is stored"));
        }
        self.check_passed(group, partition, position)
    }

    /// Everything that a commit passes was handled, or is gone and was told to be.
    fn check_passed(
        &mut self,
        group: &str,
        partition: PartitionId,
        Stored { before, after }: Stored,
    ) -> Result<(), String> {
        let from = before.unwrap_or(0);
        if after < from {
            return Err(format!("group {group} goes back from {from} to {after} in {partition}"));
        }
        let end = self.end(partition);
        if after > end {
            return Err(format!("group {group} is at {after} of {partition}, which ends at {end}"));
        }
        let progress = self.group(group).partitions.entry(partition).or_default();
        let is_known =
            |offset: &u64| progress.handled.contains(offset) || progress.skipped.contains(offset);
        match (from..after).find(|offset| !is_known(offset)) {
            None => {
                progress.position = after;
                Ok(())
            }
            Some(offset) => Err(format!(
                "group {group} commits {after} of {partition}, and nobody handled {offset}"
            )),
        }
    }
}
