use std::collections::BTreeSet;

use proptest::prelude::*;
use quipu_consensus::SnapshotCursor;
use quipu_types::{
    ClusterId, DirectoryId, FormatLevel, Incarnation, LevelRange, LogIndex, NodeId, StartHistory,
    Term, TopicId, TopicName,
};

use super::*;
use crate::command::{NewTopic, NodeRegistration};
use crate::identity::Founder;
use crate::placement::Rule;
use crate::topic_config::Setting;

struct Bench {
    dir: tempfile::TempDir,
    machine: MetadataStateMachine,
    images: Images,
    index: u64,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (machine, images) = open(dir.path());
        let mut bench = Self { dir, machine, images, index: 0 };
        let directory = |node| DirectoryId::from_bytes([node; 16]);
        bench.run(Command::FormCluster {
            cluster: ClusterId::from_bytes([9; 16]),
            founders: vec![Founder { node: NodeId::new(1), directory: directory(1) }],
            shards_per_node: 2,
            level: FormatLevel::FIRST,
        });
        bench.run(Command::RegisterNode(NodeRegistration {
            node: NodeId::new(1),
            directory: directory(1),
            incarnation: Incarnation::new(1),
            starts: StartHistory::default(),
            address_client: "a:1".into(),
            address_peer: "a:2".into(),
            rack: String::new(),
            version: "1".into(),
            levels: LevelRange::default(),
        }));
        bench.run(Command::CreateShards { class: 1, rule: Rule::LeastLoaded });
        bench
    }

    fn run(&mut self, command: Command) -> Answer {
        self.index += 1;
        let id = EntryId::new(Term::new(1), LogIndex::new(self.index));
        let reply = self.machine.apply(id, Payload::Command(command.encode())).unwrap();
        self.machine.end_of_round();
        Answer::decode(&reply.0).unwrap()
    }

    fn applied(&self) -> AppliedState {
        AppliedState {
            applied: Some(EntryId::new(Term::new(1), LogIndex::new(self.index))),
            membership: Bytes::from_static(&[1, 0, 255]),
        }
    }

    /// Kills the process and starts it again: what was not flushed is gone.
    fn restart(&mut self) {
        let copy = copy_at_one_moment(self.dir.path());
        let (machine, images) = open(copy.path());
        self.machine = machine;
        self.images = images;
        self.dir = copy;
    }
}

/// What a crash leaves of a directory that RocksDB still works in: files come and go while they
/// are copied one by one, so a copy counts only when none did.
fn copy_at_one_moment(dir: &std::path::Path) -> tempfile::TempDir {
    let files = || {
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        std::fs::read_dir(dir).unwrap().map(name).collect::<BTreeSet<_>>()
    };
    loop {
        let copy = tempfile::tempdir().unwrap();
        let before = files();
        let copied =
            before.iter().all(|name| std::fs::copy(dir.join(name), copy.path().join(name)).is_ok());
        if copied && files() == before {
            return copy;
        }
    }
}

fn open(dir: &std::path::Path) -> (MetadataStateMachine, Images) {
    MetadataStateMachine::open(Store::open(dir).unwrap()).unwrap()
}

fn create(name: &str, id: u8) -> Command {
    let config = vec![Setting::parse("retention-time", "90d").unwrap()];
    let (name, id) = (TopicName::new(name).unwrap(), TopicId::from_bytes([id; 16]));
    let topic = NewTopic { name, id, partitions: 3, replication: None, config };
    Command::CreateTopic { topic, rule: Rule::LeastLoaded }
}

fn delete(name: &str) -> Command {
    Command::DeleteTopic { name: TopicName::new(name).unwrap(), id: None }
}

#[test]
fn an_image_is_published_when_something_changed_and_not_otherwise() {
    let mut bench = Bench::new();
    let mut watch = bench.images.watch();
    watch.borrow_and_update();
    let answer = bench.run(create("fees", 1));
    assert_eq!(answer.version, MetadataVersion::new(4));
    assert!(watch.has_changed().unwrap());
    assert_eq!(watch.borrow_and_update().version, bench.images.version());
    let refused = bench.run(create("fees", 2));
    assert!(refused.result.is_err());
    assert_eq!(refused.version, MetadataVersion::new(4), "the image that shows why");
    assert!(!watch.has_changed().unwrap());
}

#[test]
fn a_checkpoint_is_what_a_restart_finds() {
    let mut bench = Bench::new();
    bench.run(create("kept", 1));
    bench.run(create("deleted", 2));
    bench.machine.checkpoint(bench.applied()).unwrap();
    bench.run(delete("deleted"));
    bench.run(create("new", 3));
    bench.run(Command::AllocateProducerIds { count: 10 });
    let (applied, state) = (bench.applied(), bench.machine.state.clone());
    bench.machine.checkpoint(applied.clone()).unwrap();
    bench.run(create("after", 4));
    bench.restart();
    assert_eq!(bench.machine.applied_state(), applied);
    assert_eq!(bench.machine.state, state, "the last checkpoint, no more and no less");
    assert_eq!(*bench.images.image(), state.image);
    let rows = bench.machine.kv.scan(KeyPrefix::MetadataTopics).unwrap();
    assert_eq!(rows.len(), 2, "the deleted topic's row is gone");
}

#[test]
fn a_missing_topic_row_is_noticed() {
    let mut bench = Bench::new();
    bench.run(create("fees", 1));
    bench.machine.checkpoint(bench.applied()).unwrap();
    let mut batch = WriteBatch::new();
    batch.delete(&Key::MetadataTopic(TopicId::from_bytes([1; 16])));
    bench.machine.kv.write(batch).unwrap();
    let refused = MetadataStateMachine::open(bench.machine.kv.clone()).unwrap_err();
    assert!(refused.to_string().contains("0 topics where there were 1"), "{refused}");
}

/// Choosing nodes for further shards would not know what to do with it.
#[test]
fn a_shard_on_an_unknown_node_is_noticed() {
    let mut state = Bench::new().machine.state;
    assert!(stored::decode_state(&stored::encode_state(&state)).is_ok());
    state.image.nodes.clear();
    let refused = stored::decode_state(&stored::encode_state(&state)).unwrap_err();
    assert!(refused.to_string().ends_with("shard 1 is on node 1, which is not"), "{refused}");
}

#[test]
fn a_snapshot_replaces_what_a_lagging_node_has() {
    let mut ahead = Bench::new();
    for id in 0..40 {
        ahead.run(create(&format!("topic-{id}"), id));
    }
    let source = ahead.machine.snapshot().unwrap();
    ahead.run(create("later", 99));
    let mut behind = Bench::new();
    behind.run(create("topic-1", 1));
    behind.run(create("stale", 77));
    behind.machine.checkpoint(behind.applied()).unwrap();

    let mut receiver = behind.machine.receiver(source.manifest()).unwrap();
    let mut cursor = SnapshotCursor::default();
    while let Some(chunk) = source.chunk(&receiver.have(), &mut cursor).unwrap() {
        receiver.write(chunk).unwrap();
    }
    receiver.finish().unwrap();
    behind.machine.install(ahead.applied(), receiver).unwrap();
    behind.restart();
    assert_eq!(behind.machine.applied_state(), ahead.applied());
    assert_eq!(behind.images.image().topics.len(), 40);
    let stale = TopicName::new("stale").unwrap();
    assert!(behind.images.image().topic(&stale).is_none());
    assert_eq!(behind.machine.kv.scan(KeyPrefix::MetadataTopics).unwrap().len(), 40);
}

#[test]
fn a_damaged_or_short_snapshot_is_refused() {
    let mut bench = Bench::new();
    bench.run(create("fees", 1));
    let source = bench.machine.snapshot().unwrap();
    let whole = source.chunk(&Bytes::new(), &mut SnapshotCursor::default()).unwrap().unwrap();
    let mut flipped = whole.to_vec();
    flipped[10] ^= 1;
    for bytes in [Bytes::from(flipped), whole.slice(1..), Bytes::new()] {
        let mut receiver = bench.machine.receiver(source.manifest()).unwrap();
        receiver.write(bytes).unwrap();
        assert!(receiver.finish().is_err());
    }
    let mut receiver = bench.machine.receiver(source.manifest()).unwrap();
    receiver.write(whole).unwrap();
    assert!(receiver.write(Bytes::from_static(b"more")).is_err());
    assert!(bench.machine.receiver(Bytes::from_static(b"short")).is_err());
    assert!(bench.machine.receiver(Bytes::from_static(&[255; 12])).is_err(), "too large");
}

#[test]
fn a_command_of_a_newer_release_stops_the_replica() {
    let mut bench = Bench::new();
    let id = EntryId::new(Term::new(1), LogIndex::new(99));
    let unknown = Payload::Command(Bytes::from_static(br#"{"v":1,"command":{"fly":{}}}"#));
    let stopped = bench.machine.apply(id, unknown).unwrap_err();
    assert!(stopped.to_string().contains("newer release"), "{stopped}");
    assert_eq!(bench.machine.apply(id, Payload::Blank).unwrap(), Reply::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Checkpoints at random moments: a restart finds exactly the last one.
    #[test]
    fn checkpoints_and_restarts_lose_nothing(steps in prop::collection::vec((0..4_u8, 0..6_u8), 1..40)) {
        let mut bench = Bench::new();
        bench.machine.checkpoint(bench.applied()).unwrap();
        let mut checkpoint = bench.machine.state.clone();
        for (step, topic) in steps {
            match step {
                0 => drop(bench.run(create(&format!("t{topic}"), topic))),
                1 => drop(bench.run(delete(&format!("t{topic}")))),
                2 => {
                    bench.machine.checkpoint(bench.applied()).unwrap();
                    checkpoint = bench.machine.state.clone();
                }
                _ => {
                    bench.restart();
                    prop_assert_eq!(&bench.machine.state, &checkpoint);
                }
            }
        }
    }
}
