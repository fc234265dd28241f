//! How far the group is.

use std::collections::{BTreeMap, BTreeSet};

use quipu_types::{LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId};
use serde::{Deserialize, Serialize};

use super::{Group, Owner};
use crate::GroupName;
use crate::command::{Committer, NewOffset};
use crate::refusal::Refusal;

/// A stored position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: Offset,
    /// Of the last record that was read; −1 when not known.
    pub leader_epoch: LeaderEpoch,
    /// The committer's own words.
    pub metadata: String,
    /// By the coordinator's clock.
    pub committed_at: TimestampMs,
}

impl CommittedOffset {
    /// Before the first record of a partition, whatever its offset.
    pub(super) fn beginning(now: TimestampMs) -> Self {
        Self {
            offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::new(-1),
            metadata: String::new(),
            committed_at: now,
        }
    }
}

impl Group {
    /// Stores positions; gives those that were refused.
    pub(crate) fn commit(
        &mut self,
        name: &GroupName,
        now: TimestampMs,
        member: Option<&Committer>,
        offsets: Vec<(PartitionId, NewOffset)>,
    ) -> Result<BTreeMap<PartitionId, Refusal>, Refusal> {
        let mut refused = BTreeMap::new();
        match member {
            None => {
                self.check_empty(name)?;
                self.empty_since = Some(now);
            }
            Some(Committer { member, epoch }) => {
                let is_unfenced = quipu_failpoint::is_planted("plant.commit.unfenced");
                if !self.members.contains_key(member) && !is_unfenced {
                    let (group, member) = (name.clone(), member.to_string());
                    return Err(Refusal::UnknownMember { group, member });
                }
                if *epoch > self.epoch {
                    let (member, given, current) = (member.clone(), *epoch, self.epoch);
                    return Err(Refusal::FutureEpoch { member, given, current });
                }
            }
        }
        for (partition, new) in offsets {
            if let Some(Committer { member, epoch }) = member {
                let owner = self.owners.get(&partition);
                let owns = |owner: &&Owner| owner.member == *member && owner.since <= *epoch;
                let is_fenced = !quipu_failpoint::is_planted("plant.commit.unfenced");
                if owner.filter(owns).is_none() && is_fenced {
                    let (member, epoch) = (member.clone(), *epoch);
                    refused.insert(partition, Refusal::NotOwner { partition, member, epoch });
                    continue;
                }
            }
            self.store(partition, new, now);
        }
        Ok(refused)
    }

    fn store(&mut self, partition: PartitionId, new: NewOffset, now: TimestampMs) {
        let NewOffset { offset, leader_epoch, metadata } = new;
        let committed = CommittedOffset { offset, leader_epoch, metadata, committed_at: now };
        self.offsets.insert(partition, committed);
    }

    /// Sets positions by hand.
    pub(crate) fn reset(
        &mut self,
        name: &GroupName,
        now: TimestampMs,
        offsets: Vec<(PartitionId, NewOffset)>,
        fence: bool,
    ) -> Result<(), Refusal> {
        if !fence {
            self.check_empty(name)?;
        }
        if !self.members.is_empty() {
            self.members.clear();
            self.owners.clear();
            self.topics.clear();
            self.change(now, vec!["positions were reset and all members fenced".to_owned()]);
        }
        self.empty_since = Some(now);
        for (partition, new) in offsets {
            self.store(partition, new, now);
        }
        Ok(())
    }

    pub(crate) fn check_empty(&self, name: &GroupName) -> Result<(), Refusal> {
        match self.members.len() {
            0 => Ok(()),
            members => Err(Refusal::GroupNotEmpty { group: name.clone(), members }),
        }
    }

    /// Forgets positions in topics that are gone; says how many.
    pub(crate) fn forget(&mut self, gone: &BTreeSet<TopicId>) -> usize {
        let before = self.offsets.len();
        self.offsets.retain(|partition, _| !gone.contains(&partition.topic));
        before - self.offsets.len()
    }

    /// Whether nobody was in it for so long.
    pub(crate) fn is_expired(&self, now: TimestampMs, retention_ms: u64) -> bool {
        let Some(since) = self.empty_since.filter(|_| self.members.is_empty()) else {
            return false;
        };
        let empty = now.get().saturating_sub(since.get());
        u64::try_from(empty).is_ok_and(|empty| empty > retention_ms)
    }
}
