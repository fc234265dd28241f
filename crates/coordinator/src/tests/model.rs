//! What groups are to be, said a second time and as plainly as possible.
//!
//! The model takes targets from the code, because any fair one will do, checks that they are
//! allowed, and foretells everything else: answers, epochs, members, owners, positions.

use std::collections::{BTreeMap, BTreeSet};

use quipu_types::{PartitionId, PartitionIndex, TimestampMs, TopicId};

use crate::{
    Answer, Command, CommittedOffset, Committer, Confirmation, Group, GroupEpoch, GroupName,
    GroupState, Groups, Join, Leave, MemberId, NewOffset, Outcome, Owner, Refusal, Subscribed,
    TopicPartitions,
};

#[derive(Clone, Debug, Default)]
pub(crate) struct ModelMember {
    pub(crate) instance: Option<String>,
    pub(crate) is_away: bool,
    pub(crate) reads: BTreeSet<TopicId>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ModelGroup {
    pub(crate) epoch: u64,
    pub(crate) members: BTreeMap<MemberId, ModelMember>,
    pub(crate) target: BTreeMap<PartitionId, MemberId>,
    pub(crate) owners: BTreeMap<PartitionId, (MemberId, u64)>,
    /// The epoch that took a partition from its owner; no older confirmation can mean it.
    revoked: BTreeMap<PartitionId, u64>,
    offsets: BTreeMap<PartitionId, CommittedOffset>,
    empty_since: Option<TimestampMs>,
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) groups: BTreeMap<GroupName, ModelGroup>,
}

/// What a model group was changed by, for the target that is to follow.
type Topics = BTreeMap<TopicId, u32>;

impl Model {
    /// Foretells the answer; when it is no refusal, the model is as the code is to be, but for the
    /// target, which [`Self::check`] takes over.
    pub(crate) fn foretell(&mut self, now: TimestampMs, command: &Command) -> Foretold {
        let mut topics = None;
        let result = self.run(now, command, &mut topics);
        Foretold { answer: Answer(result), topics }
    }

    fn run(
        &mut self,
        now: TimestampMs,
        command: &Command,
        changed: &mut Option<(GroupName, Topics)>,
    ) -> Result<Outcome, Refusal> {
        let unknown = |group: &GroupName| Refusal::UnknownGroup { group: group.clone() };
        match command {
            Command::Update { group, joins, leaves, subscriptions, topics } => {
                if !self.groups.contains_key(group) && joins.is_empty() {
                    return Err(unknown(group));
                }
                let mut next = self.groups.get(group).cloned().unwrap_or_else(|| begun(now));
                next.check_update(group, joins, leaves, subscriptions)?;
                next.update(now, joins, leaves, subscriptions);
                *changed = Some((group.clone(), counts(topics)));
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
                let found = self.groups.entry(group.clone()).or_insert_with(|| begun(now));
                found.check_empty(group)?;
                found.empty_since = Some(now);
                offsets.iter().for_each(|(id, new)| found.store(*id, new, now));
                Ok(Outcome::Committed { refused: BTreeMap::new() })
            }
            Command::Reset { group, offsets, fence } => {
                let found = self.groups.entry(group.clone()).or_insert_with(|| begun(now));
                if !fence {
                    found.check_empty(group)?;
                }
                if !found.members.is_empty() {
                    found.epoch += 1;
                    found.members.clear();
                    found.owners.clear();
                    *changed = Some((group.clone(), Topics::new()));
                }
                found.empty_since = Some(now);
                offsets.iter().for_each(|(id, new)| found.store(*id, new, now));
                Ok(Outcome::Reset)
            }
            Command::Delete { group } => {
                self.groups.get(group).ok_or_else(|| unknown(group))?.check_empty(group)?;
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
            since.is_none_or(|at| u64::try_from(now.get() - at.get()).unwrap() <= retention_ms)
        });
        let after: usize = self.groups.values().map(|group| group.offsets.len()).sum();
        let count = |number: usize| u64::try_from(number).unwrap();
        Outcome::Swept { groups: count(groups - self.groups.len()), offsets: count(before - after) }
    }

    /// Compares the code with what was foretold.
    pub(crate) fn check(&mut self, groups: &Groups, foretold: Foretold) -> Result<(), String> {
        if let Some((name, topics)) = foretold.topics {
            let found = groups.group(&name).ok_or("the group is not there")?;
            let group = self.groups.get_mut(&name).unwrap();
            group.take_target(found, &topics)?;
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

/// An answer, and the topics of a group that is to have a new target.
pub(crate) struct Foretold {
    pub(crate) answer: Answer,
    topics: Option<(GroupName, Topics)>,
}

fn begun(now: TimestampMs) -> ModelGroup {
    ModelGroup { empty_since: Some(now), ..ModelGroup::default() }
}

fn counts(topics: &[TopicPartitions]) -> Topics {
    topics.iter().map(|topic| (topic.topic, topic.partitions)).collect()
}

impl ModelGroup {
    fn check_empty(&self, group: &GroupName) -> Result<(), Refusal> {
        let members = self.members.len();
        if members == 0 {
            return Ok(());
        }
        Err(Refusal::GroupNotEmpty { group: group.clone(), members })
    }

    fn check_update(
        &self,
        group: &GroupName,
        joins: &[Join],
        leaves: &[Leave],
        subscriptions: &[Subscribed],
    ) -> Result<(), Refusal> {
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

    fn update(
        &mut self,
        now: TimestampMs,
        joins: &[Join],
        leaves: &[Leave],
        subscriptions: &[Subscribed],
    ) {
        self.epoch += 1;
        for leave in leaves {
            match self.members.get_mut(&leave.member) {
                Some(member) if leave.temporary && member.instance.is_some() => {
                    member.is_away = true;
                }
                _ => self.drop_member(&leave.member),
            }
        }
        for join in joins {
            self.drop_owned(&join.member);
            let holds = |(id, member): &(&MemberId, &ModelMember)| {
                **id != join.member && join.instance.is_some() && member.instance == join.instance
            };
            if let Some(holder) = self.members.iter().find(holds).map(|(id, _)| id.clone()) {
                self.hand_over(&holder, &join.member);
            }
            let (instance, reads) = (join.instance.clone(), join.resolved.iter().copied());
            let member = ModelMember { instance, is_away: false, reads: reads.collect() };
            self.members.insert(join.member.clone(), member);
        }
        for one in subscriptions {
            if let Some(member) = self.members.get_mut(&one.member) {
                member.reads = one.resolved.iter().copied().collect();
            }
        }
        self.empty_since =
            if self.members.is_empty() { self.empty_since.or(Some(now)) } else { None };
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

    fn release(&mut self, confirmation: &Confirmation) {
        let Confirmation { member, epoch, owned } = confirmation;
        self.owners.retain(|id, owner| {
            let is_held = owned.get(&id.topic).is_some_and(|held| held.contains(&id.index.get()));
            let is_heard = self.revoked.get(id).is_some_and(|since| *since <= epoch.get());
            owner.0 != *member || is_held || !is_heard
        });
    }

    fn grant(&mut self) {
        for (id, member) in &self.target {
            self.owners.entry(*id).or_insert_with(|| (member.clone(), self.epoch));
        }
        self.revoked.retain(|id, _| self.owners[id].0 != self.target[id]);
    }

    /// Takes the code's target, if it is one that is allowed.
    fn take_target(&mut self, found: &Group, topics: &Topics) -> Result<(), String> {
        self.target.clear();
        for (topic, count) in topics {
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
        for (id, owner) in &self.owners {
            if owner.0 != self.target[id] {
                self.revoked.entry(*id).or_insert(self.epoch);
            }
        }
        self.revoked.retain(|id, _| self.owners.contains_key(id));
        self.grant();
        Ok(())
    }

    fn commit(
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

    fn store(&mut self, partition: PartitionId, new: &NewOffset, now: TimestampMs) {
        let NewOffset { offset, leader_epoch, metadata } = new.clone();
        let committed = CommittedOffset { offset, leader_epoch, metadata, committed_at: now };
        self.offsets.insert(partition, committed);
    }

    fn compare(&self, found: &Group) -> Result<(), String> {
        let same = |is_same: bool, what: &str| if is_same { Ok(()) } else { Err(what.to_owned()) };
        same(found.epoch().get() == self.epoch, "another epoch")?;
        same(found.empty_since() == self.empty_since, "empty since another time")?;
        let members = found.members().map(|member| {
            let reads: BTreeSet<TopicId> = member.resolved().iter().copied().collect();
            (member.id(), member.instance(), member.is_away(), reads)
        });
        let expected = self.members.iter().map(|(id, member)| {
            (id, member.instance.as_ref(), member.is_away, member.reads.clone())
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
