//! The groups of a shard, their commands and their rows.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quipu_types::{TimestampMs, TopicId, limits};

use crate::command::{Answer, Command, Outcome};
use crate::group::{Group, Update};
use crate::refusal::Refusal;
use crate::row::{self, Document, FloorRow, GroupRow};
use crate::{GroupEpoch, GroupName, InvalidRow, RowKey};

/// Every group of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    groups: BTreeMap<GroupName, Group>,
    /// The highest epoch of all groups that were deleted. New ones begin there: what was said to
    /// an earlier group of the same name is old news to them.
    floor: GroupEpoch,
    /// Changed, made or deleted since the last checkpoint.
    stale: BTreeSet<RowKey>,
}

impl Groups {
    /// The groups of their rows.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn open(rows: impl IntoIterator<Item = (RowKey, Bytes)>) -> Result<Self, InvalidRow> {
        let mut opened = Self::default();
        for (key, row) in rows {
            match key {
                RowKey::Floor => opened.floor = row::decode::<FloorRow>(&row)?.floor,
                RowKey::Group(name) => {
                    let row: GroupRow<Group> = row::decode(&row)?;
                    opened.groups.insert(name, row.group);
                }
            }
        }
        Ok(opened)
    }

    /// Applies a command. `now` is the coordinator's clock when it proposed.
    pub fn apply(&mut self, now: TimestampMs, command: Command) -> Answer {
        Answer(self.run(now, command))
    }

    fn run(&mut self, now: TimestampMs, command: Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Update { group, joins, leaves, subscriptions, topics, image } => {
                let update = Update { joins, leaves, subscriptions, topics, image };
                let may_begin = !update.joins.is_empty();
                let epoch = self
                    .change(now, group, may_begin, |found, name| found.update(name, now, update))?;
                Ok(Outcome::Updated { epoch })
            }
            Command::Confirm { group, confirmations } => {
                self.change(now, group, false, |found, _| {
                    found.confirm(&confirmations);
                    Ok(())
                })?;
                Ok(Outcome::Confirmed)
            }
            Command::Commit { group, member, offsets } => {
                let may_begin = member.is_none();
                let refused = self.change(now, group, may_begin, |found, name| {
                    found.commit(name, now, member.as_ref(), offsets)
                })?;
                Ok(Outcome::Committed { refused })
            }
            Command::Reset { group, offsets, fence } => {
                self.change(now, group, true, |found, name| {
                    found.reset(name, now, offsets, fence)
                })?;
                Ok(Outcome::Reset)
            }
            Command::Delete { group } => {
                self.group(&group)
                    .ok_or_else(|| Refusal::UnknownGroup { group: group.clone() })?
                    .check_empty(&group)?;
                self.remove(group);
                Ok(Outcome::Deleted)
            }
            Command::Sweep { retention_ms, gone } => {
                Ok(self.sweep(now, retention_ms, &gone.into_iter().collect()))
            }
        }
    }

    /// Changes a group, or begins one. A refusal leaves everything as it was.
    fn change<T>(
        &mut self,
        now: TimestampMs,
        name: GroupName,
        may_begin: bool,
        change: impl FnOnce(&mut Group, &GroupName) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if let Some(group) = self.groups.get_mut(&name) {
            let changed = change(group, &name)?;
            self.stale.insert(RowKey::Group(name));
            return Ok(changed);
        }
        if !may_begin {
            return Err(Refusal::UnknownGroup { group: name });
        }
        let limit = limits::GROUPS_PER_SHARD_MAX;
        if self.groups.len() >= limit {
            return Err(Refusal::TooManyGroups { limit });
        }
        let mut group = Group::new(now, self.floor);
        let changed = change(&mut group, &name)?;
        self.groups.insert(name.clone(), group);
        self.stale.insert(RowKey::Group(name));
        Ok(changed)
    }

    fn remove(&mut self, name: GroupName) {
        let epoch = self.groups.remove(&name).map_or(self.floor, |group| group.epoch());
        self.stale.insert(RowKey::Group(name));
        if epoch > self.floor {
            self.floor = epoch;
            self.stale.insert(RowKey::Floor);
        }
    }

    fn sweep(&mut self, now: TimestampMs, retention_ms: u64, gone: &BTreeSet<TopicId>) -> Outcome {
        let mut forgotten = 0;
        let mut expired = Vec::new();
        for (name, group) in &mut self.groups {
            let offsets = group.forget(gone);
            if offsets > 0 {
                forgotten += offsets;
                self.stale.insert(RowKey::Group(name.clone()));
            }
            if group.is_expired(now, retention_ms) {
                forgotten += group.offsets().count();
                expired.push(name.clone());
            }
        }
        let count = |found: usize| u64::try_from(found).unwrap_or(u64::MAX);
        let groups = count(expired.len());
        expired.into_iter().for_each(|name| self.remove(name));
        Outcome::Swept { groups, offsets: count(forgotten) }
    }

    /// One group.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &GroupName> {
        self.groups.keys()
    }

    /// Rows that differ from those of the last checkpoint; `None` deletes.
    #[must_use]
    pub fn stale_rows(&self) -> Vec<(RowKey, Option<Bytes>)> {
        let row = |key: &RowKey| match key {
            RowKey::Floor => Some(row::floor(self.floor)),
            RowKey::Group(name) => self.groups.get(name).map(row::group),
        };
        self.stale.iter().map(|key| (key.clone(), row(key))).collect()
    }

    /// The stale rows are durable.
    pub fn note_durable(&mut self) {
        self.stale.clear();
    }

    /// All groups as one document, for snapshots.
    ///
    /// # Panics
    /// Never: every group has a JSON form.
    #[must_use]
    pub fn export(&self) -> Bytes {
        row::document(self.floor, &self.groups)
    }

    /// The groups of a document; none where there is nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn import(document: &[u8]) -> Result<Self, InvalidRow> {
        if document.is_empty() {
            return Ok(Self::default());
        }
        let Document { floor, group: groups, .. } = row::decode(document)?;
        Ok(Self { groups, floor, stale: BTreeSet::new() })
    }

    /// Becomes what a snapshot says. Every row is stale then, deletions included.
    pub fn replace(&mut self, imported: Self) {
        let names = self.groups.keys().chain(imported.groups.keys()).cloned();
        self.stale.extend(names.map(RowKey::Group).chain([RowKey::Floor]));
        (self.groups, self.floor) = (imported.groups, imported.floor);
    }
}
