//! When a rebuild is over.

use std::sync::Arc;
use std::time::Duration;

use quipu_consensus::{Consensus, Member};
use quipu_types::{NodeId, ShardId};

use crate::handle::Metadata;
use crate::image::Image;
use crate::metrics;

/// Looks again this often, for what no image announces: the members of the metadata group.
const INTERVAL: Duration = Duration::from_secs(1);

/// Replicas of a node that are still to take the place of those it lost; that of the metadata group
/// is one, with the members as they are.
pub(crate) fn replicas_left(image: &Image, members: &[Member], node: NodeId) -> usize {
    if image.nodes.get(&node).is_none_or(|record| record.rebuilt.is_none()) {
        return 0;
    }
    let shards = image.shards.values().filter(|record| record.is_rebuilt_on(node)).count();
    shards + usize::from(has_lost_member(image, members, node))
}

/// Whether the metadata group has a member on a node that is gone, or lacks the one it has now.
fn has_lost_member(image: &Image, members: &[Member], node: NodeId) -> bool {
    let replica = image.metadata_replica(node);
    let mut there = members.iter().filter(|member| member.node == node).peekable();
    !members.is_empty()
        && replica.is_some()
        && (there.peek().is_none() || there.any(|member| Some(member.replica) != replica))
}

/// Tells how far the rebuild of this node has come, until cancelled.
pub(crate) async fn watch(node: NodeId, metadata: Metadata, consensus: Arc<Consensus>) {
    let mut images = metadata.watch();
    let mut was_left = 0;
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        let group = consensus.group(ShardId::METADATA);
        let members = group.map(|group| group.members()).unwrap_or_default();
        let left = replicas_left(&image, &members, node);
        metrics::rebuilding(left);
        match (was_left, left) {
            (0, 1..) => tracing::info!(replicas = left, "this node is being rebuilt"),
            (1.., 0) => tracing::info!("this node is rebuilt: it holds all its replicas again"),
            _ => {}
        }
        was_left = left;
        tokio::select! {
            Ok(()) = images.changed() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
