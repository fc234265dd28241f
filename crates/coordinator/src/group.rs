//! One group: members, who is to read what, who does, and how far everybody is.

mod assignment;
mod check;
mod ownership;
mod positions;
mod update;

use std::collections::BTreeMap;

use quipu_types::{MetadataVersion, PartitionId, PartitionIndex, TimestampMs, TopicId};
use serde::{Deserialize, Serialize};

use crate::assignor::{self, Target};
use crate::command::Assignor;
use crate::member::Member;
use crate::{GroupEpoch, MemberId, by_topic};

pub use assignment::Assignment;
use assignment::Shares;
pub use ownership::Owner;
pub use positions::CommittedOffset;
pub(crate) use update::Update;

/// A consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    epoch: GroupEpoch,
    members: BTreeMap<MemberId, Member>,
    /// How many partitions each topic has that somebody reads. Never fewer than before.
    topics: BTreeMap<TopicId, u32>,
    /// The newest metadata that topics were looked up in.
    #[serde(default)]
    image: MetadataVersion,
    #[serde(with = "by_topic::map")]
    target: Target,
    #[serde(with = "by_topic::map")]
    owners: BTreeMap<PartitionId, Owner>,
    #[serde(with = "by_topic::map")]
    offsets: BTreeMap<PartitionId, CommittedOffset>,
    empty_since: Option<TimestampMs>,
    last_change: String,
    changed_at: TimestampMs,
    rebalances: u64,
    /// Follows from members, target and owners.
    #[serde(skip)]
    shares: Shares,
}

/// How far a group is from what it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// Nobody is in it.
    Empty,
    /// Everybody has what it is to have.
    Stable,
    /// Partitions are on their way from one member to another.
    Reconciling,
}

impl GroupState {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Stable => "stable",
            Self::Reconciling => "reconciling",
        }
    }
}

impl Group {
    /// A group that begins to exist. Its epochs go on from `floor`.
    pub(crate) fn new(now: TimestampMs, floor: GroupEpoch) -> Self {
        Self { epoch: floor, empty_since: Some(now), changed_at: now, ..Self::default() }
    }

    /// Its epoch.
    #[must_use]
    pub const fn epoch(&self) -> GroupEpoch {
        self.epoch
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> GroupState {
        if self.members.is_empty() {
            return GroupState::Empty;
        }
        let is_there = |(partition, member): (&PartitionId, &MemberId)| {
            self.owners.get(partition).is_some_and(|owner| owner.member == *member)
        };
        if self.target.iter().all(is_there) { GroupState::Stable } else { GroupState::Reconciling }
    }

    /// Its members, in order of id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One member.
    #[must_use]
    pub fn member(&self, id: &MemberId) -> Option<&Member> {
        self.members.get(id)
    }

    /// How partitions are shared: as most members ask.
    #[must_use]
    pub fn assignor(&self) -> Assignor {
        assignor::chosen(self.members.values())
    }

    /// How many partitions each topic has that somebody reads.
    #[must_use]
    pub const fn topics(&self) -> &BTreeMap<TopicId, u32> {
        &self.topics
    }

    /// The newest metadata that topics were looked up in.
    #[must_use]
    pub const fn image(&self) -> MetadataVersion {
        self.image
    }

    /// Since when nobody is in it.
    #[must_use]
    pub const fn empty_since(&self) -> Option<TimestampMs> {
        self.empty_since
    }

    /// What changed it last, in words.
    #[must_use]
    pub fn last_change(&self) -> &str {
        &self.last_change
    }

    /// When.
    #[must_use]
    pub const fn changed_at(&self) -> TimestampMs {
        self.changed_at
    }

    /// How often the target was computed.
    #[must_use]
    pub const fn rebalances(&self) -> u64 {
        self.rebalances
    }

    /// Every stored position, in order.
    pub fn offsets(&self) -> impl Iterator<Item = (PartitionId, &CommittedOffset)> {
        self.offsets.iter().map(|(partition, committed)| (*partition, committed))
    }

    /// The stored position of a partition.
    #[must_use]
    pub fn offset(&self, partition: PartitionId) -> Option<&CommittedOffset> {
        self.offsets.get(&partition)
    }

    /// Every owner, in order of partition.
    pub fn owners(&self) -> impl Iterator<Item = (PartitionId, &Owner)> {
        self.owners.iter().map(|(partition, owner)| (*partition, owner))
    }

    /// Who reads a partition.
    #[must_use]
    pub fn owner(&self, partition: PartitionId) -> Option<&Owner> {
        self.owners.get(&partition)
    }

    /// Who is to read a partition.
    #[must_use]
    pub fn target(&self, topic: TopicId, index: u32) -> Option<&MemberId> {
        self.target.get(&PartitionId::new(topic, PartitionIndex::new(index)))
    }

    /// What a member has; none if it is no member. The first to ask after a change pays for all.
    #[must_use]
    pub fn assignment(&self, id: &MemberId) -> Option<Assignment> {
        self.shares.of(self, id).cloned()
    }
}
