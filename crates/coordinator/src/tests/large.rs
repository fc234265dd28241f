//! How long large groups take to tell everybody what it has.

use std::collections::BTreeSet;
use std::time::Instant;

use quipu_types::{MetadataVersion, PartitionId, TimestampMs, TopicId, TopicName};

use super::full::{group, join, member};
use crate::{Command, Group, Groups, Join, Leave, LeaveReason, TopicPartitions};

const MEMBERS: usize = 1_000;
const TOPICS: u8 = 10;

fn topic(number: u8) -> TopicId {
    TopicId::from_bytes([number + 1; 16])
}

fn reader(number: usize) -> Join {
    Join { resolved: (0..TOPICS).map(topic).collect(), ..join(number, None, None) }
}

fn update(groups: &mut Groups, joins: Vec<Join>, leaves: Vec<Leave>, partitions: u32) {
    let name = TopicName::new("orders").unwrap();
    let counted = |number| TopicPartitions { topic: topic(number), name: name.clone(), partitions };
    let (group, topics) = (group("billing"), (0..TOPICS).map(counted).collect());
    let (subscriptions, image) = (Vec::new(), MetadataVersion::new(1));
    let command = Command::Update { group, joins, leaves, subscriptions, topics, image };
    assert!(groups.apply(TimestampMs::new(0), command).0.is_ok());
}

/// Everybody asks, as after each change; every partition is some member's.
fn all_ask(group: &Group) {
    let mut assigned: BTreeSet<PartitionId> = BTreeSet::new();
    let mut waiting = 0;
    for member in group.members() {
        let found = group.assignment(member.id()).unwrap();
        assigned.extend(found.assigned.iter().chain(&found.revoking));
        waiting += found.waiting;
        assert_eq!(found.epoch, group.epoch());
    }
    assert!(assigned.into_iter().eq(group.owners().map(|(partition, _)| partition)));
    assert_eq!(waiting, 0);
}

#[test]
#[ignore = "it measures: run it alone"]
#[expect(clippy::disallowed_methods, reason = "a test that measures")]
fn a_large_group_tells_its_members_quickly() {
    for per_topic in [100, 1_000] {
        let mut groups = Groups::default();
        update(&mut groups, (0..MEMBERS).map(reader).collect(), Vec::new(), per_topic);
        let mut timed = |what: &str, joins, leaves| {
            let start = Instant::now();
            update(&mut groups, joins, leaves, per_topic);
            let applied = start.elapsed();
            all_ask(groups.group(&group("billing")).unwrap());
            let asked = start.elapsed() - applied;
            let partitions = u32::from(TOPICS) * per_topic;
            println!("{MEMBERS} members, {partitions} partitions, {what}: {applied:?}, {asked:?}");
        };
        let reason = LeaveReason::Asked;
        let leave = Leave { member: member(7), reason, temporary: false, joined: None };
        timed("one leaves", Vec::new(), vec![leave]);
        timed("one starts anew", vec![reader(8)], Vec::new());
    }
}
