//! What operators ask of groups.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_coordinator::{Command, Group, GroupName, Member, MemberId};
use quipu_runtime::Deadline;
use quipu_types::{NodeId, Offset, PartitionId, ShardId, TimestampMs, TopicName};

use super::GroupError;
use super::lag::Standing;
use super::offsets::{CommitPosition, checked};
use crate::Broker;

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its name.
    pub name: GroupName,
    /// "empty", "stable" or "reconciling".
    pub state: &'static str,
    /// How many members it has.
    pub members: usize,
    /// Its epoch.
    pub epoch: u64,
    /// How many positions are stored.
    pub positions: usize,
}

/// A group with everything that is known of it.
#[derive(Clone, Debug)]
pub struct DescribedGroup {
    /// As in a list.
    pub summary: GroupSummary,
    /// The node that coordinates it.
    pub coordinator: NodeId,
    /// How partitions are shared.
    pub assignor: &'static str,
    /// What changed it last.
    pub last_change: String,
    /// When.
    pub changed_at: TimestampMs,
    /// Its members, in order.
    pub members: Vec<DescribedMember>,
    /// Every partition with an owner or a position, in order.
    pub partitions: Vec<DescribedPartition>,
}

/// A member.
#[derive(Clone, Debug)]
pub struct DescribedMember {
    /// As it joined.
    pub member: Member,
    /// What it reads.
    pub assigned: Vec<PartitionId>,
    /// What it is to let go.
    pub revoking: Vec<PartitionId>,
    /// Whether its stream stands.
    pub is_connected: bool,
    /// Since it was heard.
    pub silent: Option<Duration>,
    /// Until it is expired.
    pub expires_in: Option<Duration>,
}

/// A partition of a group.
#[derive(Clone, Debug)]
pub struct DescribedPartition {
    /// Which.
    pub partition: PartitionId,
    /// Its topic's name; none when it was deleted.
    pub topic: Option<TopicName>,
    /// Who reads it.
    pub owner: Option<MemberId>,
    /// The stored position, and when it was stored.
    pub committed: Option<(Offset, TimestampMs)>,
    /// The partition's bounds.
    pub bounds: Option<(Offset, Offset)>,
    /// Records to read.
    pub lag: Option<u64>,
    /// Age of the oldest of them. Unit: milliseconds.
    pub lag_ms: Option<u64>,
}

pub(super) fn summary(name: &GroupName, group: &Group) -> GroupSummary {
    GroupSummary {
        name: name.clone(),
        state: group.state().name(),
        members: group.members().count(),
        epoch: group.epoch().get(),
        positions: group.offsets().count(),
    }
}

impl Broker {
    /// The groups this node coordinates, and the shards it leads.
    #[must_use]
    pub fn list_groups(&self) -> (Vec<GroupSummary>, Vec<ShardId>) {
        let led: Vec<_> = self
            .inner
            .shards
            .all()
            .into_iter()
            .filter(quipu_shard::Shard::is_ready_leader)
            .collect();
        let mut groups = Vec::new();
        for shard in &led {
            shard.groups().read(|table| {
                let names = table.names();
                let found = names.filter_map(|name| Some(summary(name, table.group(name)?)));
                groups.extend(found);
            });
        }
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        (groups, led.iter().map(quipu_shard::Shard::id).collect())
    }

    /// Everything about a group. Dropping the future changes nothing.
    ///
    /// # Errors
    /// `UNKNOWN_GROUP`, or that it is not known here.
    pub async fn describe_group(
        &self,
        group: &str,
        deadline: Deadline,
    ) -> Result<DescribedGroup, GroupError> {
        let (name, shard) = self.coordinated(group)?;
        let confirmed = shard.group().ensure_linearizable(deadline).await;
        confirmed.map_err(GroupError::Unconfirmed)?;
        let group = shard.groups().read(|groups| groups.group(&name).cloned());
        let unknown = || quipu_coordinator::Refusal::UnknownGroup { group: name.clone() };
        let group = group.ok_or_else(unknown)?;
        let positions = positions(&group);
        let topics = positions.keys().map(|partition| partition.topic).collect::<Vec<_>>();
        let known = self.image_knowing(topics.into_iter(), deadline).await;
        let asked = positions.iter().map(|(partition, position)| (*partition, *position)).collect();
        let standings = self.reader_standings(&known, asked, deadline).await;
        let now = TimestampMs::new(self.clock().wall_ms());
        let partitions = positions.keys().map(|partition| {
            let topic = known.image.topic_by_id(&partition.topic).map(|topic| topic.name.clone());
            describe_partition(&group, *partition, standings.get(partition), (topic, now))
        });
        Ok(DescribedGroup {
            summary: summary(&name, &group),
            coordinator: self.node(),
            assignor: group.assignor().name(),
            last_change: group.last_change().to_owned(),
            changed_at: group.changed_at(),
            members: group.members().map(|member| self.describe(&name, &group, member)).collect(),
            partitions: partitions.collect(),
        })
    }

    fn describe(&self, name: &GroupName, group: &Group, member: &Member) -> DescribedMember {
        let session = self.inner.coordinator.sessions.get(name, member.id());
        let now = self.clock().monotonic();
        let silent = session.map(|session| now.saturating_sub(session.heard));
        let left = |silent| session.map(|session| session.timeout.saturating_sub(silent));
        let assignment = group.assignment(member.id());
        let (assigned, revoking) =
            assignment.map(|found| (found.assigned, found.revoking)).unwrap_or_default();
        DescribedMember {
            member: member.clone(),
            assigned,
            revoking,
            is_connected: session.is_some_and(|session| session.stream.is_some()),
            silent,
            expires_in: silent.and_then(left),
        }
    }

    /// Sets positions by hand. With `fence` all members are removed first: they join again and go
    /// on from there. Dropping the future does not cancel it.
    ///
    /// # Errors
    /// `GROUP_NOT_EMPTY` without `fence` while there are members.
    pub async fn reset_offsets(
        &self,
        group: &str,
        positions: &[CommitPosition],
        fence: bool,
        deadline: Deadline,
    ) -> Result<(), GroupError> {
        let (group, shard) = self.coordinated(group)?;
        let offsets = checked(positions)?;
        self.check_topics(&offsets, deadline).await?;
        let command = Command::Reset { group, offsets, fence };
        self.propose_group(&shard, &command, deadline).await.map(drop)
    }

    /// Deletes a group and its positions. Dropping the future does not cancel it.
    ///
    /// # Errors
    /// `GROUP_NOT_EMPTY` while there are members, `UNKNOWN_GROUP`.
    pub async fn delete_group(&self, group: &str, deadline: Deadline) -> Result<(), GroupError> {
        let (group, shard) = self.coordinated(group)?;
        self.propose_group(&shard, &Command::Delete { group }, deadline).await.map(drop)
    }
}

/// Every partition with an owner or a position.
pub(super) fn positions(group: &Group) -> BTreeMap<PartitionId, Option<Offset>> {
    let owned = group.owners().map(|(partition, _)| (partition, None));
    let stored = group.offsets().map(|(partition, stored)| (partition, Some(stored.offset)));
    owned.chain(stored).collect()
}

fn describe_partition(
    group: &Group,
    partition: PartitionId,
    standing: Option<&Standing>,
    (topic, now): (Option<TopicName>, TimestampMs),
) -> DescribedPartition {
    let committed = group.offset(partition);
    let position = committed.map(|committed| committed.offset);
    DescribedPartition {
        partition,
        topic,
        owner: group.owner(partition).map(|owner| owner.member.clone()),
        committed: committed.map(|committed| (committed.offset, committed.committed_at)),
        bounds: standing.map(|found| (found.progress.log_start(), found.progress.high_watermark())),
        lag: standing.map(|found| found.lag(position)),
        lag_ms: standing.map(|found| found.lag_ms(now)),
    }
}
