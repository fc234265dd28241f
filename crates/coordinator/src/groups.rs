//! The groups of a shard, their commands and their rows.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quipu_types::{TimestampMs, limits};
use serde::{Deserialize, Serialize};

use crate::GroupName;
use crate::command::{Answer, Command, Outcome};
use crate::group::{Group, Update};
use crate::refusal::Refusal;

/// The only layout of rows so far. Persisted; never reuse.
const VERSION: u32 = 1;

/// Every group of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    groups: BTreeMap<GroupName, Group>,
    /// Changed, made or deleted since the last checkpoint.
    stale: BTreeSet<GroupName>,
}

/// A row is damaged, or written by a newer release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row of consumer groups is damaged or of a newer release: {0}")]
pub struct InvalidRow(String);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<T> {
    v: u32,
    group: T,
}

impl Groups {
    /// The groups of their rows.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn open(rows: impl IntoIterator<Item = (GroupName, Bytes)>) -> Result<Self, InvalidRow> {
        let groups = rows.into_iter().map(|(name, row)| Ok((name, decode(&row)?)));
        Ok(Self { groups: groups.collect::<Result<_, _>>()?, stale: BTreeSet::new() })
    }

    /// Applies a command. `now` is the coordinator's clock when it proposed.
    pub fn apply(&mut self, now: TimestampMs, command: Command) -> Answer {
        Answer(self.run(now, command))
    }

    fn run(&mut self, now: TimestampMs, command: Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Update { group, joins, leaves, subscriptions, topics } => {
                let update = Update { joins, leaves, subscriptions, topics };
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
                self.groups.remove(&group);
                self.stale.insert(group);
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
            self.stale.insert(name);
            return Ok(changed);
        }
        if !may_begin {
            return Err(Refusal::UnknownGroup { group: name });
        }
        let limit = limits::GROUPS_PER_SHARD_MAX;
        if self.groups.len() >= limit {
            return Err(Refusal::TooManyGroups { limit });
        }
        let mut group = Group::new(now);
        let changed = change(&mut group, &name)?;
        self.groups.insert(name.clone(), group);
        self.stale.insert(name);
        Ok(changed)
    }

    fn sweep(
        &mut self,
        now: TimestampMs,
        retention_ms: u64,
        gone: &BTreeSet<quipu_types::TopicId>,
    ) -> Outcome {
        let mut forgotten = 0;
        let mut expired = Vec::new();
        for (name, group) in &mut self.groups {
            let offsets = group.forget(gone);
            if offsets > 0 {
                forgotten += offsets;
                self.stale.insert(name.clone());
            }
            if group.is_expired(now, retention_ms) {
                forgotten += group.offsets().count();
                expired.push(name.clone());
            }
        }
        let count = |found: usize| u64::try_from(found).unwrap_or(u64::MAX);
        let groups = count(expired.len());
        for name in expired {
            self.groups.remove(&name);
            self.stale.insert(name);
        }
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
    pub fn stale_rows(&self) -> Vec<(GroupName, Option<Bytes>)> {
        self.stale.iter().map(|name| (name.clone(), self.groups.get(name).map(encode))).collect()
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
        let row = Row { v: VERSION, group: &self.groups };
        serde_json::to_vec(&row).expect("groups have a JSON form").into()
    }

    /// The groups of a document; none where there is nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn import(document: &[u8]) -> Result<Self, InvalidRow> {
        if document.is_empty() {
            return Ok(Self::default());
        }
        let groups = decode_versioned(document)?;
        Ok(Self { groups, stale: BTreeSet::new() })
    }

    /// Becomes what a snapshot says. Every row is stale then, deletions included.
    pub fn replace(&mut self, imported: Self) {
        self.stale.extend(self.groups.keys().chain(imported.groups.keys()).cloned());
        self.groups = imported.groups;
    }
}

fn encode(group: &Group) -> Bytes {
    let row = Row { v: VERSION, group };
    serde_json::to_vec(&row).expect("a group has a JSON form").into()
}

fn decode(row: &[u8]) -> Result<Group, InvalidRow> {
    decode_versioned(row)
}

fn decode_versioned<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, InvalidRow> {
    let invalid = |error: serde_json::Error| InvalidRow(error.to_string());
    let row: Row<serde_json::Value> = serde_json::from_slice(bytes).map_err(invalid)?;
    if row.v != VERSION {
        return Err(InvalidRow(format!("version {}, this release reads {VERSION}", row.v)));
    }
    serde_json::from_value(row.group).map_err(invalid)
}
