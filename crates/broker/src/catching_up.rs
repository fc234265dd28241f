//! Whether this node has caught up since it started: until then it counts for nothing where another
//! is about to be stopped, so a probe must not call it ready.
//!
//! The goal is what each leader had applied when it was first asked. What comes later is everyday
//! replication, and shards that are opened later are no part of the start.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quipu_runtime::Deadline;
use quipu_shard::Shard;
use quipu_types::{LogIndex, ShardId};

use crate::{Broker, calls};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a shard may be without a leader before there is nobody to catch up with.
const LEADER_WAIT: Duration = Duration::from_secs(10);
/// How long a leader may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// How far the start's catching up has come.
#[derive(Debug, Default)]
pub(crate) struct CatchingUp(Mutex<Stage>);

#[derive(Debug, Default)]
enum Stage {
    /// Leaders are being asked.
    #[default]
    Asking,
    /// Entries that shards are behind their goal.
    Behind(BTreeMap<ShardId, u64>),
    Done,
}

impl CatchingUp {
    /// What is left to do, one sentence each.
    pub(crate) fn problems(&self) -> Vec<String> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Stage::Asking => vec!["this node asks how far its shards' leaders are".to_owned()],
            Stage::Behind(shards) => {
                let sentence = |(shard, entries): (&ShardId, &u64)| {
                    format!("shard {shard} is {entries} entries behind where its leader was")
                };
                shards.iter().map(sentence).collect()
            }
            Stage::Done => Vec::new(),
        }
    }

    fn set(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}

/// Follows the shards that are open after the start until each has caught up.
pub(crate) async fn run(broker: Broker) {
    while !broker.started_problems().is_empty() {
        tokio::time::sleep(PAUSE).await;
    }
    let mut goals = Vec::new();
    for shard in broker.inner.shards.all() {
        if let Some(goal) = goal(&broker, &shard).await {
            goals.push((shard, goal));
        }
    }
    loop {
        let left =
            goals.iter().filter_map(|(shard, goal)| Some((shard.id(), behind(shard, *goal)?)));
        let left: BTreeMap<_, _> = left.collect();
        if left.is_empty() {
            return broker.inner.catching_up.set(Stage::Done);
        }
        broker.inner.catching_up.set(Stage::Behind(left));
        tokio::time::sleep(PAUSE).await;
    }
}

/// How far its leader is; none if this node leads it, or nobody does.
async fn goal(broker: &Broker, shard: &Shard) -> Option<LogIndex> {
    let deadline = Deadline::after(broker.clock(), LEADER_WAIT);
    while !shard.is_ready_leader() && !deadline.is_past(broker.clock()) {
        if let Some(node) = broker.leader_elsewhere(shard.id()) {
            let question = Bytes::copy_from_slice(&shard.id().get().to_be_bytes());
            let patience = Deadline::after(broker.clock(), ANSWER_WAIT);
            let consensus = &broker.inner.consensus;
            let answer = consensus.call(node, calls::SHARD_APPLIED, question, patience).await;
            let index = answer
                .ok()
                .and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
            if let Some(index) = index {
                return Some(LogIndex::new(index));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

/// Entries to go; none once it is there, leads, or is closed.
fn behind(shard: &Shard, goal: LogIndex) -> Option<u64> {
    let applied = shard.group().positions().applied.map_or(0, |entry| entry.index.get());
    let is_closed = shard.group().status().borrow().role == quipu_consensus::Role::Stopped;
    let left = goal.get().saturating_sub(applied);
    (left > 0 && !shard.is_ready_leader() && !is_closed).then_some(left)
}

impl Broker {
    /// How far this node has applied a shard that it leads.
    pub(crate) fn answer_applied(&self, payload: &[u8]) -> Result<Bytes, String> {
        let shard = payload.try_into().map(u32::from_be_bytes);
        let shard = shard.map_err(|_| "payload is not a shard")?;
        let shard = self.led_shard(ShardId::new(shard)).map_err(|error| error.to_string())?;
        let applied = shard.group().positions().applied.map_or(0, |entry| entry.index.get());
        Ok(Bytes::copy_from_slice(&applied.to_be_bytes()))
    }
}
