//! The partitions of the shards this node leads: as the image says, no more, no less.
//!
//! The image may be behind: a partition that has moved on would begin again, empty; closing removes
//! data; going on with what is to move could be wrong. Before any of it, the metadata group itself
//! confirms what is so, and only the leader proposes it: nothing is forwarded, to come late.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use quipu_metadata::Image;
use quipu_runtime::Deadline;
use quipu_shard::{PartitionControl, Shard};

use crate::{Broker, long_poll};
use plan::Plan;
pub(crate) use plan::config;

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
    // Taken first: what is decided below holds for what was here before the question.
    let hosted = shard.hosted();
    let mut plan = Plan::make(image, id, &hosted);
    if plan.must_be_confirmed() {
        let deadline = Deadline::after(broker.clock(), COMMAND_WAIT);
        let is_confirmed = broker.confirm_image(deadline).await;
        let confirmed = Plan::make(&broker.image(), id, &hosted);
        plan = if is_confirmed { confirmed } else { plan.without_what_must_be_confirmed() };
    }
    let commands = plan.commands();
    let done = carry_out(broker, shard, commands).await;
    if !done.is_empty() {
        tracing::info!(shard = %id, commands = done.len(), "brought partitions in line");
    }
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
                let outcome = shard.control_as_leader(command.clone(), deadline).await;
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
