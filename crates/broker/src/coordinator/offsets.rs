//! Positions of groups: stored, read back.

use std::collections::BTreeMap;

use quipu_coordinator::{
    Command, CommittedOffset, Committer, GroupEpoch, NewOffset, Outcome, Refusal,
};
use quipu_runtime::Deadline;
use quipu_types::{LeaderEpoch, Offset, PartitionId, limits};

use super::GroupError;
use super::membership::member_id;
use crate::Broker;

/// Positions to store.
#[derive(Clone, Debug)]
pub struct CommitCommand {
    /// The group.
    pub group: String,
    /// The member that commits, with the epoch it heard last; none outside of any membership.
    pub member: Option<(String, u64)>,
    /// What to store.
    pub positions: Vec<CommitPosition>,
}

/// One position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPosition {
    /// Of which partition.
    pub partition: PartitionId,
    /// The next record to read.
    pub offset: u64,
    /// Of the last record that was read; −1 when not known.
    pub leader_epoch: LeaderEpoch,
    /// The committer's own words.
    pub metadata: String,
}

/// A stored position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOffset {
    /// Of which partition.
    pub partition: PartitionId,
    /// What was stored.
    pub committed: CommittedOffset,
}

impl CommitPosition {
    fn check(&self) -> Result<NewOffset, GroupError> {
        let invalid =
            |reason: String| GroupError::InvalidCommit { partition: self.partition, reason };
        // Offsets of the wire are signed in other protocols; nothing real comes near.
        if i64::try_from(self.offset).is_err() {
            return Err(invalid(format!("offset {} is above {}", self.offset, i64::MAX)));
        }
        let (bytes, limit) = (self.metadata.len(), limits::OFFSET_METADATA_BYTES_MAX);
        if bytes > limit {
            return Err(invalid(format!(
                "metadata has {bytes} bytes; at most {limit} are allowed"
            )));
        }
        Ok(NewOffset {
            offset: Offset::new(self.offset),
            leader_epoch: self.leader_epoch,
            metadata: self.metadata.clone(),
        })
    }
}

/// Checked positions, each of its own partition, all of topics that exist.
pub(super) fn checked(
    positions: &[CommitPosition],
) -> Result<Vec<(PartitionId, NewOffset)>, GroupError> {
    let mut checked = BTreeMap::new();
    for position in positions {
        let partition = position.partition;
        if checked.insert(partition, position.check()?).is_some() {
            let reason = "it is named twice".to_owned();
            return Err(GroupError::InvalidCommit { partition, reason });
        }
    }
    Ok(checked.into_iter().collect())
}

impl Broker {
    /// Stores positions, all in one command; one answer per position, in order.
    ///
    /// Dropping the future does not cancel it.
    ///
    /// # Errors
    /// For the whole: nothing was stored, or (`effect` unknown) perhaps.
    pub async fn commit_offsets(
        &self,
        command: CommitCommand,
        deadline: Deadline,
    ) -> Result<Vec<Result<(), Refusal>>, GroupError> {
        let (group, shard) = self.coordinated(&command.group)?;
        let member = match &command.member {
            Some((id, epoch)) => Some(Committer {
                member: member_id("member_id", id)?,
                epoch: GroupEpoch::new(*epoch),
            }),
            None => None,
        };
        let offsets = checked(&command.positions)?;
        // Members commit what they own, and only topics that exist are owned.
        if member.is_none() {
            self.check_topics(&offsets, deadline).await?;
        }
        let commit = Command::Commit { group, member, offsets };
        quipu_failpoint::hit("broker.commit.propose.before");
        let proposed = self.propose_group(&shard, &commit, deadline);
        let outcome = if quipu_failpoint::is_planted("plant.commit.before-replication") {
            // Handed over by the first poll; nobody waits for what becomes of it.
            drop(tokio::time::timeout(std::time::Duration::ZERO, proposed).await);
            Outcome::Committed { refused: BTreeMap::new() }
        } else {
            proposed.await?
        };
        quipu_failpoint::hit("broker.commit.answer.before");
        match outcome {
            Outcome::Committed { mut refused } => Ok(command
                .positions
                .iter()
                .map(|position| refused.remove(&position.partition).map_or(Ok(()), Err))
                .collect()),
            Outcome::Updated { .. }
            | Outcome::Confirmed
            | Outcome::Reset
            | Outcome::Deleted
            | Outcome::Swept { .. } => Err(GroupError::Control(quipu_shard::ControlError::Reply)),
        }
    }

    /// Refuses positions in partitions that do not exist: they would never be of use.
    pub(super) async fn check_topics(
        &self,
        offsets: &[(PartitionId, NewOffset)],
        deadline: Deadline,
    ) -> Result<(), GroupError> {
        let known = self.image_placing(offsets.iter().map(|(id, _)| *id), deadline).await;
        for (partition, _) in offsets {
            known.route(partition.topic, partition.index)?;
        }
        Ok(())
    }

    /// Reads stored positions: of some partitions, or all.
    ///
    /// Linearizable: every commit that was acknowledged before the call shows.
    ///
    /// # Errors
    /// [`GroupError`]; a group that does not exist has no positions, and that is no error.
    pub async fn fetch_offsets(
        &self,
        group: &str,
        partitions: Option<&[PartitionId]>,
        deadline: Deadline,
    ) -> Result<Vec<StoredOffset>, GroupError> {
        let (group, shard) = self.coordinated(group)?;
        let confirmed = shard.group().ensure_linearizable(deadline).await;
        confirmed.map_err(GroupError::Unconfirmed)?;
        Ok(shard.groups().read(|groups| {
            let Some(group) = groups.group(&group) else { return Vec::new() };
            let stored = |partition: PartitionId| {
                let committed = group.offset(partition)?.clone();
                Some(StoredOffset { partition, committed })
            };
            match partitions {
                Some(partitions) => partitions.iter().filter_map(|id| stored(*id)).collect(),
                None => group.offsets().filter_map(|(partition, _)| stored(partition)).collect(),
            }
        }))
    }
}
