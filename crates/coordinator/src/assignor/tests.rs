use std::collections::BTreeMap;
use std::time::Instant;

use quipu_types::{PartitionId, PartitionIndex, TopicId};

use super::*;
use crate::tests::random::Random;
use crate::{GroupEpoch, Join};

type Members = BTreeMap<MemberId, Member>;
type Topics = BTreeMap<TopicId, u32>;

fn topic(number: u64) -> TopicId {
    TopicId::from_bytes(u128::from(number + 1).to_be_bytes())
}

fn id(number: u64) -> MemberId {
    MemberId::new(&format!("m{number:04}")).unwrap()
}

fn member(number: u64, instance: Option<&str>, resolved: Vec<TopicId>) -> (MemberId, Member) {
    let join = Join {
        member: id(number),
        instance: instance.map(str::to_owned),
        replaces: None,
        client: "sms".to_owned(),
        host: "10.0.0.1".to_owned(),
        topics: Vec::new(),
        patterns: Vec::new(),
        resolved,
        assignor: Assignor::Uniform,
        session_timeout_ms: 45_000,
        processing_timeout_ms: 300_000,
    };
    (id(number), Member::new(join, GroupEpoch::new(1)))
}

fn topics(random: &mut Random) -> Topics {
    let count = 1 + random.below(4);
    (0..count).map(|number| (topic(number), u32::try_from(random.below(12)).unwrap())).collect()
}

/// Members that read the same.
fn alike(count: u64, topics: &Topics) -> Members {
    (0..count).map(|number| member(number, None, topics.keys().copied().collect())).collect()
}

/// Members that read each what it likes.
fn unlike(random: &mut Random, topics: &Topics) -> Members {
    let count = random.below(7);
    let reads = |random: &mut Random| {
        topics.keys().copied().filter(|_| !random.one_in(3)).collect::<Vec<_>>()
    };
    (0..count).map(|number| member(number, None, reads(random))).collect()
}

fn loads(members: &Members, target: &Target) -> BTreeMap<MemberId, usize> {
    let mut loads: BTreeMap<MemberId, usize> = members.keys().map(|id| (id.clone(), 0)).collect();
    target.values().for_each(|id| *loads.get_mut(id).unwrap() += 1);
    loads
}

/// Partitions that changed hands.
fn moved(before: &Target, after: &Target) -> Vec<PartitionId> {
    before.iter().filter(|(id, member)| after.get(id) != Some(member)).map(|(id, _)| *id).collect()
}

fn check_covers(members: &Members, topics: &Topics, target: &Target) {
    let is_read = |topic: &TopicId| members.values().any(|one| one.resolved().contains(topic));
    let read = topics.iter().filter(|(topic, _)| is_read(topic));
    let all = read.flat_map(|(topic, count)| {
        (0..*count).map(|index| PartitionId::new(*topic, PartitionIndex::new(index)))
    });
    assert!(all.eq(target.keys().copied()), "every partition of what is read, and no other");
    for (partition, member) in target {
        assert!(members[member].resolved().contains(&partition.topic), "only subscribers");
    }
}

/// No partition could go to a reader that has two fewer.
fn check_even(members: &Members, target: &Target) {
    let loads = loads(members, target);
    for (partition, from) in target {
        for (to, _) in members.iter().filter(|(_, one)| one.resolved().contains(&partition.topic)) {
            assert!(loads[from] < loads[to] + 2, "{partition} could move from {from} to {to}");
        }
    }
}

#[test]
fn members_that_read_the_same_differ_by_one_at_most() {
    for seed in 0..3_000 {
        let random = &mut Random::new(seed);
        let (topics, count) = (topics(random), 1 + random.below(8));
        let members = alike(count, &topics);
        let target = assign(Assignor::Uniform, &members, &topics, &Target::new());
        check_covers(&members, &topics, &target);
        let loads = loads(&members, &target);
        let (least, most) = (loads.values().min().unwrap(), loads.values().max().unwrap());
        assert!(most - least <= 1, "seed {seed}: {loads:?}");
    }
}

#[test]
fn no_move_makes_it_more_even_whatever_members_read() {
    for seed in 0..20_000 {
        let random = &mut Random::new(seed);
        let mut target = Target::new();
        // Each round begins with what the one before left.
        for _ in 0..4 {
            let topics = topics(random);
            let members = unlike(random, &topics);
            target = assign(Assignor::Uniform, &members, &topics, &target);
            check_covers(&members, &topics, &target);
            check_even(&members, &target);
            let again = assign(Assignor::Uniform, &members, &topics, &target);
            assert_eq!(again, target, "seed {seed}: what is even stays");
        }
    }
}

#[test]
fn one_member_more_moves_its_share_only() {
    for seed in 0..3_000 {
        let random = &mut Random::new(seed);
        let (topics, count) = (topics(random), 1 + random.below(8));
        let before = assign(Assignor::Uniform, &alike(count, &topics), &topics, &Target::new());
        let members = alike(count + 1, &topics);
        let after = assign(Assignor::Uniform, &members, &topics, &before);
        let moved = moved(&before, &after);
        let share = before.len().div_ceil(members.len());
        assert!(moved.len() <= share, "seed {seed}: {} moved", moved.len());
        let newcomer = id(count);
        assert!(moved.iter().all(|partition| after[partition] == newcomer), "seed {seed}");
    }
}

#[test]
fn one_member_less_moves_its_own_only() {
    for seed in 0..3_000 {
        let random = &mut Random::new(seed);
        let (topics, count) = (topics(random), 2 + random.below(8));
        let mut members = alike(count, &topics);
        let before = assign(Assignor::Uniform, &members, &topics, &Target::new());
        let gone = id(random.below(count));
        members.remove(&gone);
        let after = assign(Assignor::Uniform, &members, &topics, &before);
        assert!(moved(&before, &after).iter().all(|partition| before[partition] == gone));
        check_even(&members, &after);
    }
}

#[test]
fn range_gives_contiguous_blocks_in_order_of_instance() {
    for seed in 0..3_000 {
        let random = &mut Random::new(seed);
        let (topics, count) = (topics(random), 1 + random.below(8));
        let reads: Vec<TopicId> = topics.keys().copied().collect();
        // The order of instances is the reverse of the order of ids.
        let instance = |number: u64| format!("i{:04}", 100 - number);
        let members: Members = (0..count)
            .map(|number| member(number, Some(&instance(number)), reads.clone()))
            .collect();
        let target = assign(Assignor::Range, &members, &topics, &Target::new());
        check_covers(&members, &topics, &target);
        for (topic, partitions) in &topics {
            let blocks = target.iter().filter(|(partition, _)| partition.topic == *topic);
            let order: Vec<&MemberId> = blocks.map(|(_, member)| member).collect();
            assert!(order.is_sorted_by_key(|member| members[*member].place()), "seed {seed}");
            let share = usize::try_from(*partitions).unwrap() / members.len();
            let sizes =
                members.keys().rev().map(|id| order.iter().filter(|one| **one == id).count());
            let sizes: Vec<usize> = sizes.collect();
            assert!(sizes.iter().all(|size| (share..=share + 1).contains(size)), "seed {seed}");
            assert!(sizes.is_sorted_by(|one, next| one >= next), "the first get what is over");
        }
    }
}

#[test]
fn the_assignor_is_the_one_most_ask_for() {
    let member = |assignor| {
        let (_, mut member) = member(0, None, Vec::new());
        member.assignor = assignor;
        member
    };
    let of = |votes: &[Assignor]| {
        let members: Vec<Member> = votes.iter().map(|one| member(*one)).collect();
        chosen(members.iter())
    };
    use Assignor::{Range, Uniform};
    assert_eq!(of(&[]), Uniform);
    assert_eq!(of(&[Range]), Range);
    assert_eq!(of(&[Range, Uniform]), Uniform);
    assert_eq!(of(&[Range, Uniform, Range]), Range);
}

/// Prints how long large groups take: first all at once, then with one member less, then each
/// member reading half of the topics.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test that measures")]
fn large_groups_are_assigned_quickly() {
    for per_topic in [10, 100] {
        let topics: Topics = (0..100).map(|number| (topic(number), per_topic)).collect();
        let mut members = alike(1_000, &topics);
        let mut target = Target::new();
        let mut timed = |what: &str, members: &Members| {
            let start = Instant::now();
            target = assign(Assignor::Uniform, members, &topics, &target);
            println!("1000 members, {} partitions, {what}: {:?}", target.len(), start.elapsed());
        };
        timed("new", &members);
        members.remove(&id(500));
        timed("one less", &members);
        let random = &mut Random::new(7);
        let half = |random: &mut Random| {
            topics.keys().copied().filter(|_| random.one_in(2)).collect::<Vec<_>>()
        };
        let members = (0..1_000).map(|number| member(number, None, half(random))).collect();
        timed("each reads half", &members);
    }
}
