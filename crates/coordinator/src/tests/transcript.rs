//! Transcripts: commands as lines, a blank line, and what is to become of them.
//!
//! `UPDATE_EXPECT=1 cargo test -p quipu-coordinator` writes what became of them.
//!
//! A transcript is made of paragraphs in pairs. Lines of a command paragraph:
//! - `at MS`: the clock
//! - `update [^IMAGE] [+MEMBER[@INSTANCE][!REPLACED]=TOPIC,…]
//!   [-MEMBER[:expired|:stuck|:away][@JOINED]] [MEMBER=TOPIC,…] TOPIC*PARTITIONS …`
//! - `confirm MEMBER@EPOCH TOPIC/INDEX …`: it holds these
//! - `commit MEMBER@EPOCH|nobody TOPIC/INDEX=OFFSET …`
//! - `reset [fence] TOPIC/INDEX=OFFSET …`, `delete`, `sweep MS TOPIC …`
//! - `#…`: a remark
//!
//! The answer paragraph has one line per command, and the group as it is then.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use quipu_types::{
    LeaderEpoch, MetadataVersion, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId,
    TopicName,
};

use crate::{
    Assignor, Command, Committer, Confirmation, GroupEpoch, GroupName, Groups, Join, Leave,
    LeaveReason, MemberId, NewOffset, Outcome, Subscribed, TopicPartitions,
};

struct Stage {
    groups: Groups,
    now: i64,
}

#[test]
fn transcripts_come_out_as_written() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let written = std::fs::read_to_string(&path).unwrap();
        let played = play(&written);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &played).unwrap();
        } else {
            let name = path.file_name().unwrap();
            assert!(written == played, "{name:?} comes out otherwise:\n{played}");
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} transcripts");
}

fn play(written: &str) -> String {
    let mut stage = Stage { groups: Groups::default(), now: 0 };
    let mut played = Vec::new();
    for commands in written.trim_end().split("\n\n").step_by(2) {
        let mut answers = String::new();
        for line in commands.lines().filter(|line| !line.starts_with('#')) {
            stage.line(line, &mut answers);
        }
        stage.describe(&mut answers);
        played.push(format!("{commands}\n\n{}", answers.trim_end()));
    }
    played.join("\n\n") + "\n"
}

fn group() -> GroupName {
    GroupName::new("billing").unwrap()
}

fn member(word: &str) -> MemberId {
    MemberId::new(word).unwrap()
}

/// The topic of a letter: its id is that letter's, so that it can be read in refusals.
fn topic(word: &str) -> TopicId {
    TopicId::from_bytes([word.as_bytes()[0]; 16])
}

fn topics(words: &str) -> Vec<TopicId> {
    words.split(',').filter(|word| !word.is_empty()).map(topic).collect()
}

fn names(words: &str) -> Vec<TopicName> {
    let words = words.split(',').filter(|word| !word.is_empty());
    words.map(|word| TopicName::new(word).unwrap()).collect()
}

fn partition(word: &str) -> PartitionId {
    let (name, index) = word.split_once('/').unwrap();
    PartitionId::new(topic(name), PartitionIndex::new(index.parse().unwrap()))
}

fn offsets(words: &[&str]) -> Vec<(PartitionId, NewOffset)> {
    let one = |word: &&str| {
        let (place, offset) = word.split_once('=').unwrap();
        let offset = Offset::new(offset.parse().unwrap());
        let leader_epoch = LeaderEpoch::new(-1);
        (partition(place), NewOffset { offset, leader_epoch, metadata: String::new() })
    };
    words.iter().map(one).collect()
}

fn at_epoch(word: &str) -> (MemberId, GroupEpoch) {
    let (id, epoch) = word.split_once('@').unwrap();
    (member(id), GroupEpoch::new(epoch.parse().unwrap()))
}

fn show(partition: PartitionId) -> String {
    let letter = char::from(partition.topic.to_bytes()[0]);
    format!("{letter}/{}", partition.index)
}

fn join(word: &str) -> Join {
    let (who, reads) = word.split_once('=').unwrap();
    let (who, replaces) = who.split_once('!').map_or((who, None), |(who, it)| (who, Some(it)));
    let (who, instance) = who.split_once('@').map_or((who, None), |(who, it)| (who, Some(it)));
    Join {
        member: member(who),
        instance: instance.map(str::to_owned),
        replaces: replaces.map(member),
        client: "billing".to_owned(),
        host: "10.0.0.1".to_owned(),
        topics: names(reads),
        patterns: Vec::new(),
        resolved: topics(reads),
        assignor: Assignor::Uniform,
        session_timeout_ms: 45_000,
        processing_timeout_ms: 300_000,
    }
}

fn leave(word: &str) -> Leave {
    let (word, joined) = word.split_once('@').map_or((word, None), |(word, it)| (word, Some(it)));
    let joined = joined.map(|epoch| GroupEpoch::new(epoch.parse().unwrap()));
    let (who, how) = word.split_once(':').unwrap_or((word, "asked"));
    let (reason, temporary) = match how {
        "asked" => (LeaveReason::Asked, false),
        "away" => (LeaveReason::Asked, true),
        "expired" => (LeaveReason::SessionExpired, false),
        "stuck" => (LeaveReason::ProcessingTimeout, false),
        other => panic!("nobody leaves like {other}"),
    };
    Leave { member: member(who), reason, temporary, joined }
}

fn update(words: &[&str]) -> Command {
    let (mut joins, mut leaves) = (Vec::new(), Vec::new());
    let (mut subscriptions, mut counts) = (Vec::new(), Vec::new());
    let mut image = MetadataVersion::default();
    for word in words {
        if let Some(version) = word.strip_prefix('^') {
            image = MetadataVersion::new(version.parse().unwrap());
        } else if let Some(word) = word.strip_prefix('+') {
            joins.push(join(word));
        } else if let Some(word) = word.strip_prefix('-') {
            leaves.push(leave(word));
        } else if let Some((name, partitions)) = word.split_once('*') {
            let (topic, partitions) = (topic(name), partitions.parse().unwrap());
            let name = TopicName::new(name).unwrap();
            counts.push(TopicPartitions { topic, name, partitions });
        } else {
            let (who, reads) = word.split_once('=').unwrap();
            let (member, resolved) = (member(who), topics(reads));
            let (topics, patterns) = (names(reads), Vec::new());
            subscriptions.push(Subscribed { member, topics, patterns, resolved });
        }
    }
    Command::Update { group: group(), joins, leaves, subscriptions, topics: counts, image }
}

fn confirm(words: &[&str]) -> Command {
    let (member, epoch) = at_epoch(words[0]);
    let mut owned: BTreeMap<TopicId, Vec<u32>> = BTreeMap::new();
    for id in words[1..].iter().map(|word| partition(word)) {
        owned.entry(id.topic).or_default().push(id.index.get());
    }
    let confirmations = vec![Confirmation { member, epoch, owned }];
    Command::Confirm { group: group(), confirmations }
}

fn command(line: &str) -> Command {
    let words: Vec<&str> = line.split_whitespace().collect();
    let group = group();
    match words[0] {
        "update" => update(&words[1..]),
        "confirm" => confirm(&words[1..]),
        "commit" => {
            let committer = (words[1] != "nobody").then(|| at_epoch(words[1]));
            let member = committer.map(|(member, epoch)| Committer { member, epoch });
            Command::Commit { group, member, offsets: offsets(&words[2..]) }
        }
        "reset" => {
            let fence = words.get(1) == Some(&"fence");
            let offsets = offsets(&words[1 + usize::from(fence)..]);
            Command::Reset { group, offsets, fence }
        }
        "delete" => Command::Delete { group },
        "sweep" => {
            let gone = words[2..].iter().map(|word| topic(word)).collect();
            Command::Sweep { retention_ms: words[1].parse().unwrap(), gone }
        }
        other => panic!("no command {other}"),
    }
}

impl Stage {
    fn line(&mut self, line: &str, answers: &mut String) {
        if let Some(now) = line.strip_prefix("at ") {
            self.now = now.parse().unwrap();
            return;
        }
        let answer = self.groups.apply(TimestampMs::new(self.now), command(line));
        match answer.0 {
            Ok(Outcome::Updated { epoch }) => writeln!(answers, "epoch {epoch}"),
            Ok(Outcome::Confirmed) => writeln!(answers, "confirmed"),
            Ok(Outcome::Committed { refused }) => {
                let lines = refused.values().map(|refusal| format!("  refused: {refusal}\n"));
                write!(answers, "committed\n{}", lines.collect::<String>())
            }
            Ok(Outcome::Reset) => writeln!(answers, "reset"),
            Ok(Outcome::Deleted) => writeln!(answers, "deleted"),
            Ok(Outcome::Swept { groups, offsets }) => {
                writeln!(answers, "swept {groups} groups, {offsets} offsets")
            }
            Err(refusal) => writeln!(answers, "{:?}: {refusal}", refusal.code()),
        }
        .unwrap();
    }

    fn describe(&self, answers: &mut String) {
        let Some(group) = self.groups.group(&group()) else {
            return answers.push_str("no group\n");
        };
        let (state, epoch) = (group.state().name(), group.epoch());
        writeln!(answers, "{state} at epoch {epoch}: {:?}", group.last_change()).unwrap();
        for member in group.members() {
            let found = group.assignment(member.id()).unwrap();
            write!(answers, "{}", member.id()).unwrap();
            member.instance().iter().for_each(|it| write!(answers, "@{it}").unwrap());
            answers.push_str(if member.is_away() { " (away) reads" } else { " reads" });
            for partition in found.assigned {
                let since = group.owner(partition).unwrap().since;
                write!(answers, " {} since {since}", show(partition)).unwrap();
            }
            for partition in found.revoking {
                write!(answers, ", lets go {}", show(partition)).unwrap();
            }
            if found.waiting > 0 {
                write!(answers, ", waits for {}", found.waiting).unwrap();
            }
            answers.push('\n');
        }
        for (partition, stored) in group.offsets() {
            let (offset, at) = (stored.offset, stored.committed_at.get());
            writeln!(answers, "{} continues at {offset}, stored at {at}", show(partition)).unwrap();
        }
    }
}
