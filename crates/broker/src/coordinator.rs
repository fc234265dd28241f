//! Consumer groups, on the node that coordinates them: the leader of the shard that keeps a group.
//!
//! What is decided is replicated ([`quipu_coordinator`]); who was heard when is not: a new
//! coordinator grants everybody a whole session. One task per shard turns changes into commands
//! ([`worker`]), one looks after time ([`keeper`]), one measures lag ([`meter`]).

mod admin;
mod error;
mod keeper;
mod lag;
mod membership;
mod meter;
mod offsets;
mod session;
mod subscription;
mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use quipu_coordinator::GroupName;
use quipu_runtime::{OnExit, TaskGroup};
use quipu_shard::Shard;
use quipu_types::ShardId;
use tokio::sync::mpsc;

use crate::Broker;
use session::Sessions;
use worker::{CHANGES_MAX, Inbox};

pub use admin::{DescribedGroup, DescribedMember, DescribedPartition, GroupSummary};
pub use error::GroupError;
pub(crate) use meter::describe as describe_metrics;
pub use quipu_coordinator::{Assignment, Assignor, Refusal};

pub use membership::{Heartbeat, Held, JoinCommand, Leaving, Membership, Subscription};
pub use offsets::{CommitCommand, CommitPosition, StoredOffset};
pub use subscription::Wanted;

/// What a node keeps of the groups it coordinates.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    sessions: Sessions,
    inboxes: Mutex<BTreeMap<ShardId, Inbox>>,
    streams: AtomicU64,
}

impl Coordinator {
    fn inbox(&self, shard: ShardId) -> Option<Inbox> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }
}

/// Starts what looks after the groups of a shard; it ends with the shard's tasks.
pub(crate) fn start(broker: &Broker, shard: &Shard, tasks: &TaskGroup) {
    let (inbox, changes) = mpsc::channel(CHANGES_MAX);
    let coordinator = &broker.inner.coordinator;
    coordinator.inboxes.lock().unwrap_or_else(PoisonError::into_inner).insert(shard.id(), inbox);
    let work = worker::run(broker.clone(), shard.clone(), changes);
    tasks.spawn("group-changes", OnExit::StopNode, work);
    let keep = keeper::run(broker.clone(), shard.clone());
    tasks.spawn("group-keeper", OnExit::StopNode, keep);
    let measure = meter::run(broker.clone(), shard.clone());
    tasks.spawn("group-meter", OnExit::StopNode, measure);
}

/// Forgets a shard that this node does not host any more.
pub(crate) fn stop(broker: &Broker, shard: ShardId) {
    let inboxes = &broker.inner.coordinator.inboxes;
    inboxes.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard);
}

impl Broker {
    /// The group's shard, if this node coordinates it.
    fn coordinated(&self, group: &str) -> Result<(GroupName, Shard), GroupError> {
        let group = GroupName::new(group)?;
        let shard = self.image().coordinator_shard(group.as_str()).ok_or(GroupError::NotFormed)?;
        Ok((group, self.led_shard(shard)?))
    }
}
