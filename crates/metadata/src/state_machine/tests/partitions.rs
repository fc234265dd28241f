//! Topics that get more partitions.

use super::*;

pub(super) fn add(id: u8, total: u32) -> Command {
    Command::AddPartitions { topic: TopicId::from_bytes([id; 16]), total, rule: RULE }
}

fn partitions(state: &State, text: &str) -> Vec<ShardId> {
    state.image.topic(&name(text)).expect("there").partitions.clone()
}

#[test]
fn new_partitions_follow_the_old_ones_which_stay_where_they_are() {
    let mut state = formed(3);
    run(&mut state, topic("fees", 1, 4, None)).expect("create");
    let old = partitions(&state, "fees");
    let version = state.image.version;
    let added = run(&mut state, add(1, 12)).expect("add");
    let now = partitions(&state, "fees");
    assert_eq!((now.len(), &now[..4]), (12, &old[..]));
    let fees = TopicRecord::clone(state.image.topic(&name("fees")).expect("there"));
    assert_eq!(fees.partitions_first, 4, "what was added later stays told apart");
    assert_eq!(added, Outcome::PartitionsAdded { topic: fees, before: 4 });
    assert!(state.image.version > version, "every node hears of it");
    assert_eq!(state.image.partitions_total(), 12);
    let shards: BTreeSet<ShardId> = now.iter().copied().collect();
    assert_eq!(shards.len(), 12, "twelve shards, one partition each");
    check_laws(&state.image);
}

#[test]
fn a_topic_that_grew_is_placed_as_if_created_so() {
    let mut grown = formed(3);
    let mut large = grown.clone();
    run(&mut grown, topic("fees", 1, 5, None)).expect("create");
    run(&mut grown, add(1, 40)).expect("add");
    run(&mut large, topic("fees", 1, 40, None)).expect("create");
    assert_eq!(partitions(&grown, "fees"), partitions(&large, "fees"));
}

#[test]
fn nodes_that_joined_since_get_new_partitions_first() {
    let mut state = formed(3);
    run(&mut state, topic("fees", 1, 24, None)).expect("create");
    let old: BTreeSet<ShardId> = state.image.shards.keys().copied().collect();
    run(&mut state, Command::RegisterNode(registration(4))).expect("register");
    run(&mut state, Command::CreateShards { class: 3, rule: RULE }).expect("create shards");
    run(&mut state, add(1, 28)).expect("add");
    let added = &partitions(&state, "fees")[24..];
    assert!(added.iter().all(|shard| !old.contains(shard)), "{added:?}");
}

#[test]
fn asking_for_what_is_so_is_no_change() {
    let mut state = formed(3);
    run(&mut state, topic("fees", 1, 2, None)).expect("create");
    run(&mut state, add(1, 6)).expect("add");
    let before = state.clone();
    let again = run(&mut state, add(1, 6)).expect("again");
    let Outcome::PartitionsAdded { topic, before: had } = again else { panic!("{again:?}") };
    assert_eq!((topic.partitions.len(), had), (6, 6));
    assert_eq!(state, before, "the version too");
}

#[test]
fn a_full_cluster_still_says_that_a_topic_is_as_asked() {
    let mut full = formed(3);
    for id in 0..20 {
        run(&mut full, topic(&format!("big-{id}"), id, 10_000, None)).expect("create");
    }
    let same = run(&mut full, add(7, 10_000)).expect("nothing is added");
    assert!(matches!(same, Outcome::PartitionsAdded { before: 10_000, .. }), "{same:?}");
}

/// Every refusal, word for word, and that nothing changed with it.
#[test]
fn what_is_refused_says_why_and_changes_nothing() {
    let none = formed(3);
    let mut three = none.clone();
    run(&mut three, topic("fees", 1, 4, None)).expect("create");
    let mut again = three.clone();
    run(&mut again, delete("fees", Some(1))).expect("delete");
    run(&mut again, topic("fees", 2, 4, None)).expect("create");
    let mut crowded = none.clone();
    run(&mut crowded, topic("fees", 99, 4, None)).expect("create");
    for id in 0..19 {
        run(&mut crowded, topic(&format!("big-{id}"), id, 10_000, None)).expect("create");
    }
    run(&mut crowded, topic("last", 20, 9_995, None)).expect("create");
    let nothing = State::default();
    let gone = "no topic has id 01010101-0101-0101-0101-010101010101: it was deleted, perhaps created again under the same name";
    let fewer = "topic fees has 4 partitions and cannot have fewer: ask for more than that, not";
    let bounds = |given: u32| format!("a topic has 1 to 10000 partitions, not {given}");
    let cases: Vec<(&str, &State, Command, String)> = vec![
        ("unknown", &none, add(1, 4), gone.to_owned()),
        ("created again", &again, add(1, 8), gone.to_owned()),
        ("before anything", &nothing, add(1, 4), gone.to_owned()),
        ("none", &three, add(1, 0), bounds(0)),
        ("one", &three, add(1, 1), format!("{fewer} 1")),
        ("one fewer", &three, add(1, 3), format!("{fewer} 3")),
        ("one above the limit", &three, add(1, 10_001), bounds(10_001)),
        ("far above the limit", &three, add(1, u32::MAX), bounds(u32::MAX)),
        (
            "two where one fits",
            &crowded,
            add(99, 6),
            "the cluster has 199999 of at most 200000 partitions; 2 more do not fit".to_owned(),
        ),
    ];
    for (case, state, command, sentence) in cases {
        let mut after = state.clone();
        let refused = run(&mut after, command).expect_err(case);
        assert_eq!(refused.to_string(), sentence, "{case}");
        assert_eq!(after, *state, "{case}: a refusal changes nothing");
        assert_eq!(refused.retry(), quipu_types::Retry::Never, "{case}");
        assert!(!refused.fields().is_empty(), "{case}");
    }
    run(&mut crowded, add(99, 5)).expect("the last one fits");
    assert_eq!(crowded.image.partitions_total(), 200_000);
}
