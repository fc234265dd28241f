//! `quipu node drain --local --until-restart`: what runs before a service or a pod stops.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{ClusterDescription, NewTopic, NodeChange, NodeId};
use quipu_testkit::{Cluster, ClusterOptions, until};

use crate::field::{Field, MOVE_WAIT};
use crate::quipu::{Ended, Operator};

const STOP_WAIT: Duration = Duration::from_secs(30);
const HOOK: [&str; 6] = ["node", "drain", "--local", "--until-restart", "--timeout", "120s"];

/// Drains a node as its own machine does: with the settings of the node, and no word of others.
async fn drain(cluster: &mut Cluster, node: u64, words: &[&str]) -> Result<Ended> {
    drain_as(cluster.node(node).client_address(), node, words).await
}

/// The same, with the id of any node.
async fn drain_as(address: SocketAddr, node: u64, words: &[&str]) -> Result<Ended> {
    let (id, address) = (node.to_string(), address.to_string());
    let settings = [
        ("QUIPU_NODE__ID", id.as_str()),
        ("QUIPU_NODE__DATA_DIR", "data"),
        ("QUIPU_LISTENERS__CLIENT", address.as_str()),
    ];
    Operator::new()?.run_with(words, &settings).await
}

/// Whether a node leads what others could.
fn leads_shared(cluster: &ClusterDescription, node: u64) -> bool {
    let led = cluster.shards.iter().filter(|shard| shard.leader == Some(node));
    led.filter(|shard| shard.replicas.len() > 1).count() > 0
}

fn state(cluster: &ClusterDescription, node: u64) -> Option<&'static str> {
    cluster.nodes.iter().find(|known| known.node_id == node).map(|known| known.state)
}

/// Waits until a node is listed so: another than it may answer.
async fn rests_until_restart(cluster: &Cluster, node: u64) -> Result<()> {
    let operator = Operator::of(cluster)?;
    until("the drain to be listed", MOVE_WAIT, async || {
        let listed = operator.run(&["node", "list", "-o", "json"]).await?.good()?.json()?;
        let rows = listed.as_array().context("rows")?;
        let row = rows.iter().find(|row| row["node_id"] == node).context("the node")?;
        ensure!(row["state"] == "drained" && row["drained_until_restart"] == true, "{row}");
        Ok(())
    })
    .await
}

async fn restart(field: &mut Field, node: u64) -> Result<()> {
    field.cluster.node(node).terminate(STOP_WAIT).await?;
    field.goes_on().await?;
    field.cluster.node(node).start()?;
    field.cluster.wait_healthy().await?;
    field.goes_on().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_is_drained_by_its_own_machine_and_leads_again_after_its_start() -> Result<()> {
    let mut field = Field::start(3).await?;
    let single = NewTopic::new("single").partitions(3).replication(1);
    field.admin().create_topic(single).await?;
    for node in [3, 2, 1] {
        field
            .finds("the node to lead", |cluster| {
                ensure!(leads_shared(&cluster, node), "{:?}", cluster.shards);
                Ok(())
            })
            .await?;
        let ended = drain(&mut field.cluster, node, &HOOK).await?.good()?;
        ensure!(ended.stderr.contains("it may be stopped"), "{ended:?}");
        ensure!(ended.stderr.contains("skipped: shard"), "one replica, and led: {ended:?}");
        let cluster = field.admin().describe_cluster_at(NodeId::new(node)).await?;
        ensure!(!leads_shared(&cluster, node), "{:?}", cluster.shards);
        rests_until_restart(&field.cluster, node).await?;
        field.goes_on().await?;
        restart(&mut field, node).await?;
        field
            .finds("the node to lead again", |cluster| {
                ensure!(state(&cluster, node) == Some("active"), "{:?}", cluster.nodes);
                ensure!(leads_shared(&cluster, node), "{:?}", cluster.shards);
                Ok(())
            })
            .await?;
    }
    // Somebody wants it to rest for longer: the next start does not end that.
    let rest = NodeChange::Drain(Duration::from_secs(3600));
    field.admin().change_node(NodeId::new(2), rest).await?;
    drain(&mut field.cluster, 2, &HOOK).await?.good()?;
    restart(&mut field, 2).await?;
    let cluster = field.admin().describe_cluster().await?;
    ensure!(state(&cluster, 2) == Some("drained"), "{:?}", cluster.nodes);
    field.admin().change_node(NodeId::new(2), NodeChange::Activate).await?;
    field.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_is_late_ends_with_5_and_a_drain_alone_with_0() -> Result<()> {
    let settings = ["cluster.shards-per-node=1", "raft.heartbeat=100ms", "log.format=text"];
    let settings: Vec<String> = settings.iter().map(|it| (*it).to_owned()).collect();
    let options = ClusterOptions { nodes: 3, settings, ..<_>::default() };
    let mut cluster = Cluster::start_with(options).await?;
    // Too short to be sure of anything.
    let hurried = ["node", "drain", "--local", "--timeout", "1ms"];
    let ended = drain(&mut cluster, 1, &hurried).await?;
    ensure!(ended.code == Some(5) && ended.stderr.contains("node 1"), "{ended:?}");
    let client = cluster.client().await?;
    client.admin().change_node(NodeId::new(1), NodeChange::Activate).await?;
    cluster.retire(1)?;
    cluster.retire(2)?;
    until("the loss to be noticed", MOVE_WAIT, async || {
        let seen = client.admin().describe_cluster_at(NodeId::new(3)).await?;
        ensure!(seen.nodes.iter().filter(|node| node.is_alive).count() == 1, "{:?}", seen.nodes);
        Ok(())
    })
    .await?;
    // No majority: nobody could decide anything, nobody could take over, and nobody waits.
    let ended = drain(&mut cluster, 3, &HOOK).await?.good()?;
    ensure!(ended.stderr.contains("no other node answers"), "{ended:?}");
    // Nobody answers there.
    let address = cluster.node(3).client_address();
    cluster.node(3).kill()?;
    let ended = drain(&mut cluster, 3, &HOOK).await?;
    ensure!(ended.code == Some(5), "{ended:?}");
    ensure!(ended.stderr.contains(&address.to_string()), "{ended:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_node_has_nobody_to_hand_over_to() -> Result<()> {
    let mut cluster = Cluster::start_with(ClusterOptions { nodes: 1, ..<_>::default() }).await?;
    let ended = drain(&mut cluster, 1, &HOOK).await?.good()?;
    ensure!(ended.stderr.contains("node 1 is the only one"), "{ended:?}");
    let seen = cluster.client().await?.admin().describe_cluster().await?;
    ensure!(state(&seen, 1) == Some("active"), "{:?}", seen.nodes);
    // Settings of another node: the one that answers there is not it.
    let ended = drain_as(cluster.node(1).client_address(), 2, &HOOK).await?.good()?;
    ensure!(ended.stderr.contains("node 2 is not registered"), "{ended:?}");
    Ok(())
}
