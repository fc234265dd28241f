//! The partitions of the shards this node leads: as the image says, no more, no less.
//!
//! Opening is harmless, should the image be behind. Closing removes data: before it, the metadata
//! group itself confirms that the topic is gone.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use quipu_metadata::Image;
use quipu_runtime::Deadline;
use quipu_shard::{PartitionControl, Shard};
use quipu_types::{PartitionId, ShardId};

use crate::{Broker, long_poll};
use plan::Plan;

/// Looks again this often, for commands that failed and topics that could not be confirmed gone.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a command may take.
const COMMAND_WAIT: Duration = Duration::from_secs(10);
/// Commands on their way at once: they share bundles.
const COMMANDS_MAX: usize = 512;

/// Follows images and the shard's leadership until cancelled: one task per shard, so that one that
/// lost its quorum keeps no other waiting.
pub(crate) async fn run(broker: Broker, shard: Shard) {
    let mut images = broker.inner.metadata.watch();
    let mut standing = [shard.group().status()];
    loop {
        standing[0].borrow_and_update();
        let image = Arc::clone(&images.borrow_and_update());
        if shard.is_ready_leader() {
            pass(&broker, &image, &shard).await;
        }
        let clock = broker.clock();
        let deadline = Deadline::after(clock, INTERVAL);
        long_poll::wait(std::iter::once(&mut images), &mut standing, clock, deadline).await;
    }
}

/// Brings one shard in line.
async fn pass(broker: &Broker, image: &Image, shard: &Shard) {
    let id = shard.id();
    let plan = Plan::make(image, id, &shard.configs());
    let closing = if plan.close.is_empty() {
        Vec::new()
    } else {
        confirmed_gone(broker, id, plan.close).await
    };
    let opens = plan.open.into_iter().map(|(partition, config)| PartitionControl::Open {
        partition,
        epoch_base: 0,
        config,
    });
    let closes = closing.into_iter().map(|partition| PartitionControl::Close { partition });
    let commands: Vec<PartitionControl> = opens.chain(closes).collect();
    let done = carry_out(broker, shard, commands).await;
    if !done.is_empty() {
        tracing::info!(shard = %id, commands = done.len(), "brought partitions in line");
    }
}

/// Those that the metadata group, asked now, does not place on the shard.
async fn confirmed_gone(
    broker: &Broker,
    shard: ShardId,
    candidates: Vec<PartitionId>,
) -> Vec<PartitionId> {
    let deadline = Deadline::after(broker.clock(), COMMAND_WAIT);
    if !broker.confirm_image(deadline).await {
        return Vec::new();
    }
    let image = broker.image();
    let is_gone = |partition: &PartitionId| image.shard_of(*partition) != Some(shard);
    candidates.into_iter().filter(is_gone).collect()
}

/// Sends commands, many at a time; returns those that were applied.
pub(crate) async fn carry_out(
    broker: &Broker,
    shard: &Shard,
    commands: Vec<PartitionControl>,
) -> Vec<PartitionControl> {
    let deadline = Deadline::after(broker.clock(), COMMAND_WAIT);
    let mut commands = commands.into_iter().peekable();
    let mut under_way = FuturesUnordered::new();
    let mut done = Vec::new();
    let mut failures = 0_usize;
    loop {
        while under_way.len() < COMMANDS_MAX && commands.peek().is_some() && failures == 0 {
            let Some(command) = commands.next() else { break };
            under_way.push(async move {
                let outcome = shard.control(command.clone(), deadline).await;
                (command, outcome)
            });
        }
        let Some((command, outcome)) = under_way.next().await else { break };
        match outcome {
            Ok(_) => done.push(command),
            Err(error) => {
                failures += 1;
                tracing::debug!(shard = %shard.id(), %error, "a partition command failed; again soon");
            }
        }
    }
    done
}
