//! `quipu shard`: moves shards by hand.

use quipu_client::{NodeId, ShardId};

use crate::args::{Global, ShardVerb};
use crate::{connect, output, waiting};

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: ShardVerb) -> anyhow::Result<()> {
    connect::block_on(async {
        let admin = connect::client(global).await?.admin();
        match verb {
            ShardVerb::Move { shard, to, no_wait } => {
                let to: Vec<NodeId> = to.into_iter().map(NodeId::new).collect();
                admin.move_replicas(ShardId::new(shard), &to).await?;
                if no_wait { Ok(()) } else { waiting::for_moves(&admin).await }
            }
            ShardVerb::Lead { shard, by } => {
                admin.transfer_leader(ShardId::new(shard), NodeId::new(by)).await?;
                output::note(&format!("node {by} leads shard {shard}"));
                Ok(())
            }
        }
    })
}
