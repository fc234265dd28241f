//! Follows a group's core: its standing for watchers, its death for the node.

use std::sync::Arc;

use openraft::RaftMetrics;
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal as RaftFatal;
use openraft::metrics::{RaftDataMetrics, RaftServerMetrics};
use quipu_runtime::Fatal;

use super::Group;
use crate::peers::Peers;
use crate::status::{self, GroupStatus, Role};
use crate::type_config::TypeConfig;

/// Runs until the core ends. A core that ends by itself ends the node: a live process with a dead
/// group is worse than a restart.
pub(crate) async fn supervise(group: Group, peers: Arc<Peers>, fatal: Fatal) {
    let raft = group.raft();
    let mut reports = Reports::new(raft.server_metrics(), raft.data_metrics(), raft.metrics());
    loop {
        let metrics = reports.take();
        if let Some(end) = ended(&metrics) {
            return report(&group, &fatal, &end);
        }
        let is_rising = publish(&group, &metrics, &peers);
        if !reports.changed(&metrics, is_rising).await {
            let end = ended(&reports.take()).unwrap_or_else(|| "the core panicked".to_owned());
            return report(&group, &fatal, &end);
        }
    }
}

/// What openraft reports of one group, in three channels.
///
/// The parts tell news of the standing from what changes with every entry; the whole has all that
/// a standing is made of. openraft sends the whole last, so it may not be there yet when a part
/// wakes its reader: who took the old one for the news would miss it, and the group would seem
/// without a leader until the next.
struct Reports {
    server: WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>,
    data: WatchReceiverOf<TypeConfig, RaftDataMetrics<TypeConfig>>,
    whole: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
}

impl Reports {
    const fn new(
        server: WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>,
        data: WatchReceiverOf<TypeConfig, RaftDataMetrics<TypeConfig>>,
        whole: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    ) -> Self {
        Self { server, data, whole }
    }

    /// The newest whole.
    fn take(&mut self) -> RaftMetrics<TypeConfig> {
        self.server.borrow_and_update();
        self.data.borrow_and_update();
        self.whole.borrow_and_update().clone()
    }

    /// Waits for news after `taken`: of the standing, and of what is applied while the replica
    /// leads but is not ready. False: the core is gone.
    async fn changed(&mut self, taken: &RaftMetrics<TypeConfig>, is_rising: bool) -> bool {
        let is_behind = self.is_behind(taken, is_rising);
        let changed = tokio::select! {
            biased;
            changed = self.server.changed() => changed,
            changed = self.data.changed(), if is_rising => changed,
            changed = self.whole.changed(), if is_behind => changed,
        };
        changed.is_ok()
    }

    /// Whether the parts say what the whole did not yet.
    fn is_behind(&self, whole: &RaftMetrics<TypeConfig>, is_rising: bool) -> bool {
        let server = self.server.borrow_watched();
        let is_standing_old = server.state != whole.state
            || server.vote != whole.vote
            || server.current_leader != whole.current_leader
            || server.membership_config != whole.membership_config;
        is_standing_old
            || is_rising && self.data.borrow_watched().last_applied != whole.last_applied
    }
}

fn ended(metrics: &RaftMetrics<TypeConfig>) -> Option<String> {
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
fn publish(group: &Group, metrics: &RaftMetrics<TypeConfig>, peers: &Arc<Peers>) -> bool {
    let now = status::status(metrics);
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
        let members = group.members();
        members.iter().for_each(|member| drop(peers.keep(member.node)));
        let newcomers = members.iter().filter(|member| !member.is_voter);
        peers.set_newcomers(group.shard(), newcomers.map(|member| member.replica));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use openraft::ServerState;
    use openraft::async_runtime::watch::WatchSender;
    use openraft::type_config::TypeConfigExt;

    use super::*;
    use crate::type_config::{RaftVote, log_id};
    use quipu_types::{EntryId, LogIndex, Term};

    /// Reports as a core sends them, in its order: data, server, whole.
    #[tokio::test]
    async fn news_whose_whole_is_late_are_not_missed() {
        let whole = RaftMetrics::<TypeConfig>::new_initial(1);
        let first = RaftServerMetrics {
            id: whole.id,
            vote: whole.vote,
            state: whole.state,
            current_leader: whole.current_leader,
            membership_config: whole.membership_config.clone(),
            committed_membership_config: whole.committed_membership_config.clone(),
        };
        let (send_server, server) = TypeConfig::watch_channel(first.clone());
        let (send_data, data) = TypeConfig::watch_channel(RaftDataMetrics::default());
        let (send_whole, received) = TypeConfig::watch_channel(whole.clone());
        let mut reports = Reports::new(server, data, received);
        let taken = reports.take();
        assert!(reports.changed(&taken, false).now_or_never().is_none(), "nothing new");

        let vote = RaftVote::new_committed(1, 1);
        let leads = (ServerState::Leader, Some(1));
        let server = RaftServerMetrics { vote, state: leads.0, current_leader: leads.1, ..first };
        send_server.send(server).unwrap();
        assert_eq!(reports.changed(&taken, false).now_or_never(), Some(true));
        let taken = reports.take();
        assert_eq!(taken.state, whole.state, "the whole is late");
        assert!(reports.changed(&taken, false).now_or_never().is_none());
        let led = RaftMetrics { vote, state: leads.0, current_leader: leads.1, ..whole };
        send_whole.send(led.clone()).unwrap();
        assert_eq!(reports.changed(&taken, false).now_or_never(), Some(true), "a new leader");
        let taken = reports.take();
        assert_eq!(taken.state, ServerState::Leader);
        assert!(reports.changed(&taken, true).now_or_never().is_none());

        let applied = Some(log_id(EntryId::new(Term::new(1), LogIndex::new(1))));
        let data = RaftDataMetrics { last_applied: applied, ..RaftDataMetrics::default() };
        send_data.send(data).unwrap();
        assert_eq!(reports.changed(&taken, true).now_or_never(), Some(true));
        let taken = reports.take();
        assert_eq!(taken.last_applied, None, "the whole is late");
        assert!(reports.changed(&taken, true).now_or_never().is_none());
        send_whole.send(RaftMetrics { last_applied: applied, ..led }).unwrap();
        assert_eq!(reports.changed(&taken, true).now_or_never(), Some(true), "it is ready");
        assert_eq!(reports.take().last_applied, applied);
        // Applied entries of a settled leader wake nobody.
        let taken = reports.take();
        send_data.send(RaftDataMetrics::default()).unwrap();
        assert!(reports.changed(&taken, false).now_or_never().is_none());
    }
}
