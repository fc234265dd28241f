//! Follows a group's core: its standing for watchers, its death for the node.

use std::sync::Arc;

use openraft::RaftMetrics;
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal as RaftFatal;
use quipu_runtime::Fatal;

use super::Group;
use crate::peers::Peers;
use crate::status::{self, GroupStatus, Role};
use crate::type_config::TypeConfig;

/// openraft's metrics of one group.
type Metrics = WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>;

/// Runs until the core ends. A core that ends by itself ends the node: a live process with a dead
/// group is worse than a restart.
pub(crate) async fn supervise(group: Group, peers: Arc<Peers>, fatal: Fatal) {
    let mut server = group.raft().server_metrics();
    let mut data = group.raft().data_metrics();
    let metrics = group.raft().metrics();
    loop {
        server.borrow_and_update();
        data.borrow_and_update();
        if let Some(end) = ended(&metrics) {
            return report(&group, &fatal, &end);
        }
        let is_rising = publish(&group, &metrics, &peers);
        let changed = tokio::select! {
            biased;
            changed = server.changed() => changed,
            changed = data.changed(), if is_rising => changed,
        };
        if changed.is_err() {
            let end = ended(&metrics).unwrap_or_else(|| "the core panicked".to_owned());
            return report(&group, &fatal, &end);
        }
    }
}

fn ended(metrics: &Metrics) -> Option<String> {
    let metrics = metrics.borrow_watched();
    match &metrics.running_state {
        Ok(()) => None,
        Err(RaftFatal::Stopped) => Some("stopped".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

fn report(group: &Group, fatal: &Fatal, end: &str) {
    let was_asked = group.inner.status.borrow().role == Role::Stopped;
    group.inner.status.send_if_modified(|status| {
        let changes = status.role != Role::Stopped;
        status.role = Role::Stopped;
        changes
    });
    if !was_asked {
        fatal.stop_node(format!("raft of shard {} ended: {end}", group.shard()));
    }
}

/// Publishes the standing; says whether this replica leads but is not ready.
fn publish(group: &Group, metrics: &Metrics, peers: &Arc<Peers>) -> bool {
    let now = status::status(&metrics.borrow_watched());
    keep_connected(group, &now, peers);
    let is_rising = now.role == Role::Leader { is_ready: false };
    let mut has_new_leader = false;
    group.inner.status.send_if_modified(|before| {
        if before.role == Role::Stopped {
            return false;
        }
        let changes = !before.is_same_standing(&now);
        has_new_leader = changes && now.leader.is_some() && now.leader != before.leader;
        let leads = matches!(now.role, Role::Leader { .. });
        if has_new_leader || leads && now.term != before.term {
            tracing::info!(
                shard = %group.shard(),
                term = %now.term,
                leader = now.leader.map(|(replica, _)| replica.get()),
                node = now.leader.map(|(_, node)| node.get()),
                "shard has a leader"
            );
        }
        *before = now;
        changes
    });
    if has_new_leader {
        group.inner.metrics.leadership_changes.increment(1);
        peers.beat_now();
    }
    is_rising
}

/// Members hear each other, not only their leader: to judge who is dead.
fn keep_connected(group: &Group, now: &GroupStatus, peers: &Arc<Peers>) {
    if now.members_since != group.inner.status.borrow().members_since {
        group.members().iter().for_each(|member| drop(peers.keep(member.node)));
    }
}
