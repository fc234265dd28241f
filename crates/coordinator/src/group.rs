//! One group: members, who is to read what, who does, and how far everybody is.

use std::collections::{BTreeMap, BTreeSet};

use quipu_types::{LeaderEpoch, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId, limits};
use serde::{Deserialize, Serialize};

use crate::assignor::{self, Target};
use crate::command::{
    Assignor, Committer, Confirmation, Join, Leave, LeaveReason, NewOffset, Subscribed,
    TopicPartitions,
};
use crate::member::Member;
use crate::refusal::Refusal;
use crate::{GroupEpoch, GroupName, MemberId, by_topic};

/// A consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    epoch: GroupEpoch,
    members: BTreeMap<MemberId, Member>,
    /// How many partitions each topic has that somebody reads.
    topics: BTreeMap<TopicId, u32>,
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
}

/// Who reads a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// The member.
    pub member: MemberId,
    /// The group's epoch when it was given the partition.
    pub since: GroupEpoch,
    /// The epoch that meant the partition for another: the owner keeps it until it confirms this
    /// one or a later one. What it said before may be older than the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<GroupEpoch>,
}

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

/// What a member has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The group's epoch.
    pub epoch: GroupEpoch,
    /// To read, in order.
    pub assigned: Vec<PartitionId>,
    /// To let go, in order.
    pub revoking: Vec<PartitionId>,
    /// Its own soon, but still another's.
    pub waiting: usize,
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

/// The parts of an update.
pub(crate) struct Update {
    pub(crate) joins: Vec<Join>,
    pub(crate) leaves: Vec<Leave>,
    pub(crate) subscriptions: Vec<Subscribed>,
    pub(crate) topics: Vec<TopicPartitions>,
}

impl Group {
    /// A group that begins to exist.
    pub(crate) fn new(now: TimestampMs) -> Self {
        Self { empty_since: Some(now), changed_at: now, ..Self::default() }
    }

    /// Changes members and subscriptions: a new epoch, a new target.
    pub(crate) fn update(
        &mut self,
        name: &GroupName,
        now: TimestampMs,
        update: Update,
    ) -> Result<GroupEpoch, Refusal> {
        self.check_update(name, &update)?;
        let Update { joins, leaves, subscriptions, topics } = update;
        let mut words = Vec::new();
        for leave in leaves {
            words.extend(self.leave(&leave));
        }
        for join in joins {
            words.push(self.join(join));
        }
        for subscribed in subscriptions {
            if let Some(member) = self.members.get_mut(&subscribed.member) {
                words.push(format!("member {} reads something else", subscribed.member));
                member.subscribe(subscribed);
            }
        }
        let counts: BTreeMap<TopicId, u32> =
            topics.into_iter().map(|topic| (topic.topic, topic.partitions)).collect();
        if counts != self.topics {
            if words.is_empty() {
                words.push("topics have other partitions".to_owned());
            }
            self.topics = counts;
        }
        self.empty_since =
            if self.members.is_empty() { self.empty_since.or(Some(now)) } else { None };
        self.change(now, words);
        Ok(self.epoch)
    }

    fn check_update(&self, name: &GroupName, update: &Update) -> Result<(), Refusal> {
        let limit = limits::GROUP_MEMBERS_MAX;
        if !update.joins.is_empty() && self.count_after(update) > limit {
            return Err(Refusal::GroupFull { group: name.clone(), limit });
        }
        for subscribed in &update.subscriptions {
            if !self.members.contains_key(&subscribed.member) {
                let member = subscribed.member.to_string();
                return Err(Refusal::UnknownMember { group: name.clone(), member });
            }
        }
        let mut joining: BTreeMap<&String, &MemberId> = BTreeMap::new();
        for join in &update.joins {
            let Some(instance) = &join.instance else { continue };
            let held = self.holder(instance, &join.member).filter(|holder| {
                !holder.is_away
                    && join.replaces.as_ref() != Some(holder.id())
                    && !update.leaves.iter().any(|leave| leave.member == *holder.id())
            });
            let held = held.map(Member::id).or_else(|| joining.get(instance).copied());
            if let Some(holder) = held.filter(|holder| **holder != join.member) {
                return Err(Refusal::InstanceInUse {
                    instance: instance.clone(),
                    holder: holder.clone(),
                });
            }
            joining.insert(instance, &join.member);
        }
        Ok(())
    }

    /// How many members there are afterwards. Whoever takes a place makes none more.
    fn count_after(&self, update: &Update) -> usize {
        let mut ids: BTreeSet<&MemberId> = self.members.keys().collect();
        for leave in update.leaves.iter().filter(|leave| !self.is_kept(leave)) {
            ids.remove(&leave.member);
        }
        for join in &update.joins {
            let held = join.instance.as_ref().and_then(|held| self.holder(held, &join.member));
            held.map(|holder| ids.remove(holder.id()));
            ids.insert(&join.member);
        }
        ids.len()
    }

    /// Whether the place of a member that leaves is kept for it.
    fn is_kept(&self, leave: &Leave) -> bool {
        let member = self.members.get(&leave.member);
        leave.temporary && member.is_some_and(|member| member.instance().is_some())
    }

    /// Who else holds an instance id.
    fn holder(&self, instance: &str, except: &MemberId) -> Option<&Member> {
        let holds = |member: &&Member| {
            member.instance().is_some_and(|held| held == instance) && member.id() != except
        };
        self.members.values().find(holds)
    }

    fn leave(&mut self, leave: &Leave) -> Option<String> {
        let is_kept = self.is_kept(leave);
        let member = self.members.get_mut(&leave.member)?;
        if is_kept {
            member.is_away = true;
            return Some(format!("member {} is away for a while", leave.member));
        }
        self.members.remove(&leave.member);
        self.owners.retain(|_, owner| owner.member != leave.member);
        let why = match leave.reason {
            LeaveReason::Asked => "left",
            LeaveReason::SessionExpired => "was silent for too long",
            LeaveReason::ProcessingTimeout => "took too long for a record",
        };
        Some(format!("member {} {why}", leave.member))
    }

    fn join(&mut self, join: Join) -> String {
        let (id, epoch) = (join.member.clone(), self.epoch.next());
        // Whoever joins has dropped everything.
        self.owners.retain(|_, owner| owner.member != id);
        let held = join.instance.as_ref().and_then(|instance| self.holder(instance, &id));
        let words = match held.map(|holder| holder.id().clone()) {
            Some(holder) => {
                self.members.remove(&holder);
                // It goes on with what its predecessor had, whose epoch is too old from now on.
                for owner in self.owners.values_mut().filter(|owner| owner.member == holder) {
                    *owner = Owner { member: id.clone(), since: epoch, revoked: None };
                }
                for member in self.target.values_mut().filter(|member| **member == holder) {
                    *member = id.clone();
                }
                format!("member {id} took the place of {holder}")
            }
            None => format!("member {id} joined"),
        };
        self.members.insert(id, Member::new(join));
        words
    }

    /// A new epoch: a new target, and what is free goes to whom it is meant for.
    fn change(&mut self, now: TimestampMs, words: Vec<String>) {
        self.epoch = self.epoch.next();
        self.rebalances += 1;
        self.target = assignor::assign(self.assignor(), &self.members, &self.topics, &self.target);
        // Partitions that are gone, or that nobody is to read, have no owner.
        self.owners.retain(|partition, _| self.target.contains_key(partition));
        for (partition, owner) in &mut self.owners {
            let keeps = self.target.get(partition) == Some(&owner.member);
            owner.revoked = if keeps { None } else { owner.revoked.or(Some(self.epoch)) };
        }
        self.grant();
        const SHOWN: usize = 3;
        let more = words.len().saturating_sub(SHOWN);
        self.last_change = words.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
        if more > 0 {
            self.last_change.push_str(&format!(", and {more} more"));
        }
        self.changed_at = now;
    }

    fn grant(&mut self) {
        for (partition, member) in &self.target {
            if !self.owners.contains_key(partition) {
                let owner = Owner { member: member.clone(), since: self.epoch, revoked: None };
                self.owners.insert(*partition, owner);
            }
        }
    }

    /// Gives on what members let go.
    pub(crate) fn confirm(&mut self, confirmations: &[Confirmation]) {
        for Confirmation { member, epoch, owned } in confirmations {
            let is_held = |partition: &PartitionId| {
                let indexes = owned.get(&partition.topic);
                indexes.is_some_and(|indexes| indexes.contains(&partition.index.get()))
            };
            self.owners.retain(|partition, owner| {
                let has_let_go = owner.revoked.is_some_and(|since| since <= *epoch);
                owner.member != *member || !has_let_go || is_held(partition)
            });
        }
        self.grant();
    }

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
                if !self.members.contains_key(member) {
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
                if owner.filter(owns).is_none() {
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

    /// What a member has; none if it is no member.
    #[must_use]
    pub fn assignment(&self, id: &MemberId) -> Option<Assignment> {
        self.members.get(id)?;
        let mut found = Assignment { epoch: self.epoch, ..Assignment::default() };
        for (partition, owner) in &self.owners {
            let is_meant = self.target.get(partition) == Some(id);
            match (owner.member == *id, is_meant) {
                (true, true) => found.assigned.push(*partition),
                (true, false) => found.revoking.push(*partition),
                (false, true) => found.waiting += 1,
                (false, false) => {}
            }
        }
        Some(found)
    }
}
