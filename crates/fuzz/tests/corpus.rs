//! Each target over its corpus and seeded mutations of it.

use std::collections::BTreeSet;

use quipu_fuzz::{TARGETS, Target, Verdict, caught, corpus_dir, find, load};

/// Inputs of a corpus.
const INPUTS_MAX: usize = 40;
/// Bytes of an input.
const BYTES_MAX: usize = 4 << 10;
/// Bytes of all corpora.
const CORPORA_BYTES_MAX: usize = 1_500 << 10;

fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    load(target).unwrap_or_else(|error| panic!("corpus of {}: {error}", target.name))
}

#[test]
fn every_target_has_a_small_corpus_and_every_corpus_a_target() {
    let mut bytes = 0;
    for target in TARGETS {
        let inputs = inputs(target);
        assert!((1..=INPUTS_MAX).contains(&inputs.len()), "{}: {}", target.name, inputs.len());
        for (name, input) in inputs {
            assert!(input.len() <= BYTES_MAX, "{}/{name} has {} bytes", target.name, input.len());
            bytes += input.len();
        }
    }
    assert!(bytes <= CORPORA_BYTES_MAX, "{bytes} bytes in all");
    for entry in std::fs::read_dir(corpus_dir()).expect("the corpora") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(find(&name).is_some(), "corpus {name} has no target");
    }
}

/// What the corpus has of older releases is accepted still, and what writers write now as well.
#[test]
fn every_corpus_reaches_beyond_the_first_check() {
    for target in TARGETS {
        let mut accepted = 0;
        for (name, input) in inputs(target) {
            let verdict = caught(|| (target.run)(&input));
            let verdict = verdict.unwrap_or_else(|words| panic!("{}/{name}: {words}", target.name));
            if name.starts_with("ok-") {
                assert_eq!(verdict, Verdict::Accepted, "{}/{name}", target.name);
                accepted += 1;
            }
        }
        assert!(accepted > 0, "{} has no input that is accepted", target.name);
        for (name, input) in (target.seeds)() {
            let is_ok = name.starts_with("ok-");
            assert_eq!((target.run)(&input) == Verdict::Accepted, is_ok, "{}/{name}", target.name);
        }
    }
}

#[test]
fn names_are_of_one_target_each() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len());
    assert!(TARGETS.len() >= 14);
}
