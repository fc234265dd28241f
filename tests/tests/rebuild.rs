//! A node whose journal is damaged in the middle comes back with other replicas, fed by the others,
//! where a majority was there without it; and is left as it is where none was.

#[path = "rebuild/damage.rs"]
mod damage;
#[path = "elasticity/field.rs"]
#[expect(dead_code, reason = "what moves is elasticity's subject")]
mod field;
#[path = "rebuild/patient.rs"]
mod patient;
#[path = "rebuild/steps.rs"]
mod steps;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use quipu_client::NewTopic;
use quipu_testkit::metrics;

use damage::{Damage, files};
use field::Field;
use patient::{busiest, gives_up, is_rebuilt, leads_least};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_and_the_node_that_leads_most_come_back_with_other_replicas() -> Result<()> {
    let mut field = Field::start(3).await?;
    let follower = leads_least(&field).await?;
    let mut ids = BTreeSet::new();
    for node in [follower, busiest(&field, follower).await?, follower] {
        let damage = Damage::to(&mut field, node).await?;
        field.cluster.node(node).start()?;
        let replica = is_rebuilt(&mut field, &damage).await?;
        ensure!(ids.insert(replica), "replica {replica} had been there: {ids:?}");
        let moved = metrics::sum(&field.cluster, "quipu_node_quarantines_total", &[]).await?;
        ensure!(moved >= 1.0, "nobody counted: {moved}");
        let left = metrics::sum(&field.cluster, "quipu_node_rebuilding", &[]).await?;
        ensure!(left == 0.0, "{left} replicas are left");
    }
    // What they say counts again: the third is not needed.
    let leader = busiest(&field, follower).await?;
    let third = (1..=3).find(|id| *id != follower && *id != leader).context("three nodes")?;
    field.cluster.node(third).kill()?;
    field.goes_on().await?;
    field.cluster.node(third).start()?;
    field.cluster.wait_healthy().await?;
    field.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_survives_the_death_of_whoever_takes_a_step() -> Result<()> {
    let mut field = Field::start(3).await?;
    for case in steps::CASES {
        steps::dies_on_the_way(&mut field, case).await?;
    }
    field.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_survives_the_death_of_the_controller() -> Result<()> {
    let mut field = Field::start(3).await?;
    let controller = field.admin().describe_cluster().await?.controller.context("a controller")?;
    let node = controller % 3 + 1;
    let damage = Damage::to(&mut field, node).await?;
    // Slow enough to be met on the way: it is alive, and has not got everything.
    field.cluster.node(node).arm("metadata.rebuild.aside=sleep(700)");
    field.cluster.node(node).start()?;
    steps::says(&mut field, node, "this node begins anew, with other replicas").await?;
    let address = field.cluster.node(controller).metrics_address();
    quipu_testkit::failpoints::arm(address, "broker.replicas.step.after=crash").await?;
    // Whether it leads a shard that changes its members, or not.
    if field.cluster.node(controller).wait_exit(field::MOVE_WAIT / 12).await.is_err() {
        field.cluster.node(controller).kill()?;
    }
    field.cluster.node(controller).start()?;
    is_rebuilt(&mut field, &damage).await?;
    field.end().await
}

/// Of five nodes, so that the metadata group has a majority all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_damaged_node_is_refused_while_the_first_is_not_whole() -> Result<()> {
    two_at_once(5, "no majority of shard").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_damaged_nodes_of_three_are_left_as_they_are() -> Result<()> {
    two_at_once(3, "no majority of the metadata group").await
}

/// Two of the three replicas of some shard: whichever is given up first, nobody could vouch for
/// what was acknowledged there.
async fn two_at_once(nodes: u64, missing: &str) -> Result<()> {
    let mut field = Field::start(nodes).await?;
    let shard = field.shard().await?;
    let nodes = field.nodes_of(shard).await?;
    let (first, second) = (nodes[0].get(), nodes[1].get());
    let one = Damage::to(&mut field, first).await?;
    let other = Damage::to(&mut field, second).await?;
    let before = [files(&mut field, first)?, files(&mut field, second)?];
    for node in [first, second] {
        field.cluster.node(node).start()?;
    }
    for node in [first, second] {
        let words = ["is damaged at byte", missing, "nothing was moved"];
        gives_up(&mut field, node, &words).await?;
    }
    ensure!(before == [files(&mut field, first)?, files(&mut field, second)?], "files changed");
    // The second was read wrongly, say: with it there is a majority that can vouch.
    other.undo()?;
    field.cluster.node(second).start()?;
    field.cluster.node(first).start()?;
    is_rebuilt(&mut field, &one).await?;
    field.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_else_holds_is_refused_and_left_alone() -> Result<()> {
    let mut field = Field::start(3).await?;
    let node = leads_least(&field).await?;
    let damage = Damage::to(&mut field, node).await?;
    let before = files(&mut field, node)?;
    field.cluster.node(node).set_flag("storage.quarantine=refuse");
    field.cluster.node(node).start()?;
    gives_up(&mut field, node, &["storage.quarantine is refuse", "nothing was moved"]).await?;
    ensure!(before == files(&mut field, node)?, "files changed");
    field.cluster.node(node).set_flag("storage.quarantine=auto");

    // It cannot be sound again by itself; here it is.
    damage.undo()?;
    field.cluster.node(node).start()?;
    field.cluster.wait_healthy().await?;
    field.admin().create_topic(NewTopic::new("scratch").partitions(6).replication(1)).await?;
    field.cluster.wait_healthy().await?;
    let damage = Damage::to(&mut field, node).await?;
    let before = files(&mut field, node)?;
    field.cluster.node(node).start()?;
    let words = ["has 1 replica(s)", "nothing could feed it", "nothing was moved"];
    gives_up(&mut field, node, &words).await?;
    ensure!(before == files(&mut field, node)?, "files changed");
    damage.undo()?;
    field.cluster.node(node).start()?;
    field.cluster.wait_healthy().await?;
    field.end().await
}
