//! The start in reverse: stop accepting, hand leaderships over, stop groups, flush, close.

use std::time::Duration;

use quipu_runtime::TaskGroup;

use crate::service_manager;
use crate::startup::Node;

/// Handing one leadership over.
const TRANSFER_WAIT: Duration = Duration::from_secs(2);
/// Every task of the node.
const TASKS_WAIT: Duration = Duration::from_secs(10);

/// Stops the node. What it acknowledged is on disk already; this only makes it quick for others.
pub(crate) async fn stop(node: Node, tasks: &TaskGroup) -> anyhow::Result<()> {
    service_manager::stopping();
    node.listeners.cancel();
    tracing::info!("clients are no longer accepted");
    hand_over(&node).await;
    let Node { consensus, journal, checkpointing, .. } = node;
    checkpointing.cancel();
    consensus.shutdown().await;
    tracing::info!("groups are stopped");
    if !tasks.stop(TASKS_WAIT).await {
        tracing::warn!("some tasks did not end in time");
    }
    // Tasks that did not end keep the journal open; it is flushed all the same.
    let closing = std::sync::Arc::into_inner(journal);
    match closing {
        Some(journal) => tokio::task::spawn_blocking(|| journal.close()).await??,
        None => tracing::warn!("the journal is still in use; what it acknowledged is on disk"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Moves each leadership to the most advanced other voter.
async fn hand_over(node: &Node) {
    for group in node.consensus.groups() {
        if group.leadership().is_none() {
            continue;
        }
        let own = group.replica();
        let target = group
            .replication()
            .into_iter()
            .filter(|(replica, at, _)| *replica != own && node.consensus.is_alive(*at))
            .max_by_key(|(_, _, matched)| *matched);
        let Some((replica, to, _)) = target else { continue };
        let transfer = tokio::time::timeout(TRANSFER_WAIT, group.transfer_leadership(replica));
        match transfer.await {
            Ok(Ok(())) => tracing::info!(shard = %group.shard(), %to, "leadership handed over"),
            Ok(Err(error)) => tracing::warn!(shard = %group.shard(), %error, "not handed over"),
            Err(_) => tracing::warn!(shard = %group.shard(), "handing over took too long"),
        }
    }
}
