//! RELIABILITY §7.5: a node that dies at an edge of durability, whichever it is, leading or
//! following, loses nothing that was acknowledged.
//!
//! Each case arms one point on one node, under load, has the node pass it, sees it die, starts it
//! again and looks: every acknowledged record stands at its offset, once; the last commit that was
//! acknowledged is there; all replicas are the same. Every point is tried in both roles, or the
//! table of those out of reach says why not.

#[path = "crash_points/cases.rs"]
mod cases;
#[path = "crash_points/field.rs"]
mod field;
#[path = "crash_points/load.rs"]
mod load;
#[path = "crash_points/reach.rs"]
mod reach;
#[path = "crash_points/trimmed.rs"]
mod trimmed;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use quipu_failpoint::POINTS;
use quipu_testkit::quipu_binary;

use crate::cases::{BOTH, JOURNAL, OUT_OF_REACH, Part, Role, SHARDS, STORAGE};
use crate::field::Field;

/// Runs the cases of a part, one after another, on one cluster.
async fn run(part: &Part) -> Result<()> {
    let mut field = Field::start(part.entries_kept).await?;
    for case in part.cases {
        for role in case.roles {
            field.run(case, *role).await?;
        }
    }
    field.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_survives_a_crash_at_every_point() -> Result<()> {
    run(&JOURNAL).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_and_tables_survive_a_crash_at_every_point() -> Result<()> {
    run(&STORAGE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_survive_a_crash_at_every_point() -> Result<()> {
    run(&SHARDS).await
}

#[test]
fn every_point_is_tried_in_both_roles_or_said_to_be_out_of_reach() {
    let cases = [JOURNAL, STORAGE, SHARDS].map(|part| part.cases).concat();
    let tried = cases.iter().flat_map(|case| case.roles.iter().map(|role| (case.point, *role)));
    let excused = OUT_OF_REACH.iter().flat_map(|(point, roles, reason)| {
        assert!(!reason.is_empty(), "{point}");
        roles.iter().map(|role| (*point, *role))
    });
    let listed: Vec<(&str, Role)> = tried.chain(excused).collect();
    let all: BTreeSet<(&str, Role)> =
        POINTS.iter().flat_map(|point| BOTH.iter().map(|role| (*point, *role))).collect();
    assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), all);
    assert_eq!(listed.len(), all.len(), "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn words_that_name_no_point_keep_a_node_from_starting() -> Result<()> {
    let output = tokio::process::Command::new(quipu_binary()?)
        .args(["serve", "--set", "node.id=1", "--set", "node.data-dir=/nonexistent"])
        .env(quipu_failpoint::VARIABLE, "journal.flush.sideways=crash")
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "{:?}: {said}", output.status);
    ensure!(said.contains("there is no failpoint \"journal.flush.sideways\""), "{said}");
    Ok(())
}
