//! Nodes that come, rest and go under load: nothing acknowledged is lost, and clients notice
//! nothing.

#[path = "elasticity/draining.rs"]
mod draining;
#[path = "elasticity/field.rs"]
mod field;
#[path = "elasticity/partitions.rs"]
mod partitions;
#[path = "operator/quipu.rs"]
mod quipu;
#[path = "elasticity/steps.rs"]
mod steps;

use std::time::Duration;

use anyhow::{Result, ensure};
use quipu_client::{NodeChange, NodeId, ShardId};
use quipu_testkit::until;
use quipu_types::{Effect, ErrorCode};

use field::{Field, MOVE_WAIT};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_first_node_leaves_and_nothing_is_lost() -> Result<()> {
    let mut field = Field::start(3).await?;
    field.add_node().await?;
    field.add_node().await?;
    let planned = field.admin().rebalance(4).await?;
    ensure!(!planned.is_empty(), "two nodes hold nothing that anybody uses");
    field.moves_end().await?;
    ensure!(field.admin().preview_rebalance().await?.is_empty(), "all is even now");
    for node in [1, 2] {
        field.admin().change_node(NodeId::new(node), NodeChange::Decommission).await?;
        field.is_removed(node).await?;
        field.cluster.retire(node)?;
    }
    // Three are left for shards of three replicas: the last goes when another comes.
    let refused = field.admin().change_node(NodeId::new(3), NodeChange::Decommission).await;
    let refused = refused.err().map(|error| (error.code(), error.effect()));
    ensure!(refused == Some((Some(ErrorCode::InvalidPlacement), Effect::None)), "{refused:?}");
    field.add_node().await?;
    field.admin().change_node(NodeId::new(3), NodeChange::Decommission).await?;
    field.is_removed(3).await?;
    field.cluster.retire(3)?;
    field.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_gets_its_share_by_itself() -> Result<()> {
    let mut field = Field::start_with(3, &["cluster.rebalance-after=2s"]).await?;
    let new = field.add_node().await?;
    let used = field.admin().describe_topic("permits").await?;
    let before: Vec<u64> = used.partitions.iter().filter_map(|it| it.leader).collect();
    ensure!(!before.contains(&new), "{used:?}");
    until("replicas on the new node", MOVE_WAIT, async || {
        let topic = field.admin().describe_topic("permits").await?;
        ensure!(topic.partitions.iter().any(|it| it.replicas.contains(&new)), "{topic:?}");
        Ok(())
    })
    .await?;
    field.moves_end().await?;
    ensure!(field.admin().preview_rebalance().await?.is_empty(), "all is even now");
    field.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_leads_nothing_until_it_is_called_back() -> Result<()> {
    let mut field = Field::start(3).await?;
    let rest = NodeChange::Drain(Duration::from_secs(600));
    field.admin().change_node(NodeId::new(2), rest).await?;
    field.leads_nothing(2).await?;
    // A restart is what drains are for; it changes nothing.
    field.cluster.node(2).terminate(Duration::from_secs(30)).await?;
    field.cluster.node(2).start()?;
    field.cluster.wait_healthy().await?;
    field.leads_nothing(2).await?;
    field.admin().change_node(NodeId::new(2), NodeChange::Activate).await?;
    field.leads(2).await?;
    let short = NodeChange::Drain(Duration::from_secs(2));
    field.admin().change_node(NodeId::new(3), short).await?;
    field.leads_nothing(3).await?;
    field.leads(3).await?;
    field.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_is_replaced_while_another_restarts() -> Result<()> {
    let mut field = Field::start(3).await?;
    field.add_node().await?;
    let alive = field.admin().change_node(NodeId::new(1), NodeChange::Replace).await;
    let alive = alive.err().and_then(|error| error.code());
    ensure!(alive == Some(ErrorCode::NodeInUse), "{alive:?}");
    field.cluster.retire(1)?;
    until("the loss to be noticed", MOVE_WAIT, async || {
        field.admin().change_node(NodeId::new(1), NodeChange::Replace).await?;
        Ok(())
    })
    .await?;
    field.cluster.node(2).kill()?;
    field.cluster.node(2).start()?;
    field.is_removed(1).await?;
    field.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_survives_the_death_of_whoever_takes_a_step() -> Result<()> {
    let mut field = Field::start(3).await?;
    let new = field.add_node().await?;
    let shard = field.shard().await?;
    let home = field.nodes_of(shard).await?;
    for case in steps::CASES {
        let away = vec![NodeId::new(new), home[1], home[2]];
        steps::dies_on_the_way(&mut field, case, (shard, &away)).await?;
        steps::dies_on_the_way(&mut field, case, (shard, &home)).await?;
    }
    field.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_to_a_node_that_dies_is_called_off() -> Result<()> {
    let mut field = Field::start(3).await?;
    let new = field.add_node().await?;
    let shard = field.shard().await?;
    let home = field.nodes_of(shard).await?;
    field.cluster.retire(new)?;
    let away = vec![NodeId::new(new), home[1], home[2]];
    field.admin().move_replicas(shard, &away).await?;
    field.admin().move_replicas(shard, &home).await?;
    field.moves_end().await?;
    ensure!(field.nodes_of(shard).await? == home, "where it was");
    let unknown = field.admin().move_replicas(ShardId::new(999), &home).await;
    let unknown = unknown.err().and_then(|error| error.code());
    ensure!(unknown == Some(ErrorCode::UnknownShard), "{unknown:?}");
    field.end().await
}
