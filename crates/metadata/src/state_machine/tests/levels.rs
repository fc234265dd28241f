//! Format levels: who may start, and when the cluster goes on to the next.

use super::*;

fn level(number: u32) -> FormatLevel {
    FormatLevel::new(number)
}

fn starts_with(node: u64, min: u32, max: u32) -> Command {
    let levels = LevelRange { min: level(min), max: level(max) };
    // Every start is another, and knows of the one before.
    let starts = starts(&[3, 4]);
    Command::RegisterNode(NodeRegistration { levels, starts, ..registration(node) })
}

fn finalize(number: u32) -> Command {
    Command::FinalizeLevel { level: level(number) }
}

#[test]
fn a_level_is_finalized_once_every_node_has_it_and_never_falls() {
    let mut state = formed(3);
    let unchanged = state.image.version;
    let done = run(&mut state, finalize(1));
    assert_eq!(done, Ok(Outcome::LevelFinalized { before: level(1) }), "as it is already");
    assert_eq!(state.image.version, unchanged);
    for node in [1, 2] {
        let before = state.image.clone();
        let refused = run(&mut state, finalize(2)).expect_err("not everywhere");
        let Refusal::LevelNotEverywhere { behind, .. } = &refused else { panic!("{refused}") };
        assert!(behind.iter().any(|(behind, _)| *behind == NodeId::new(node)), "{refused}");
        assert_eq!(refused.code().name(), "LEVEL_UNSUPPORTED");
        assert_eq!(state.image, before);
        run(&mut state, starts_with(node, 1, 2)).expect("a newer release, still at level 1");
    }
    let refused = run(&mut state, finalize(2)).expect_err("one is left").to_string();
    assert_eq!(
        refused,
        "format level 2 cannot be finalized: node 3 has level 1. Start them with the release that \
         has it, or remove nodes that are gone for good"
    );
    run(&mut state, starts_with(3, 2, 3)).expect_err("it does not read level 1");
    run(&mut state, starts_with(3, 1, 3)).expect("it does");
    let done = run(&mut state, finalize(2));
    assert_eq!(done, Ok(Outcome::LevelFinalized { before: level(1) }));
    assert_eq!(state.image.level, level(2));
    let refused = run(&mut state, finalize(1)).expect_err("back").to_string();
    assert_eq!(refused, "the cluster is finalized at format level 2 and does not go back to 1");
}

#[test]
fn a_node_without_the_clusters_level_does_not_register() {
    let mut state = formed(3);
    for node in [1, 2, 3] {
        run(&mut state, starts_with(node, 1, 2)).expect("register");
    }
    run(&mut state, finalize(2)).expect("everybody has it");
    let before = state.clone();
    let refused = run(&mut state, starts_with(2, 1, 1)).expect_err("the release before");
    assert_eq!(
        refused.to_string(),
        "the cluster is finalized at format level 2, node 2 reads and writes level 1: start it \
         with a release that has level 2, as the other nodes run"
    );
    run(&mut state, starts_with(4, 3, 4)).expect_err("a new node of a release too new");
    assert_eq!(state, before, "a refusal changes nothing");
    run(&mut state, starts_with(2, 2, 4)).expect("the release after next");
}
