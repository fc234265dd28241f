//! The task that makes what was applied durable, so that the journal can be purged.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_runtime::{Clock, OnExit, TaskGroup};
use quipu_types::ShardId;

use crate::bundler::count_f64;
use crate::{Shard, Shards};

/// How often the shards are looked at: at full disk speed little more than the bound is applied
/// in between.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// When a shard is checkpointed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// As soon as more than this was applied since the last one: bounds the journal's size and
    /// the time a restart takes. Unit: bytes. Default 64 MiB, one journal file.
    pub journal_bytes_max: u64,
    /// At the latest this long after something was applied. Default 60 s.
    pub interval: Duration,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { journal_bytes_max: 64 << 20, interval: Duration::from_secs(60) }
    }
}

/// Starts the checkpointer of a node: one shard at a time, the deepest in debt first, so that the
/// disk serves the journal meanwhile.
pub fn spawn_checkpointer(
    config: CheckpointConfig,
    shards: Shards,
    clock: Clock,
    tasks: &TaskGroup,
) {
    let checkpointer = Checkpointer { config, shards, clock, last: BTreeMap::new() };
    tasks.spawn("checkpointer", OnExit::StopNode, checkpointer.run());
}

struct Checkpointer {
    config: CheckpointConfig,
    shards: Shards,
    clock: Clock,
    /// When each shard was last checkpointed, or first seen.
    last: BTreeMap<ShardId, Duration>,
}

impl Checkpointer {
    async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let mut due = self.due();
            due.sort_by_key(|shard| std::cmp::Reverse(shard.debt_bytes()));
            for shard in due {
                self.last.insert(shard.id(), self.clock.monotonic());
                checkpoint(&shard, &self.clock).await;
            }
        }
    }

    fn due(&mut self) -> Vec<Shard> {
        let now = self.clock.monotonic();
        let mut due = self.shards.all();
        due.retain(|shard| {
            let last = *self.last.entry(shard.id()).or_insert(now);
            is_due(&self.config, shard.debt_bytes(), shard.is_dirty(), now.saturating_sub(last))
        });
        due
    }
}

fn is_due(config: &CheckpointConfig, debt: u64, is_dirty: bool, age: Duration) -> bool {
    is_dirty && (debt > config.journal_bytes_max || age >= config.interval)
}

async fn checkpoint(shard: &Shard, clock: &Clock) {
    let started = clock.monotonic();
    let debt = shard.debt_bytes();
    match shard.group().checkpoint().await {
        Ok(upto) => {
            let took = clock.monotonic().saturating_sub(started);
            shard.metrics().checkpoint_seconds.record(took.as_secs_f64());
            let upto = upto.map(|index| index.get());
            tracing::debug!(shard = %shard.id(), upto, debt, ?took, "checkpoint is durable");
        }
        // A failed write has already ended the node; what is left is a group that stops.
        Err(error) => {
            tracing::warn!(shard = %shard.id(), %error, "checkpoint was not made");
        }
    }
    let left = usize::try_from(shard.debt_bytes()).unwrap_or(usize::MAX);
    shard.metrics().checkpoint_debt.set(count_f64(left));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_due_by_bytes_or_by_age_but_never_when_clean() {
        let config = CheckpointConfig::default();
        let minute = Duration::from_secs(60);
        assert!(is_due(&config, (64 << 20) + 1, true, Duration::ZERO));
        assert!(!is_due(&config, 64 << 20, true, Duration::from_secs(59)));
        assert!(is_due(&config, 1, true, minute));
        assert!(!is_due(&config, 0, false, minute * 100));
    }
}
