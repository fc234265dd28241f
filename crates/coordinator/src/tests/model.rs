//! What groups are to be, said a second time and as plainly as possible.
//!
//! The model takes targets from the code, because any fair one will do, checks that they are
//! allowed, and foretells everything else: answers, epochs, members, owners, positions.

mod group;

use std::collections::BTreeMap;

use quipu_types::{TimestampMs, TopicId};

use crate::{Answer, Command, GroupEpoch, GroupName, Groups, Outcome, Refusal};

pub(crate) use group::{Changes, ModelGroup};

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) groups: BTreeMap<GroupName, ModelGroup>,
    /// The highest epoch of all groups that are gone.
    floor: u64,
}

impl Model {
    /// Foretells the answer; when it is no refusal, the model is as the code is to be, but for the
    /// target, which [`Self::check`] takes over.
    pub(crate) fn foretell(&mut self, now: TimestampMs, command: &Command) -> Foretold {
        let mut changed = None;
        let result = self.run(now, command, &mut changed);
        Foretold { answer: Answer(result), changed }
    }

    fn run(
        &mut self,
        now: TimestampMs,
        command: &Command,
        changed: &mut Option<GroupName>,
    ) -> Result<Outcome, Refusal> {
        let unknown = |group: &GroupName| Refusal::UnknownGroup { group: group.clone() };
        let begun = ModelGroup::begun(now, self.floor);
        match command {
            Command::Update { group, joins, leaves, subscriptions, topics, image } => {
                let changes = Changes { joins, leaves, subscriptions, topics, image: *image };
                if !self.groups.contains_key(group) && joins.is_empty() {
                    return Err(unknown(group));
                }
                let mut next = self.groups.get(group).cloned().unwrap_or(begun);
                next.check_update(group, &changes)?;
                next.update(now, &changes);
                *changed = Some(group.clone());
                let epoch = GroupEpoch::new(next.epoch);
                self.groups.insert(group.clone(), next);
                Ok(Outcome::Updated { epoch })
            }
            Command::Confirm { group, confirmations } => {
                let found = self.groups.get_mut(group).ok_or_else(|| unknown(group))?;
                confirmations.iter().for_each(|one| found.release(one));
                found.grant();
                Ok(Outcome::Confirmed)
            }
            Command::Commit { group, member: Some(committer), offsets } => {
                let found = self.groups.get_mut(group).ok_or_else(|| unknown(group))?;
                found.commit(group, now, committer, offsets)
            }
            Command::Commit { group, member: None, offsets } => {
                let found = self.groups.entry(group.clone()).or_insert(begun);
                found.check_empty(group)?;
                found.empty_since = Some(now);
                offsets.iter().for_each(|(id, new)| found.store(*id, new, now));
                Ok(Outcome::Committed { refused: BTreeMap::new() })
            }
            Command::Reset { group, offsets, fence } => {
                let found = self.groups.entry(group.clone()).or_insert(begun);
                if !fence {
                    found.check_empty(group)?;
                }
                if !found.members.is_empty() {
                    found.epoch += 1;
                    found.members.clear();
                    found.owners.clear();
                    found.topics.clear();
                    *changed = Some(group.clone());
                }
                found.empty_since = Some(now);
                offsets.iter().for_each(|(id, new)| found.store(*id, new, now));
                Ok(Outcome::Reset)
            }
            Command::Delete { group } => {
                self.groups.get(group).ok_or_else(|| unknown(group))?.check_empty(group)?;
                self.floor = self.floor.max(self.groups[group].epoch);
                self.groups.remove(group);
                Ok(Outcome::Deleted)
            }
            Command::Sweep { retention_ms, gone } => Ok(self.sweep(now, *retention_ms, gone)),
        }
    }

    fn sweep(&mut self, now: TimestampMs, retention_ms: u64, gone: &[TopicId]) -> Outcome {
        let before: usize = self.groups.values().map(|group| group.offsets.len()).sum();
        let groups = self.groups.len();
        for group in self.groups.values_mut() {
            group.offsets.retain(|id, _| !gone.contains(&id.topic));
        }
        self.groups.retain(|_, group| {
            let since = group.empty_since.filter(|_| group.members.is_empty());
            let stays =
                since.is_none_or(|at| u64::try_from(now.get() - at.get()).unwrap() <= retention_ms);
            self.floor = if stays { self.floor } else { self.floor.max(group.epoch) };
            stays
        });
        let after: usize = self.groups.values().map(|group| group.offsets.len()).sum();
        let count = |number: usize| u64::try_from(number).unwrap();
        Outcome::Swept { groups: count(groups - self.groups.len()), offsets: count(before - after) }
    }

    /// Compares the code with what was foretold.
    pub(crate) fn check(&mut self, groups: &Groups, foretold: Foretold) -> Result<(), String> {
        if let Some(name) = foretold.changed {
            let found = groups.group(&name).ok_or("the group is not there")?;
            let group = self.groups.get_mut(&name).unwrap();
            group.take_target(found)?;
        }
        if !groups.names().eq(self.groups.keys()) {
            return Err("there are other groups".to_owned());
        }
        self.groups.iter().try_for_each(|(name, expected)| {
            let found = groups.group(name).unwrap();
            expected.compare(found).map_err(|what| format!("{name}: {what}"))
        })
    }
}

/// An answer, and the group that is to have a new target.
pub(crate) struct Foretold {
    pub(crate) answer: Answer,
    changed: Option<GroupName>,
}
