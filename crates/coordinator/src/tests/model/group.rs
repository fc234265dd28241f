//! One group of the model.

use std::collections::{BTreeMap, BTreeSet};

use quipu_types::{
    LeaderEpoch, MetadataVersion, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId,
};

use crate::{
    CommittedOffset, Committer, Confirmation, Group, GroupEpoch, GroupName, GroupState, Join,
    Leave, MemberId, NewOffset, Outcome, Owner, Refusal, Subscribed, TopicPartitions,
};

#[derive(Clone, Debug, Default)]
pub(crate) struct ModelMember {
    pub(crate) instance: Option<String>,
    pub(crate) joined: u64,
    pub(crate) is_away: bool,
    pub(crate) reads: BTreeSet<TopicId>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ModelGroup {
    pub(crate) epoch: u64,
    pub(crate) members: BTreeMap<MemberId, ModelMember>,
    pub(super) topics: BTreeMap<TopicId, u32>,
    image: MetadataVersion,
    pub(crate) target: BTreeMap<PartitionId, MemberId>,
    pub(crate) owners: BTreeMap<PartitionId, (MemberId, u64)>,
    /// The epoch that took a partition from its owner; no older confirmation can mean it.
    revoked: BTreeMap<PartitionId, u64>,
    pub(super) offsets: BTreeMap<PartitionId, CommittedOffset>,
    pub(super) empty_since: Option<TimestampMs>,
}

/// The parts of an update.
pub(crate) struct Changes<'a> {
    pub(crate) joins: &'a [Join],
    pub(crate) leaves: &'a [Leave],
    pub(crate) subscriptions: &'a [Subscribed],
    pub(crate) topics: &'a [TopicPartitions],
    pub(crate) image: MetadataVersion,
}

impl ModelGroup {
    pub(super) fn begun(now: TimestampMs, floor: u64) -> Self {
        Self { epoch: floor, empty_since: Some(now), ..Self::default() }
    }

    pub(super) fn check_empty(&self, group: &GroupName) -> Result<(), Refusal> {
        let members = self.members.len();
        if members == 0 {
            return Ok(());
        }
        Err(Refusal::GroupNotEmpty { group: group.clone(), members })
    }

    pub(super) fn check_update(
        &self,
        group: &GroupName,
        changes: &Changes<'_>,
    ) -> Result<(), Refusal> {
        let Changes { joins, leaves, subscriptions, .. } = changes;
        for Leave { member, joined, .. } in *leaves {
            let current = self.members.get(member).map(|member| GroupEpoch::new(member.joined));
            if let (Some(given), Some(current)) = (*joined, current)
                && given != current
            {
                return Err(Refusal::StaleLeave { member: member.clone(), given, current });
            }
        }
        if let Some(one) = subscriptions.iter().find(|one| !self.members.contains_key(&one.member))
        {
            let member = one.member.to_string();
            return Err(Refusal::UnknownMember { group: group.clone(), member });
        }
        for (place, join) in joins.iter().enumerate() {
            let Some(instance) = &join.instance else { continue };
            let is_kept = |id: &MemberId, member: &ModelMember| {
                !member.is_away
                    && join.replaces.as_ref() != Some(id)
                    && leaves.iter().all(|leave| leave.member != *id)
            };
            let mut holders = self.members.iter().filter(|(id, member)| {
                **id != join.member && member.instance == join.instance && is_kept(id, member)
            });
            let earlier = || {
                let mut earlier = joins[..place].iter().rev();
                earlier.find(|one| one.instance == join.instance).map(|one| &one.member)
            };
            let holder = holders.next().map(|(id, _)| id).or_else(earlier);
            if let Some(holder) = holder.filter(|holder| **holder != join.member) {
                let (instance, holder) = (instance.clone(), holder.clone());
                return Err(Refusal::InstanceInUse { instance, holder });
            }
        }
        Ok(())
    }

    pub(super) fn update(&mut self, now: TimestampMs, changes: &Changes<'_>) {
        let Changes { joins, leaves, subscriptions, topics, image } = changes;
        let is_behind = *image < self.image;
        self.image = self.image.max(*image);
        self.epoch += 1;
        let is_gone = |leave: &Leave| !self.members.contains_key(&leave.member);
        let is_idle = joins.is_empty() && subscriptions.is_empty() && leaves.iter().all(is_gone);
        let topics_before = self.topics.clone();
        for leave in *leaves {
            match self.members.get_mut(&leave.member) {
                Some(member) if leave.temporary && member.instance.is_some() => {
                    member.is_away = true;
                }
                _ => self.drop_member(&leave.member),
            }
        }
        for join in *joins {
            self.drop_owned(&join.member);
            let holds = |(id, member): &(&MemberId, &ModelMember)| {
                **id != join.member && join.instance.is_some() && member.instance == join.instance
            };
            if let Some(holder) = self.members.iter().find(holds).map(|(id, _)| id.clone()) {
                self.hand_over(&holder, &join.member);
            }
            let (instance, reads) = (join.instance.clone(), join.resolved.iter().copied());
            let (joined, reads) = (self.epoch, reads.collect());
            let member = ModelMember { instance, joined, is_away: false, reads };
            self.members.insert(join.member.clone(), member);
        }
        for one in *subscriptions {
            if let Some(member) = self.members.get_mut(&one.member) {
                let kept =
                    if is_behind { std::mem::take(&mut member.reads) } else { BTreeSet::new() };
                member.reads = one.resolved.iter().copied().chain(kept).collect();
            }
        }
        self.count(topics);
        self.begin_added(&topics_before, now);
        if is_idle && self.topics == topics_before {
            self.epoch -= 1;
            return;
        }
        self.empty_since =
            if self.members.is_empty() { self.empty_since.or(Some(now)) } else { None };
    }

    fn count(&mut self, topics: &[TopicPartitions]) {
        let before = std::mem::take(&mut self.topics);
        for (topic, count) in &before {
            if self.members.values().any(|member| member.reads.contains(topic)) {
                self.topics.insert(*topic, *count);
            }
        }
        for TopicPartitions { topic, partitions, .. } in topics {
            let known = before.get(topic).copied().unwrap_or(0);
            self.topics.insert(*topic, known.max(*partitions));
        }
    }

    /// What was added to a topic that is read has a position from then on.
    fn begin_added(&mut self, before: &BTreeMap<TopicId, u32>, now: TimestampMs) {
        for (topic, count) in &self.topics {
            for index in before.get(topic).copied().unwrap_or(*count)..*count {
                let partition = PartitionId::new(*topic, PartitionIndex::new(index));
                self.offsets.entry(partition).or_insert(CommittedOffset {
                    offset: Offset::new(0),
                    leader_epoch: LeaderEpoch::new(-1),
                    metadata: String::new(),
                    committed_at: now,
                });
            }
        }
    }

    fn hand_over(&mut self, from: &MemberId, to: &MemberId) {
        self.members.remove(from);
        for (partition, owner) in &mut self.owners {
            if owner.0 == *from {
                *owner = (to.clone(), self.epoch);
                // The successor has heard nothing yet.
                self.revoked.remove(partition);
            }
        }
    }

    fn drop_member(&mut self, member: &MemberId) {
        self.members.remove(member);
        self.drop_owned(member);
    }

    fn drop_owned(&mut self, member: &MemberId) {
        self.owners.retain(|_, owner| owner.0 != *member);
    }

    pub(super) fn release(&mut self, confirmation: &Confirmation) {
        let Confirmation { member, epoch, owned } = confirmation;
        self.owners.retain(|id, owner| {
            let is_held = owned.get(&id.topic).is_some_and(|held| held.contains(&id.index.get()));
            let is_heard = self.revoked.get(id).is_some_and(|since| *since <= epoch.get());
            owner.0 != *member || is_held || !is_heard
        });
    }

    pub(super) fn grant(&mut self) {
        for (id, member) in &self.target {
            self.owners.entry(*id).or_insert_with(|| (member.clone(), self.epoch));
        }
        self.revoked.retain(|id, _| self.owners[id].0 != self.target[id]);
    }

    /// Takes the code's target, if it is one that is allowed.
    pub(super) fn take_target(&mut self, found: &Group) -> Result<(), String> {
        self.target.clear();
        for (topic, count) in &self.topics {
            let is_read = self.members.values().any(|member| member.reads.contains(topic));
            for index in 0..8 {
                let id = PartitionId::new(*topic, PartitionIndex::new(index));
                match found.target(*topic, index) {
                    Some(_) if index >= *count || !is_read => {
                        return Err(format!("{id} has a target"));
                    }
                    None if index < *count && is_read => {
                        return Err(format!("{id} has no target"));
                    }
                    Some(member) => {
                        let member = member.clone();
                        let target = self.members.get(&member).ok_or("target is no member")?;
                        if !target.reads.contains(topic) {
                            return Err(format!("{member} is to read {id} without a subscription"));
                        }
                        self.target.insert(id, member);
                    }
                    None => {}
                }
            }
        }
        self.owners.retain(|id, _| self.target.contains_key(id));
        // Whoever is away has stopped reading: what is meant for another goes there.
        self.owners
            .retain(|id, owner| owner.0 == self.target[id] || !self.members[&owner.0].is_away);
        for (id, owner) in &self.owners {
            if owner.0 != self.target[id] {
                self.revoked.entry(*id).or_insert(self.epoch);
            }
        }
        self.revoked.retain(|id, _| self.owners.contains_key(id));
        self.grant();
        Ok(())
    }

    pub(super) fn commit(
        &mut self,
        group: &GroupName,
        now: TimestampMs,
        committer: &Committer,
        offsets: &[(PartitionId, NewOffset)],
    ) -> Result<Outcome, Refusal> {
        let Committer { member, epoch } = committer.clone();
        if !self.members.contains_key(&member) {
            let member = member.to_string();
            return Err(Refusal::UnknownMember { group: group.clone(), member });
        }
        if epoch.get() > self.epoch {
            let current = GroupEpoch::new(self.epoch);
            return Err(Refusal::FutureEpoch { member, given: epoch, current });
        }
        let mut refused = BTreeMap::new();
        for (partition, new) in offsets {
            match self.owners.get(partition) {
                Some((owner, since)) if *owner == member && *since <= epoch.get() => {
                    self.store(*partition, new, now);
                }
                _ => {
                    let (partition, member) = (*partition, member.clone());
                    refused.insert(partition, Refusal::NotOwner { partition, member, epoch });
                }
            }
        }
        Ok(Outcome::Committed { refused })
    }

    pub(super) fn store(&mut self, partition: PartitionId, new: &NewOffset, now: TimestampMs) {
        let NewOffset { offset, leader_epoch, metadata } = new.clone();
        let committed = CommittedOffset { offset, leader_epoch, metadata, committed_at: now };
        self.offsets.insert(partition, committed);
    }

    pub(super) fn compare(&self, found: &Group) -> Result<(), String> {
        let same = |is_same: bool, what: &str| if is_same { Ok(()) } else { Err(what.to_owned()) };
        same(found.epoch().get() == self.epoch, "another epoch")?;
        same(*found.topics() == self.topics, "other topics")?;
        same(found.image() == self.image, "another image")?;
        same(found.empty_since() == self.empty_since, "empty since another time")?;
        let members = found.members().map(|member| {
            let reads: BTreeSet<TopicId> = member.resolved().iter().copied().collect();
            (member.id(), member.instance(), member.joined().get(), member.is_away(), reads)
        });
        let expected = self.members.iter().map(|(id, member)| {
            (id, member.instance.as_ref(), member.joined, member.is_away, member.reads.clone())
        });
        same(members.eq(expected), "other members")?;
        let target = |(id, member): (&PartitionId, &MemberId)| {
            found.target(id.topic, id.index.get()) == Some(member)
        };
        same(self.target.iter().all(target), "the target changed without a new epoch")?;
        let owners =
            found.owners().map(|(id, Owner { member, since, .. })| (id, member, since.get()));
        let expected = self.owners.iter().map(|(id, (member, since))| (*id, member, *since));
        same(owners.eq(expected), "other owners")?;
        same(found.offsets().eq(self.offsets.iter().map(|(id, at)| (*id, at))), "other offsets")?;
        same(found.state() == self.state(), "another state")?;
        self.members.keys().try_for_each(|member| self.compare_assignment(found, member))
    }

    fn state(&self) -> GroupState {
        let is_there = |(id, member): (&PartitionId, &MemberId)| self.owners[id].0 == *member;
        match self.members.is_empty() {
            true => GroupState::Empty,
            false if self.target.iter().all(is_there) => GroupState::Stable,
            false => GroupState::Reconciling,
        }
    }

    fn compare_assignment(&self, found: &Group, member: &MemberId) -> Result<(), String> {
        let found = found.assignment(member).ok_or("a member has no assignment")?;
        let owned: Vec<PartitionId> =
            self.owners.iter().filter(|(_, owner)| owner.0 == *member).map(|(id, _)| *id).collect();
        let (assigned, revoking): (Vec<_>, Vec<_>) =
            owned.into_iter().partition(|id| self.target[id] == *member);
        let waits =
            |(id, to): &(&PartitionId, &MemberId)| **to == *member && self.owners[*id].0 != *member;
        let waiting = self.target.iter().filter(waits).count();
        let is_same = (found.assigned, found.revoking, found.waiting)
            == (assigned, revoking, waiting)
            && found.epoch.get() == self.epoch;
        if is_same { Ok(()) } else { Err(format!("{member} has another assignment")) }
    }
}
