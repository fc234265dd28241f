//! `quipu cluster`: what the cluster looks like, whether all is well, what it is to hold, and how
//! it is upgraded.

mod apply;
mod plan;
mod topology;
mod upgrade;

use crate::args::{ClusterVerb, Format, Global};
use crate::exit::{FAILED, Failure};
use crate::topic::confirm;
use crate::{connect, local, output, top, waiting};
use quipu_client::{Admin, ClusterDescription, ReplicaMove};

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: ClusterVerb) -> anyhow::Result<()> {
    let admin = async || anyhow::Ok(connect::client(global).await?.admin());
    connect::block_on(async {
        match verb {
            ClusterVerb::Info => info(global, &admin().await?.describe_cluster().await?),
            ClusterVerb::Health { watch: None } => {
                health(global, &admin().await?.describe_cluster().await?)
            }
            ClusterVerb::Health { watch: Some(every) } => {
                let admin = admin().await?;
                top::again(&every, async || {
                    // What is not well is printed; it is no reason to look away.
                    let cluster = admin.describe_cluster().await?;
                    show_health(global, &cluster)
                })
                .await
            }
            ClusterVerb::Rebalance { dry_run: true, .. } => {
                show_moves(global, &admin().await?.preview_rebalance().await?)
            }
            ClusterVerb::Rebalance { cancel: true, .. } => {
                let dropped = admin().await?.cancel_moves().await?;
                output::note(&format!("{} planned moves are dropped", dropped.len()));
                show_moves(global, &dropped)
            }
            ClusterVerb::Rebalance { at_once, no_wait, yes, .. } => {
                rebalance(global, &admin().await?, at_once, no_wait, yes).await
            }
            ClusterVerb::Export(args) => apply::export(global, &admin().await?, &args).await,
            ClusterVerb::Apply(args) => {
                Box::pin(apply::apply(global, &admin().await?, &args)).await
            }
            ClusterVerb::Upgrade(verb) => upgrade::run(global, &admin().await?, verb).await,
            ClusterVerb::RollingRestart(args) => Box::pin(local::rolling_restart(&args)).await,
        }
    })
}

async fn rebalance(
    global: &Global,
    admin: &Admin,
    at_once: u32,
    no_wait: bool,
    yes: bool,
) -> anyhow::Result<()> {
    let preview = admin.preview_rebalance().await?;
    if preview.is_empty() {
        output::note("every node has its share: nothing to move");
        return Ok(());
    }
    if !yes {
        show_moves(global, &preview)?;
    }
    confirm("rebalance", yes, "moves the replicas of these shards")?;
    let moves = admin.rebalance(at_once).await?;
    if yes {
        show_moves(global, &moves)?;
    }
    if no_wait { Ok(()) } else { waiting::for_moves(admin).await }
}

fn show_moves(global: &Global, moves: &[ReplicaMove]) -> anyhow::Result<()> {
    if global.output == Format::Json {
        return output::json(&moves);
    }
    let rows = moves
        .iter()
        .map(|planned| vec![planned.shard.to_string(), join(&planned.from), join(&planned.to)]);
    output::table(&["shard", "from", "to"], rows)
}

fn info(global: &Global, cluster: &ClusterDescription) -> anyhow::Result<()> {
    if global.output == Format::Json {
        return output::json(cluster);
    }
    output::line(&format!(
        "cluster {}   controller {}   {} topics, {} partitions",
        cluster.cluster_id,
        optional(cluster.controller),
        cluster.topics,
        cluster.partitions
    ))?;
    let nodes = cluster.nodes.iter().map(|node| {
        let state = if node.is_alive { "alive" } else { "down" };
        let state = if node.state == "active" {
            state.to_owned()
        } else {
            format!("{state}, {}", node.state)
        };
        vec![
            node.node_id.to_string(),
            state,
            node.address.clone(),
            node.rack.clone(),
            node.version.clone(),
        ]
    });
    output::table(&["node", "state", "address", "rack", "version"], nodes)?;
    let shards = cluster.shards.iter().map(|shard| {
        vec![
            shard.shard.to_string(),
            optional(shard.leader),
            shard.term.to_string(),
            if shard.leaving.is_empty() {
                join(&shard.replicas)
            } else {
                format!("{} (leaving: {})", join(&shard.replicas), join(&shard.leaving))
            },
            shard.partitions.to_string(),
            optional(shard.committed_index),
            optional(shard.applied_index),
        ]
    });
    let header = ["shard", "leader", "term", "replicas", "partitions", "committed", "applied"];
    output::table(&header, shards)
}

fn health(global: &Global, cluster: &ClusterDescription) -> anyhow::Result<()> {
    show_health(global, cluster)?;
    if cluster.is_healthy {
        return Ok(());
    }
    let count = cluster.problems.len();
    Err(Failure::with_code(FAILED, format!("the cluster is not healthy: {count} problem(s)")))
}

fn show_health(global: &Global, cluster: &ClusterDescription) -> anyhow::Result<()> {
    if global.output == Format::Json {
        let document = serde_json::json!({
            "is_healthy": cluster.is_healthy,
            "problems": cluster.problems,
        });
        output::json(&document)?;
    } else if cluster.is_healthy {
        output::line(&format!("healthy: {} nodes", cluster.nodes.len()))?;
    } else {
        for problem in &cluster.problems {
            output::line(problem)?;
        }
    }
    Ok(())
}

/// A value, or a dash.
pub(crate) fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Ids separated by commas.
pub(crate) fn join(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// Why a text is no topology.
#[cfg(test)]
pub(crate) fn not_a_topology(text: &str) -> Option<String> {
    topology::Topology::parse(text).err().map(|error| error.to_string())
}
