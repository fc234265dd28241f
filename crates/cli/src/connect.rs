//! The way to a cluster.

use std::future::Future;

use anyhow::{Context, bail, ensure};
use quipu_client::{Client, NodeId};

use crate::args::Global;
use crate::context;

/// Runs a verb's asynchronous part on a small runtime.
///
/// # Errors
/// When the runtime cannot be made, or the part fails.
pub(crate) fn block_on<T>(part: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(part)
}

/// Connects to the cluster the flags, the environment or the context name.
///
/// # Errors
/// When no address answers: every one is named with its reason.
pub(crate) async fn client(global: &Global) -> anyhow::Result<Client> {
    to(&context::servers(global)?).await
}

/// Connects to the cluster at these addresses.
///
/// # Errors
/// As [`client`].
pub(crate) async fn to(servers: &str) -> anyhow::Result<Client> {
    Ok(Client::builder(servers).service("quipu-cli").connect().await?)
}

/// Whether the cluster at these addresses calls itself healthy, and each of these nodes knows and
/// hears all of them.
///
/// # Errors
/// Its problems, or why it cannot be asked.
pub(crate) async fn healthy(servers: &str, nodes: &[u64]) -> anyhow::Result<()> {
    let client = to(servers).await?;
    let removed = client.admin().describe_cluster().await?.removed_nodes;
    let nodes = || nodes.iter().copied().filter(|node| !removed.contains(node));
    for node in nodes() {
        let cluster = client.admin().describe_cluster_at(NodeId::new(node)).await?;
        ensure!(cluster.is_healthy, "{}", cluster.problems.join("; "));
        let hears =
            |other: &u64| cluster.nodes.iter().any(|it| it.node_id == *other && it.is_alive);
        if let Some(other) = nodes().find(|other| !hears(other)) {
            bail!("node {node} does not hear node {other} yet");
        }
    }
    Ok(())
}
