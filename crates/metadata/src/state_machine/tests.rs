use std::collections::BTreeSet;

use proptest::prelude::*;
use quipu_types::{
    ClusterId, DirectoryId, FormatLevel, Incarnation, LevelRange, StartHistory, StartId, TopicId,
};

use super::*;

mod elastic;
mod levels;
mod moving;
mod partitions;
mod rebuild;

const RULE: Rule = Rule::LeastLoaded;

fn directory(of: u64) -> DirectoryId {
    DirectoryId::from_bytes([u8::try_from(of).expect("small"); 16])
}

fn cluster(id: u8) -> ClusterId {
    ClusterId::from_bytes([id; 16])
}

/// A history that begins with start number 3.
fn starts(ids: &[u8]) -> StartHistory {
    let ids = ids.iter().map(|id| StartId::from_bytes([*id; 16])).collect();
    StartHistory::new(Incarnation::new(3), ids).expect("short")
}

fn registration(node: u64) -> NodeRegistration {
    NodeRegistration {
        node: NodeId::new(node),
        directory: directory(node),
        incarnation: Incarnation::new(3),
        starts: starts(&[3]),
        address_client: format!("host-{node}:9192"),
        address_peer: format!("host-{node}:9292"),
        rack: String::new(),
        version: "0.1.0".to_owned(),
        levels: LevelRange::default(),
    }
}

fn form(nodes: u64) -> Command {
    let founders = (1..=nodes)
        .map(|node| Founder { node: NodeId::new(node), directory: directory(node) })
        .collect();
    Command::FormCluster {
        cluster: cluster(9),
        founders,
        shards_per_node: 4,
        level: FormatLevel::FIRST,
    }
}

/// A cluster of registered nodes with shards of its default class.
fn formed(nodes: u64) -> State {
    let mut state = State::default();
    run(&mut state, form(nodes)).expect("form");
    for node in 1..=nodes {
        run(&mut state, Command::RegisterNode(registration(node))).expect("register");
    }
    let class = state.image.default_replication();
    run(&mut state, Command::CreateShards { class, rule: RULE }).expect("create shards");
    state
}

fn run(state: &mut State, command: Command) -> Result<Outcome, Refusal> {
    let version = MetadataVersion::new(state.image.version.get() + 1);
    apply(state, version, command)
}

fn name(text: &str) -> TopicName {
    TopicName::new(text).expect("valid")
}

fn topic(text: &str, id: u8, partitions: u32, replication: Option<u8>) -> Command {
    topic_with(text, id, partitions, replication, &[])
}

fn topic_with(
    text: &str,
    id: u8,
    partitions: u32,
    replication: Option<u8>,
    config: &[(&str, &str)],
) -> Command {
    let id = TopicId::from_bytes([id; 16]);
    let config = settings(config);
    let topic = NewTopic { name: name(text), id, partitions, replication, config };
    Command::CreateTopic { topic, rule: RULE }
}

fn settings(config: &[(&str, &str)]) -> Vec<Setting> {
    config.iter().map(|(key, value)| Setting::parse(key, value).expect("valid")).collect()
}

fn alter(text: &str, set: &[(&str, &str)], reset: &[ConfigKey]) -> Command {
    Command::AlterTopic { name: name(text), set: settings(set), reset: reset.to_vec() }
}

fn delete(text: &str, id: Option<u8>) -> Command {
    Command::DeleteTopic { name: name(text), id: id.map(|id| TopicId::from_bytes([id; 16])) }
}

/// Every refusal, word for word, and that nothing changed with it.
#[test]
fn what_is_refused_says_why_and_changes_nothing() {
    let mut three = formed(3);
    run(&mut three, topic("taken", 1, 1, None)).expect("create");
    let mut one = formed(1);
    run(&mut one, topic("taken", 1, 1, None)).expect("create");
    let mut forming = State::default();
    run(&mut forming, form(3)).expect("form");
    run(&mut forming, Command::RegisterNode(registration(1))).expect("register");
    let nothing = State::default();
    let mut full = formed(3);
    for id in 0..20 {
        run(&mut full, topic(&format!("big-{id}"), id, 10_000, None)).expect("create");
    }
    let other = |node: u64, change: fn(&mut NodeRegistration)| {
        let mut registration = registration(node);
        change(&mut registration);
        Command::RegisterNode(registration)
    };
    let zeros = "00000000-0000-0000-0000-000000000000";
    let cases: Vec<(&str, &State, Command, String)> = vec![
        ("exists", &three, topic("taken", 2, 1, None), "topic taken exists already".into()),
        ("exists before the rest is looked at", &three, topic("taken", 2, 0, Some(9)), "topic taken exists already".into()),
        ("id of another topic", &three, topic("new", 1, 1, None), "topic id 01010101-0101-0101-0101-010101010101 is taken by another topic".into()),
        ("no partitions", &three, topic("new", 2, 0, None), "a topic has 1 to 10000 partitions, not 0".into()),
        ("one partition too many", &three, topic("new", 2, 10_001, None), "a topic has 1 to 10000 partitions, not 10001".into()),
        ("far too many partitions", &three, topic("new", 2, u32::MAX, None), "a topic has 1 to 10000 partitions, not 4294967295".into()),
        ("full cluster", &full, topic("new", 99, 1, None), "the cluster has 200000 of at most 200000 partitions; 1 more do not fit".into()),
        ("no replicas", &three, topic("new", 2, 1, Some(0)), "replication 0 does not fit: use 1 to 3, the number of nodes (3)".into()),
        ("more replicas than nodes", &three, topic("new", 2, 1, Some(4)), "replication 4 does not fit: use 1 to 3, the number of nodes (3)".into()),
        ("more replicas than one node", &one, topic("new", 2, 1, Some(2)), "replication 2 does not fit: use 1 to 1, the number of nodes (1)".into()),
        ("more replicas than anybody may have", &three, topic("new", 2, 1, Some(255)), "replication 255 does not fit: use 1 to 3, the number of nodes (3)".into()),
        ("min-insync above replication", &one, topic_with("new", 2, 1, None, &[("min-insync", "2")]), "min-insync = \"2\": with replication 1 use 1: every acknowledgement waits for a majority, and min-insync may only ask for more".into()),
        ("min-insync below the majority", &three, topic_with("new", 2, 1, None, &[("min-insync", "1")]), "min-insync = \"1\": with replication 3 use 2 to 3: every acknowledgement waits for a majority, and min-insync may only ask for more".into()),
        ("min-insync above three replicas", &three, topic_with("new", 2, 1, None, &[("min-insync", "4")]), "min-insync = \"4\": with replication 3 use 2 to 3: every acknowledgement waits for a majority, and min-insync may only ask for more".into()),
        ("min-insync of two replicas", &three, topic_with("new", 2, 1, Some(2), &[("min-insync", "1")]), "min-insync = \"1\": with replication 2 use 2: every acknowledgement waits for a majority, and min-insync may only ask for more".into()),
        ("topic while the cluster forms", &forming, topic("new", 2, 1, None), "the cluster is being formed: not all of its nodes have registered yet".into()),
        ("bad partitions while the cluster forms", &forming, topic("new", 2, 0, None), "a topic has 1 to 10000 partitions, not 0".into()),
        ("topic before anything", &nothing, topic("new", 2, 1, None), "the cluster is being formed: not all of its nodes have registered yet".into()),
        ("delete the unknown", &three, delete("nobody", None), "there is no topic nobody".into()),
        ("delete another topic of the name", &three, delete("taken", Some(7)), "topic taken was deleted and created again: its id is no more 07070707-0707-0707-0707-070707070707".into()),
        ("alter the unknown", &three, alter("nobody", &[("min-acks", "quorum")], &[]), "there is no topic nobody".into()),
        ("alter below the majority", &three, alter("taken", &[("min-insync", "1")], &[]), "min-insync = \"1\": with replication 3 use 2 to 3: every acknowledgement waits for a majority, and min-insync may only ask for more".into()),
        ("one bad setting of two", &three, alter("taken", &[("retention-time", "7d"), ("min-insync", "7")], &[]), "min-insync = \"7\": with replication 3 use 2 to 3: every acknowledgement waits for a majority, and min-insync may only ask for more".into()),
        ("set and reset", &three, alter("taken", &[("min-acks", "quorum")], &[ConfigKey::MinAcks]), "min-acks is set and reset by the same request: keep one of the two".into()),
        ("shards of no replicas", &three, Command::CreateShards { class: 0, rule: RULE }, "replication 0 does not fit: use 1 to 3, the number of nodes (3)".into()),
        ("shards of too many replicas", &three, Command::CreateShards { class: 5, rule: RULE }, "replication 5 does not fit: use 1 to 3, the number of nodes (3)".into()),
        ("no producer ids", &three, Command::AllocateProducerIds { count: 0 }, "a block of 0 producer ids is out of bounds: use 1 to 1000000".into()),
        ("too many producer ids", &three, Command::AllocateProducerIds { count: 1_000_001 }, "a block of 1000001 producer ids is out of bounds: use 1 to 1000000".into()),
        ("all producer ids", &three, Command::AllocateProducerIds { count: u64::MAX }, "a block of 18446744073709551615 producer ids is out of bounds: use 1 to 1000000".into()),
        ("another cluster", &three, Command::FormCluster { cluster: cluster(8), founders: vec![], shards_per_node: 1, level: FormatLevel::FIRST }, "this cluster is 09090909-0909-0909-0909-090909090909, not 08080808-0808-0808-0808-080808080808".into()),
        ("wiped disk", &three, other(2, |new| new.directory = DirectoryId::default()), format!("node 2 is known with data directory 02020202-0202-0202-0202-020202020202, this one is {zeros}: it was wiped or swapped. Start the node on its own directory; if that is lost for good, use `quipu node replace 2` on a running node")),
        ("wiped disk of a founder that never registered", &forming, other(3, |new| new.directory = DirectoryId::default()), format!("node 3 is known with data directory 03030303-0303-0303-0303-030303030303, this one is {zeros}: it was wiped or swapped. Start the node on its own directory; if that is lost for good, use `quipu node replace 3` on a running node")),
        ("swapped disks", &three, other(2, |new| new.directory = directory(1)), "node 2 is known with data directory 02020202-0202-0202-0202-020202020202, this one is 01010101-0101-0101-0101-010101010101: it was wiped or swapped. Start the node on its own directory; if that is lost for good, use `quipu node replace 2` on a running node".into()),
        ("old copy", &three, other(2, |new| new.starts = starts(&[9])), "node 2 has a data directory, now at start 3, that does not know of the node's start 3: it is an old copy. Start the node on the directory it used last; if that is lost for good, use `quipu node replace 2` on a running node".into()),
        ("directory under another id", &three, other(4, |new| new.directory = directory(1)), "data directory 01010101-0101-0101-0101-010101010101 belongs to node 1, not to node 4: give the node its own id, or an empty directory".into()),
        ("directory of a founder under another id", &forming, other(4, |new| new.directory = directory(2)), "data directory 02020202-0202-0202-0202-020202020202 belongs to node 2, not to node 4: give the node its own id, or an empty directory".into()),
    ];
    for (case, state, command, sentence) in cases {
        let mut after = state.clone();
        let refused = run(&mut after, command).expect_err(case);
        assert_eq!(refused.to_string(), sentence, "{case}");
        assert_eq!(after, *state, "{case}: a refusal changes nothing");
        assert!(!refused.code().name().is_empty());
    }
}

#[test]
fn a_topic_without_wishes_has_the_defaults_of_its_cluster() {
    for (nodes, replication, min_insync) in [(1, 1, 1), (2, 2, 2), (3, 3, 2), (5, 3, 2)] {
        let mut state = formed(nodes);
        run(&mut state, topic("fees", 1, 12, None)).expect("create");
        let fees = state.image.topic(&name("fees")).expect("created");
        assert_eq!((fees.replication, fees.config.min_insync), (replication, min_insync));
        assert_eq!(fees.partitions.len(), 12);
    }
}

#[test]
fn partitions_go_round_the_leaders() {
    let mut state = formed(3);
    run(&mut state, topic("fees", 1, 3, None)).expect("create");
    let fees = state.image.topic(&name("fees")).expect("created");
    let leader = |shard: &ShardId| state.image.shards[shard].preferred().expect("leader").1;
    let leaders: BTreeSet<NodeId> = fees.partitions.iter().map(leader).collect();
    assert_eq!(leaders.len(), 3, "three partitions, three nodes");
}

#[test]
fn a_class_is_made_with_the_first_topic_that_asks_for_it() {
    let mut state = formed(5);
    let before = state.image.shards.len();
    run(&mut state, topic("copies", 1, 4, Some(5))).expect("create");
    assert_eq!(state.image.shards_of_class(5).count(), 20, "four for each of five nodes");
    assert_eq!(state.image.shards.len(), before + 20);
    run(&mut state, topic("more", 2, 4, Some(5))).expect("create");
    assert_eq!(state.image.shards.len(), before + 20, "the second finds it made");
    for (_, shard) in state.image.shards_of_class(5) {
        assert_eq!(shard.replicas.len(), 5);
    }
}

#[test]
fn replica_ids_are_never_used_twice_and_are_no_node_ids() {
    let mut state = formed(3);
    run(&mut state, topic("a", 1, 1, Some(1))).expect("create");
    run(&mut state, Command::RegisterNode(registration(4))).expect("register");
    run(&mut state, Command::CreateShards { class: 3, rule: RULE }).expect("create");
    let mut seen = BTreeSet::new();
    for shard in state.image.shards.values() {
        for (replica, _) in &shard.replicas {
            assert!(seen.insert(*replica), "{replica} twice");
            assert!(replica.get() >= REPLICA_ID_FIRST);
        }
    }
    assert!(!state.image.shards.contains_key(&ShardId::METADATA));
}

#[test]
fn asking_again_with_the_same_id_gives_the_same_topic() {
    let mut state = formed(3);
    let first = run(&mut state, topic("fees", 1, 2, None)).expect("create");
    let version = state.image.version;
    let second = run(&mut state, topic("fees", 1, 2, None)).expect("again");
    assert_eq!(first, second);
    assert_eq!(state.image.version, version, "nothing happened the second time");
}

#[test]
fn a_topic_created_again_is_another_one() {
    let mut state = formed(3);
    run(&mut state, topic("fees", 1, 2, None)).expect("create");
    run(&mut state, delete("fees", Some(1))).expect("delete");
    assert_eq!(state.image.partitions_total(), 0);
    run(&mut state, topic("fees", 2, 2, None)).expect("create");
    assert!(state.image.topic_by_id(&TopicId::from_bytes([1; 16])).is_none());
    assert!(state.image.topic_by_id(&TopicId::from_bytes([2; 16])).is_some());
}

#[test]
fn settings_are_set_and_reset_together() {
    let mut state = formed(3);
    let config = [("retention-time", "90d"), ("min-acks", "quorum")];
    run(&mut state, topic_with("fees", 1, 1, None, &config)).expect("create");
    let change = alter("fees", &[("segment-bytes", "64MiB")], &[ConfigKey::RetentionTime]);
    run(&mut state, change).expect("alter");
    let fees = state.image.topic(&name("fees")).expect("there");
    let changed: Vec<(&str, String)> = fees
        .config
        .entries(fees.replication)
        .filter(|(_, _, is_default)| !is_default)
        .map(|(key, value, _)| (key, value))
        .collect();
    assert_eq!(changed, [("min-acks", "quorum".to_owned()), ("segment-bytes", "64MiB".to_owned())]);
    let by_id = state.image.topic_by_id(&fees.id).expect("there");
    assert!(Arc::ptr_eq(by_id, fees), "both indexes show the change");
}

#[test]
fn a_node_may_register_again_and_move() {
    let mut state = formed(3);
    let mut again = registration(2);
    again.incarnation = Incarnation::new(4);
    again.starts = starts(&[3, 4]);
    again.address_client = "elsewhere:9192".to_owned();
    run(&mut state, Command::RegisterNode(again)).expect("register");
    assert_eq!(state.image.nodes[&NodeId::new(2)].address_client, "elsewhere:9192");
}

#[test]
fn producer_ids_are_handed_out_once_and_show_in_no_image() {
    let mut state = formed(1);
    let before = state.image.clone();
    let mut next = 1;
    for count in [1, 1_000, PRODUCER_IDS_MAX] {
        let taken = run(&mut state, Command::AllocateProducerIds { count }).expect("allocate");
        assert_eq!(taken, Outcome::ProducerIds { first: ProducerId::new(next), count });
        next += i64::try_from(count).expect("small");
    }
    assert_eq!(state.image, before);
}

fn any_command() -> impl Strategy<Value = Command> {
    let named = (0..6_u8, 0..8_u8);
    prop_oneof![
        (named.clone(), 0..20_u32, prop::option::of(0..5_u8)).prop_map(
            |((topic_name, id), partitions, replication)| topic(
                &format!("t{topic_name}"),
                id,
                partitions,
                replication
            )
        ),
        (named, any::<bool>()).prop_map(|((topic_name, id), any)| delete(
            &format!("t{topic_name}"),
            any.then_some(id)
        )),
        (0..6_u8, 1..4_u8).prop_map(|(topic_name, count)| {
            alter(&format!("t{topic_name}"), &[("min-insync", &count.to_string())], &[])
        }),
        (0..8_u8, 0..30_u32).prop_map(|(id, total)| partitions::add(id, total)),
        (0..8_u8, 0..20_u32, 1..14_u32).prop_map(|(id, at, to)| moving::send(id, &[(at, to)])),
        (0..8_u8, 0..20_u32, 1..60_u64).prop_map(|(id, at, by)| moving::arrive(id, at, by)),
        (0..8_u8, 0..5_u8).prop_map(|(id, count)| moving::replicate(id, count)),
        (1..7_u64).prop_map(|node| Command::RegisterNode(registration(node))),
        (0..5_u8).prop_map(|class| Command::CreateShards { class, rule: RULE }),
        (0..5_u64).prop_map(|count| Command::AllocateProducerIds { count }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is asked, in whatever order: indexes agree, every partition lives on a shard of
    /// its class, balance holds, and replicas that see the same commands are the same.
    #[test]
    fn the_state_keeps_its_laws(commands in prop::collection::vec(any_command(), 1..60)) {
        let mut state = formed(3);
        let mut twin = state.clone();
        for command in commands {
            let before = state.clone();
            let result = run(&mut state, command.clone());
            prop_assert_eq!(&result, &run(&mut twin, command));
            if result.is_err() {
                prop_assert_eq!(&before, &state);
            }
            check_laws(&state.image);
        }
        prop_assert_eq!(state, twin);
    }
}

fn check_laws(image: &Image) {
    let mut hosted = 0;
    for topic in image.topics.values() {
        assert!(image.topic_by_id(&topic.id).is_some_and(|by_id| Arc::ptr_eq(by_id, topic)));
        topic.config.check(topic.replication).expect("settings fit");
        for (partition, shard) in topic.placed() {
            hosted += 1;
            let moving = topic.moves.get(&partition.index);
            let last = moving.map_or(shard, |moving| moving.to);
            assert_eq!(image.shards[&last].class, topic.replication, "in the end");
            assert_ne!(moving.map(|moving| moving.to), Some(shard));
            assert_eq!(image.shard_of(partition), Some(shard));
            assert!(image.partitions_of(shard).any(|(found, _)| found == partition));
        }
    }
    assert_eq!(hosted, image.partitions_total());
    let moving: Vec<_> = image.topics.values().flat_map(|topic| topic.moving()).collect();
    assert_eq!(moving.len(), image.partitions_moving());
    for (partition, moving) in moving {
        assert!(image.arriving_at(moving.to).any(|found| found == (partition, moving)));
    }
}

#[test]
fn coordinator_slices_are_spread_over_the_first_shards_and_stay_there() {
    let mut state = formed(3);
    let first: BTreeSet<ShardId> = state.image.slices.iter().copied().collect();
    assert_eq!(state.image.slices.len(), 16);
    let default = state.image.shards_of_class(3).map(|(id, _)| id).collect::<BTreeSet<_>>();
    assert_eq!(first, default, "every shard has its share");
    let before = state.image.slices.clone();
    let home = state.image.coordinator_shard("sms-service");
    run(&mut state, Command::RegisterNode(registration(4))).expect("register");
    run(&mut state, Command::CreateShards { class: 3, rule: RULE }).expect("create");
    assert!(state.image.shards.len() > default.len());
    assert_eq!(state.image.slices, before);
    assert_eq!(state.image.coordinator_shard("sms-service"), home);
    assert!(Image::default().coordinator_shard("sms-service").is_none());
}
