//! Bundles of anything that may happen, valid or not.

use bytes::Bytes;
use quipu_coordinator::{
    Assignor, Command as GroupCommand, Committer, GroupEpoch, GroupName, Join, Leave, LeaveReason,
    MemberId, NewOffset, TopicPartitions,
};
use quipu_runtime::Rng;
use quipu_shard::{Bundle, Command, PartitionConfig, PartitionControl};
use quipu_types::{
    LeaderEpoch, MetadataVersion, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId,
    TopicName,
};

use crate::batch::{NO_PRODUCER, Producer, Shape, batch};
use crate::model::Model;

/// A checkpoint of so many changed partitions uses no threads.
const PARTITIONS: u64 = 4;
const TOPIC: TopicId = TopicId::from_bytes([0xAB; 16]);
const PRODUCERS: u64 = 3;
const PADDINGS: [usize; 4] = [0, 90, 700, 5_000];
const SEGMENT_BYTES: [u64; 4] = [0, 900, 4_000, 20_000];

/// One of a list.
pub(crate) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[usize::try_from(rng.below(from.len().try_into().expect("short"))).expect("short")]
}

/// True once in `times`.
pub(crate) fn one_in(rng: &mut Rng, times: u64) -> bool {
    rng.below(times) == 0
}

fn small(rng: &mut Rng, bound: u64) -> i32 {
    i32::try_from(rng.below(bound)).expect("a small bound")
}

fn partition(rng: &mut Rng) -> PartitionId {
    let index = u32::try_from(rng.below(PARTITIONS)).expect("few");
    PartitionId::new(TOPIC, PartitionIndex::new(index))
}

/// The next bundle of a leader that knows `model`, proposed as the `number`th.
pub(crate) fn bundle(rng: &mut Rng, model: &Model, number: u64) -> Bytes {
    let proposed_at = TimestampMs::new(i64::try_from(number).expect("few") * 10);
    let count = 1 + rng.below(5);
    let commands = (0..count).map(|_| command(rng, model, proposed_at)).collect();
    Bundle { proposed_at, commands }.encode()
}

fn command(rng: &mut Rng, model: &Model, now: TimestampMs) -> Command {
    match rng.below(24) {
        0..3 => open(rng),
        3 => Command::Control(PartitionControl::Close {
            partition: partition(rng),
            arrived_by: None,
        }),
        4 => trim(rng, model),
        5..8 => Command::Group(group_command(rng).encode()),
        8..16 => append(rng, model, now, false),
        _ => append(rng, model, now, true),
    }
}

fn open(rng: &mut Rng) -> Command {
    let config = PartitionConfig {
        segment_bytes: pick(rng, &SEGMENT_BYTES),
        segment_age_ms: pick(rng, &[0, 0, 200]),
    };
    let (partition, epoch_base) = (partition(rng), small(rng, 4));
    Command::Control(PartitionControl::Open { partition, epoch_base, config })
}

fn trim(rng: &mut Rng, model: &Model) -> Command {
    let partition = partition(rng);
    let to = Offset::new(rng.below(model.high_watermark(partition) + 3));
    Command::Control(PartitionControl::Trim { partition, to })
}

fn append(rng: &mut Rng, model: &Model, now: TimestampMs, is_idempotent: bool) -> Command {
    let partition = partition(rng);
    let shape = Shape {
        records: 1 + small(rng, 4),
        padding: pick(rng, &PADDINGS),
        timestamp: now.get(),
        fill: u8::try_from(rng.below(256)).expect("a byte"),
    };
    let producer = if is_idempotent { producer(rng, model, partition) } else { NO_PRODUCER };
    Command::Append { partition, batch: batch(producer, shape) }
}

/// Mostly what comes next; retries, gaps and other lives now and then.
fn producer(rng: &mut Rng, model: &Model, partition: PartitionId) -> Producer {
    let id = small(rng, PRODUCERS).into();
    let next = model.next_sequence(partition, id);
    let (epoch, sequence) = match rng.below(10) {
        0 => (next.epoch + 1, 0),
        1 => ((next.epoch - 1).max(0), next.sequence),
        2 | 3 => (next.epoch, (next.sequence - 1 - small(rng, 8)).max(0)),
        4 => (next.epoch, next.sequence + small(rng, 3)),
        _ => (next.epoch, next.sequence),
    };
    Producer { id, epoch, sequence }
}

fn group_command(rng: &mut Rng) -> GroupCommand {
    let group = GroupName::new(pick(rng, &["orders", "mail"])).expect("a good name");
    match rng.below(10) {
        0..3 => GroupCommand::Commit { group, member: None, offsets: offsets(rng) },
        3 => {
            let epoch = GroupEpoch::new(rng.below(6));
            let member = Some(Committer { member: member(rng), epoch });
            GroupCommand::Commit { group, member, offsets: offsets(rng) }
        }
        4 => GroupCommand::Reset { group, offsets: offsets(rng), fence: one_in(rng, 2) },
        5 => GroupCommand::Delete { group },
        6 => GroupCommand::Sweep { retention_ms: rng.below(200), gone: Vec::new() },
        _ => update(rng, group),
    }
}

fn update(rng: &mut Rng, group: GroupName) -> GroupCommand {
    let joins = if one_in(rng, 3) { Vec::new() } else { vec![join(rng)] };
    let leaves = if one_in(rng, 2) { vec![leave(rng)] } else { Vec::new() };
    let partitions = u32::try_from(PARTITIONS).expect("few");
    let topics = vec![TopicPartitions { topic: TOPIC, name: topic_name(), partitions }];
    let image = MetadataVersion::new(1);
    GroupCommand::Update { group, joins, leaves, subscriptions: Vec::new(), topics, image }
}

fn topic_name() -> TopicName {
    TopicName::new("events").expect("a good name")
}

fn member(rng: &mut Rng) -> MemberId {
    MemberId::new(pick(rng, &["a", "b", "c"])).expect("a good id")
}

fn join(rng: &mut Rng) -> Join {
    Join {
        member: member(rng),
        instance: None,
        replaces: None,
        client: "sim".to_owned(),
        host: "here".to_owned(),
        topics: vec![topic_name()],
        patterns: Vec::new(),
        resolved: vec![TOPIC],
        assignor: pick(rng, &[Assignor::Uniform, Assignor::Range]),
        session_timeout_ms: 45_000,
        processing_timeout_ms: 300_000,
    }
}

fn leave(rng: &mut Rng) -> Leave {
    let reason = pick(rng, &[LeaveReason::Asked, LeaveReason::SessionExpired]);
    Leave { member: member(rng), reason, temporary: false, joined: None }
}

fn offsets(rng: &mut Rng) -> Vec<(PartitionId, NewOffset)> {
    let offset = Offset::new(rng.below(50));
    let new = NewOffset { offset, leader_epoch: LeaderEpoch::new(-1), metadata: String::new() };
    vec![(partition(rng), new)]
}
