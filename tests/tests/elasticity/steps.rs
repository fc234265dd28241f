//! A node dies on the way of a move, and the move ends nevertheless.

use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result, ensure};
use quipu_client::{NodeId, ShardId};
use quipu_testkit::failpoints;

use crate::field::{Field, MOVE_WAIT};

/// SIGKILL.
const KILLED: i32 = 9;

/// A point, and how many passes are let through before.
pub(crate) struct Case {
    point: &'static str,
    skip: u32,
}

const fn case(point: &'static str, skip: u32) -> Case {
    Case { point, skip }
}

/// The steps of a move, and what follows on the node that is left.
pub(crate) const CASES: &[Case] = &[
    case("broker.replicas.step.before", 0),
    case("broker.replicas.step.after", 0),
    case("broker.replicas.step.before", 1),
    case("broker.replicas.step.after", 1),
    case("broker.replicas.step.before", 2),
    case("shard.evict.noted", 0),
    case("shard.evict.journal-removed", 0),
    case("shard.evict.dirs-removed", 0),
];

/// Moves a shard whose leader, or whose node that is left, dies at the point and comes back.
pub(crate) async fn dies_on_the_way(
    field: &mut Field,
    case: &Case,
    (shard, to): (ShardId, &[NodeId]),
) -> Result<()> {
    let words = match case.skip {
        0 => format!("{}=crash", case.point),
        skip => format!("{}={skip}*off->crash", case.point),
    };
    let ran = course(field, case, (shard, to), &words).await;
    ran.with_context(|| format!("{words}, to {to:?}"))
}

async fn course(
    field: &mut Field,
    case: &Case,
    (shard, to): (ShardId, &[NodeId]),
    words: &str,
) -> Result<()> {
    let target = if case.point.starts_with("shard.evict") {
        let now = field.nodes_of(shard).await?;
        let left = now.into_iter().find(|node| !to.contains(node));
        left.context("nobody is left")?.get()
    } else {
        field.leader_of(shard).await?
    };
    let address = field.cluster.node(target).metrics_address();
    failpoints::arm(address, words).await?;
    field.admin().move_replicas(shard, to).await?;
    let status = field.cluster.node(target).wait_exit(MOVE_WAIT).await?;
    ensure!(status.signal() == Some(KILLED), "node {target} ended by itself: {status}");
    field.cluster.node(target).start()?;
    field.moves_end().await?;
    ensure!(field.nodes_of(shard).await? == to, "it is elsewhere");
    field.cluster.wait_healthy().await
}
