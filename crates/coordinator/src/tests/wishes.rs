//! Commands by chance, from few names, so that they collide.

use std::collections::{BTreeMap, BTreeSet};

use quipu_types::{
    LeaderEpoch, MetadataVersion, Offset, PartitionId, PartitionIndex, TopicId, TopicName,
};

use super::clients::confirmation;
use super::model::{Model, ModelGroup};
use super::random::Random;
use crate::{
    Assignor, Command, Committer, Confirmation, GroupEpoch, GroupName, Join, Leave, LeaveReason,
    MemberId, NewOffset, Subscribed, TopicPartitions,
};

pub(crate) const TOPICS: u8 = 3;

pub(crate) fn topic(number: u8) -> TopicId {
    TopicId::from_bytes([number + 1; 16])
}

pub(crate) fn member(number: u64) -> MemberId {
    MemberId::new(&format!("m{number}")).unwrap()
}

/// How many partitions each topic has by now; 0: it is gone.
pub(crate) struct Cluster {
    counts: BTreeMap<TopicId, u32>,
    /// Rises with each change of these.
    image: u64,
    group_count: u64,
    /// Whether members say only what is true.
    is_honest: bool,
}

impl Cluster {
    pub(crate) fn new(random: &mut Random, is_honest: bool) -> Self {
        let counts = (0..TOPICS).map(|number| (topic(number), count(random, 4)));
        let (counts, group_count) = (counts.collect(), 1 + u64::from(random.one_in(4)));
        Self { counts, image: 1, group_count, is_honest }
    }

    pub(crate) fn wish(&mut self, random: &mut Random, model: &Model) -> Command {
        let group = GroupName::new(&format!("g{}", random.below(self.group_count))).unwrap();
        let none = ModelGroup::default();
        let now = model.groups.get(&group).unwrap_or(&none);
        match random.below(24) {
            0..9 => self.update(random, group, now),
            9..12 if !self.is_honest => {
                let members = (0..=random.below(2)).map(|_| confirmed(random, now));
                let confirmations = members.collect();
                Command::Confirm { group, confirmations }
            }
            9..19 => commit(random, group, now),
            19 => {
                let fence = random.one_in(2);
                Command::Reset { group, offsets: offsets(random), fence }
            }
            20 => Command::Delete { group },
            21 => {
                let gone = (0..TOPICS).map(topic).filter(|_| random.one_in(4)).collect();
                Command::Sweep { retention_ms: random.below(40), gone }
            }
            _ => {
                let changed = topic(u8::try_from(random.below(TOPICS.into())).unwrap());
                self.counts.insert(changed, count(random, 5));
                self.image += 1;
                self.update(random, group, now)
            }
        }
    }

    fn update(&self, random: &mut Random, group: GroupName, now: &ModelGroup) -> Command {
        let joins: Vec<Join> = (0..random.below(3)).map(|_| self.join(random, now)).collect();
        let mut leaves = Vec::new();
        for _ in 0..random.below(5).saturating_sub(3) + u64::from(joins.is_empty()) {
            if !random.one_in(3) {
                let reasons = [
                    LeaveReason::Asked,
                    LeaveReason::SessionExpired,
                    LeaveReason::ProcessingTimeout,
                ];
                let reason = random.pick(&reasons).unwrap();
                let (member, temporary) = (someone(random, now), random.one_in(2));
                let joined = joined(random, now, &member);
                leaves.push(Leave { member, reason, temporary, joined });
            }
        }
        let mut subscriptions = Vec::new();
        if random.one_in(3) {
            let member = someone(random, now);
            let (topics, patterns) = (Vec::new(), vec!["t.*".to_owned()]);
            subscriptions.push(Subscribed { member, topics, patterns, resolved: reads(random) });
        }
        let mut topics = self.topics(random, now, &joins, &subscriptions);
        let mut image = self.image;
        if random.one_in(4) {
            // A coordinator that lags knows fewer partitions.
            image = random.below(self.image);
            for topic in &mut topics {
                topic.partitions = 1 + count(random, topic.partitions.into());
            }
        }
        let image = MetadataVersion::new(image);
        Command::Update { group, joins, leaves, subscriptions, topics, image }
    }

    /// What is read afterwards; now and then the coordinator knows too little or too much.
    fn topics(
        &self,
        random: &mut Random,
        now: &ModelGroup,
        joins: &[Join],
        subscriptions: &[Subscribed],
    ) -> Vec<TopicPartitions> {
        let mut read: BTreeSet<TopicId> =
            now.members.values().flat_map(|member| member.reads.iter().copied()).collect();
        read.extend(joins.iter().flat_map(|join| join.resolved.iter()));
        read.extend(subscriptions.iter().flat_map(|one| one.resolved.iter()));
        let knows = |topic: &TopicId, random: &mut Random| {
            if read.contains(topic) { !random.one_in(20) } else { random.one_in(20) }
        };
        let known = self.counts.iter().filter(|(topic, count)| **count > 0 && knows(topic, random));
        let name = TopicName::new("orders").unwrap();
        known
            .map(|(topic, count)| (*topic, *count))
            .map(|(topic, partitions)| TopicPartitions { topic, name: name.clone(), partitions })
            .collect()
    }

    fn join(&self, random: &mut Random, now: &ModelGroup) -> Join {
        let (some, other) = (member(random.below(5)), someone(random, now));
        Join {
            member: some,
            instance: random.one_in(2).then(|| format!("i{}", random.below(2))),
            replaces: random.one_in(2).then_some(other),
            client: "sms".to_owned(),
            host: "10.0.0.1".to_owned(),
            topics: vec![TopicName::new("orders").unwrap()],
            patterns: Vec::new(),
            resolved: reads(random),
            assignor: if random.one_in(4) { Assignor::Range } else { Assignor::Uniform },
            session_timeout_ms: 45_000,
            processing_timeout_ms: 300_000,
        }
    }
}

fn count(random: &mut Random, end: u64) -> u32 {
    u32::try_from(random.below(end)).unwrap()
}

fn reads(random: &mut Random) -> Vec<TopicId> {
    (0..TOPICS).map(topic).filter(|_| !random.one_in(3)).collect()
}

/// Mostly a member, sometimes anybody.
fn someone(random: &mut Random, now: &ModelGroup) -> MemberId {
    let members: Vec<MemberId> = now.members.keys().cloned().collect();
    let known = if random.one_in(8) { None } else { random.pick(&members) };
    known.unwrap_or_else(|| member(random.below(5)))
}

/// The epoch, or one nearby.
fn epoch(random: &mut Random, now: &ModelGroup) -> GroupEpoch {
    GroupEpoch::new(match random.below(6) {
        0 => now.epoch + 1,
        1 | 2 => now.epoch.saturating_sub(1 + random.below(3)),
        _ => now.epoch,
    })
}

/// When a member joined, as whoever speaks of it knows, or thought once.
fn joined(random: &mut Random, now: &ModelGroup, member: &MemberId) -> Option<GroupEpoch> {
    match random.below(4) {
        0 => None,
        1 => Some(epoch(random, now)),
        _ => now.members.get(member).map(|member| GroupEpoch::new(member.joined)),
    }
}

fn partition(random: &mut Random) -> PartitionId {
    let topic = topic(u8::try_from(random.below(TOPICS.into())).unwrap());
    PartitionId::new(topic, PartitionIndex::new(count(random, 4)))
}

fn offsets(random: &mut Random) -> Vec<(PartitionId, NewOffset)> {
    let chosen: BTreeSet<PartitionId> = (0..random.below(3)).map(|_| partition(random)).collect();
    chosen.into_iter().map(|id| (id, new_offset(random))).collect()
}

fn new_offset(random: &mut Random) -> NewOffset {
    let offset = Offset::new(random.below(1_000));
    let leader_epoch = LeaderEpoch::new(i32::try_from(random.below(3)).unwrap() - 1);
    NewOffset { offset, leader_epoch, metadata: format!("µ{}", random.below(3)) }
}

fn commit(random: &mut Random, group: GroupName, now: &ModelGroup) -> Command {
    if random.one_in(6) {
        return Command::Commit { group, member: None, offsets: offsets(random) };
    }
    let (member, epoch) = (someone(random, now), epoch(random, now));
    let owned = now.owners.iter().filter(|(_, owner)| owner.0 == member).map(|(id, _)| *id);
    let mut chosen: BTreeSet<PartitionId> = owned.filter(|_| random.one_in(2)).collect();
    if random.one_in(2) {
        chosen.insert(partition(random));
    }
    let offsets = chosen.into_iter().map(|id| (id, new_offset(random))).collect();
    Command::Commit { group, member: Some(Committer { member, epoch }), offsets }
}

/// All, some or nothing of what a member has, and sometimes what it has not.
fn confirmed(random: &mut Random, now: &ModelGroup) -> Confirmation {
    let (member, epoch) = (someone(random, now), epoch(random, now));
    let keeps = random.below(3);
    let mut held: Vec<PartitionId> = Vec::new();
    for (id, owner) in &now.owners {
        let is_kept = match keeps {
            0 => now.target[id] == member,
            1 => owner.0 == member && random.one_in(2),
            _ => false,
        };
        if is_kept || random.one_in(16) {
            held.push(*id);
        }
    }
    confirmation(member, epoch, &held)
}
