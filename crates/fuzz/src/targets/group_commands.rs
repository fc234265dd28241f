//! Commands of consumer groups, decoded and applied.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_coordinator::{
    Answer, Assignor, Command, Committer, Confirmation, GroupEpoch, GroupName, Groups, Join, Leave,
    LeaveReason, MemberId, NewOffset, RowKey, Subscribed, TopicPartitions,
};
use quipu_types::{LeaderEpoch, MetadataVersion, Offset, TimestampMs, TopicName};

use crate::{Seed, Verdict, samples};

/// Commands of one input.
const COMMANDS_MAX: usize = 12;
/// Partitions of a topic here: senders take the count from the metadata, which bounds it.
const PARTITIONS_MAX: u32 = 500;

/// The input: commands, one a line.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let mut log = Log::new(Groups::default());
    log.run(input);
    log.finish();
    Verdict::when(log.applied > 0)
}

/// Whether a command names no more than the metadata could.
pub(crate) fn is_modest(command: &Command) -> bool {
    match command {
        Command::Update { topics, .. } => {
            topics.iter().all(|topic| topic.partitions <= PARTITIONS_MAX)
        }
        Command::Confirm { .. }
        | Command::Commit { .. }
        | Command::Reset { .. }
        | Command::Delete { .. }
        | Command::Sweep { .. } => true,
    }
}

/// Groups, and the rows a shard would keep of them.
pub(super) struct Log {
    groups: Groups,
    rows: BTreeMap<RowKey, Bytes>,
    epochs: BTreeMap<GroupName, GroupEpoch>,
    pub(super) applied: usize,
}

impl Log {
    pub(super) fn new(groups: Groups) -> Self {
        // As after a snapshot: every row is stale.
        let mut all = Groups::default();
        all.replace(groups);
        let groups = all;
        let mut log = Self { groups, rows: <_>::default(), epochs: <_>::default(), applied: 0 };
        log.keep_rows();
        log
    }

    /// Applies the commands among the lines.
    pub(super) fn run(&mut self, lines: &[u8]) {
        for line in lines.split(|byte| *byte == b'\n').take(COMMANDS_MAX) {
            match Command::decode(line) {
                Ok(command) => self.apply(command),
                Err(refused) => assert!(!refused.to_string().is_empty()),
            }
        }
    }

    fn apply(&mut self, command: Command) {
        assert_eq!(Command::decode(&command.encode()).as_ref(), Ok(&command));
        if !is_modest(&command) {
            return;
        }
        let before = self.groups.clone();
        let now = i64::try_from(self.applied).expect("a few") * 1_000;
        let answer = self.groups.apply(TimestampMs::new(samples::NOON + now), command);
        assert_eq!(Answer::decode(&answer.encode()).as_ref(), Ok(&answer));
        if answer.0.is_err() {
            assert_eq!(self.groups, before, "a refusal changes nothing");
        }
        self.applied += 1;
        self.keep_rows();
        self.check_epochs();
    }

    /// Epochs of a name never fall.
    fn check_epochs(&mut self) {
        for name in self.groups.names() {
            let group = self.groups.group(name).expect("it is listed");
            let seen = self.epochs.entry(name.clone()).or_default();
            assert!(group.epoch() >= *seen, "{} fell behind {seen}", group.epoch());
            *seen = group.epoch();
            for member in group.members() {
                let _ = group.assignment(member.id());
            }
            let _ = (group.state(), group.assignor());
        }
    }

    fn keep_rows(&mut self) {
        for (key, row) in self.groups.stale_rows() {
            match row {
                Some(row) => drop(self.rows.insert(key, row)),
                None => drop(self.rows.remove(&key)),
            }
        }
        self.groups.note_durable();
    }

    /// Rows and snapshots say all there is.
    pub(super) fn finish(&self) {
        let rows = self.rows.iter().map(|(key, row)| (key.clone(), row.clone()));
        assert_eq!(Groups::open(rows).as_ref(), Ok(&self.groups));
        assert_eq!(Groups::import(&self.groups.export()).as_ref(), Ok(&self.groups));
    }
}

fn group() -> GroupName {
    GroupName::new("sms").expect("valid")
}

fn member(id: &str) -> MemberId {
    MemberId::new(id).expect("valid")
}

fn topics(partitions: u32) -> Vec<TopicPartitions> {
    let name = TopicName::new("fees").expect("valid");
    vec![TopicPartitions { topic: samples::topic(), name, partitions }]
}

fn update(joins: Vec<Join>, leaves: Vec<Leave>, subscriptions: Vec<Subscribed>) -> Command {
    let image = MetadataVersion::new(4);
    Command::Update { group: group(), joins, leaves, subscriptions, topics: topics(4), image }
}

/// A member joins and reads a topic of so many partitions.
pub(super) fn join(id: &str, partitions: u32) -> Command {
    let joins = vec![Join {
        member: member(id),
        instance: (id == "bert").then(|| "blue".to_owned()),
        replaces: None,
        client: "sms-service".to_owned(),
        host: "127.0.0.1".to_owned(),
        topics: vec![TopicName::new("fees").expect("valid")],
        patterns: vec!["court\\..*".to_owned()],
        resolved: vec![samples::topic()],
        assignor: Assignor::Range,
        session_timeout_ms: 45_000,
        processing_timeout_ms: 300_000,
    }];
    let (group, image) = (group(), MetadataVersion::new(3));
    let (leaves, subscriptions) = (Vec::new(), Vec::new());
    Command::Update { group, joins, leaves, subscriptions, topics: topics(partitions), image }
}

/// A member stores a position.
pub(super) fn commit(id: &str, offset: u64) -> Command {
    let member = Some(Committer { member: member(id), epoch: GroupEpoch::new(1) });
    Command::Commit { group: group(), member, offsets: vec![position(offset)] }
}

fn position(offset: u64) -> (quipu_types::PartitionId, NewOffset) {
    let (offset, leader_epoch) = (Offset::new(offset), LeaderEpoch::new(2));
    (samples::partition(0), NewOffset { offset, leader_epoch, metadata: "words".to_owned() })
}

/// What may follow two members' joining.
pub(super) fn later() -> Vec<Command> {
    let owned = BTreeMap::from([(samples::topic(), vec![0, 1])]);
    let leave = |id: &str, reason, temporary| Leave {
        member: member(id),
        reason,
        temporary,
        joined: Some(GroupEpoch::new(1)),
    };
    let confirmations =
        vec![Confirmation { member: member("anna"), epoch: GroupEpoch::new(2), owned }];
    let subscribed = Subscribed {
        member: member("anna"),
        topics: Vec::new(),
        patterns: vec![".*".to_owned()],
        resolved: Vec::new(),
    };
    vec![
        Command::Confirm { group: group(), confirmations },
        update(Vec::new(), Vec::new(), vec![subscribed]),
        update(Vec::new(), vec![leave("bert", LeaveReason::Asked, true)], Vec::new()),
        update(Vec::new(), vec![leave("anna", LeaveReason::SessionExpired, false)], Vec::new()),
        Command::Reset { group: group(), offsets: vec![position(3)], fence: true },
        Command::Sweep { retention_ms: 1, gone: vec![samples::topic()] },
        Command::Delete { group: group() },
    ]
}

pub(super) fn lines(commands: &[Command]) -> Vec<u8> {
    let lines: Vec<Bytes> = commands.iter().map(Command::encode).collect();
    lines.join(&b'\n')
}

pub(crate) fn seeds() -> Vec<Seed> {
    let alone = Command::Commit { group: group(), member: None, offsets: vec![position(9)] };
    let mut life = vec![join("anna", 3), join("bert", 3), commit("anna", 7)];
    life.extend(later());
    vec![
        ("ok-join", lines(&[join("anna", 2)])),
        ("ok-two", lines(&[join("anna", 4), join("bert", 4), commit("bert", 1)])),
        ("ok-alone", lines(&[alone, join("anna", 1)])),
        ("ok-life", lines(&life)),
    ]
}
