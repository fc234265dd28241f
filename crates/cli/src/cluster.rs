//! `quipu cluster`: what the cluster looks like, and whether all is well.

use crate::args::{ClusterVerb, Format, Global};
use crate::exit::{FAILED, Failure};
use crate::{connect, output};
use quipu_client::ClusterDescription;

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: ClusterVerb) -> anyhow::Result<()> {
    let cluster = connect::block_on(async {
        Ok(connect::client(global).await?.admin().describe_cluster().await?)
    })?;
    match verb {
        ClusterVerb::Info => info(global, &cluster),
        ClusterVerb::Health => health(global, &cluster),
    }
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
        vec![
            node.node_id.to_string(),
            state.to_owned(),
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
            join(&shard.replicas),
            shard.partitions.to_string(),
            optional(shard.committed_index),
            optional(shard.applied_index),
        ]
    });
    let header = ["shard", "leader", "term", "replicas", "partitions", "committed", "applied"];
    output::table(&header, shards)
}

fn health(global: &Global, cluster: &ClusterDescription) -> anyhow::Result<()> {
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
    if cluster.is_healthy {
        return Ok(());
    }
    let count = cluster.problems.len();
    Err(Failure::with_code(FAILED, format!("the cluster is not healthy: {count} problem(s)")))
}

/// A value, or a dash.
pub(crate) fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Ids separated by commas.
pub(crate) fn join(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}
