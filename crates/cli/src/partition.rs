//! `quipu partition`: moves partitions by hand.

use std::collections::BTreeMap;

use quipu_client::ShardId;

use crate::args::{Global, PartitionVerb};
use crate::{connect, waiting};

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: PartitionVerb) -> anyhow::Result<()> {
    connect::block_on(async {
        let admin = connect::client(global).await?.admin();
        match verb {
            PartitionVerb::Move { topic, partitions, to, no_wait } => {
                let to = ShardId::new(to);
                let to: BTreeMap<u32, ShardId> =
                    partitions.into_iter().map(|index| (index, to)).collect();
                admin.move_partitions(&topic, &to).await?;
                if no_wait { Ok(()) } else { waiting::for_partitions(&admin, &topic).await }
            }
        }
    })
}
