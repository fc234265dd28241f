//! A command's way through the group, and reads that see everything before them.

use std::future::Future;

use bytes::Bytes;
use futures::FutureExt;
use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::raft::ClientWriteResult;
use quipu_runtime::Deadline;
use quipu_types::{EntryId, NodeId, limits};
use tokio::sync::oneshot;

use super::Group;
use crate::error::{ProposeError, ReadIndexError};
use crate::state_machine::Reply;
use crate::status::Leadership;
use crate::type_config::{Command, FlushHook, LeaderOfTerm, QuietResponder, TypeConfig, entry_id};

/// The largest command: one batch at its bound, or one bundle, with room for their frames.
pub const COMMAND_BYTES_MAX: usize = limits::BATCH_BYTES_MAX + limits::BUNDLE_BYTES_MAX;

/// A command that was committed and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Its entry.
    pub id: EntryId,
    /// What the state machine answered.
    pub reply: Reply,
}

impl Group {
    /// Proposes a command; resolves once it is committed and applied here.
    ///
    /// - Order: commands are ordered by their calls, even before the futures are polled.
    /// - `on_flushed` is called when this node's own journal holds the entry, which is neither
    ///   before nor after the commit; never, if the proposal fails before.
    /// - Dropping the future does not take the proposal back.
    ///
    /// # Errors
    /// `NotLeader` and `TooLarge` have no effect; `LeadershipLost` and `Stopped`: unknown.
    pub fn propose(
        &self,
        leadership: Leadership,
        command: Bytes,
        on_flushed: Option<FlushHook>,
    ) -> impl Future<Output = Result<Proposed, ProposeError>> + Send + 'static {
        let started = self.inner.peers.clock().monotonic();
        let handed_over = self.hand_over(leadership, &command, on_flushed);
        let group = self.clone();
        async move {
            let answer = handed_over?;
            let result = group.proposed(answer.await);
            if result.is_ok() {
                let took = group.inner.peers.clock().monotonic().saturating_sub(started);
                group.inner.metrics.commit_seconds.record(took.as_secs_f64());
            }
            result
        }
    }

    /// Gives the command to Raft before it returns.
    fn hand_over(
        &self,
        leadership: Leadership,
        command: &Bytes,
        on_flushed: Option<FlushHook>,
    ) -> Result<oneshot::Receiver<ClientWriteResult<TypeConfig>>, ProposeError> {
        assert_eq!(leadership.shard(), self.inner.shard, "the witness is of another shard");
        if command.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: command.len(), max: COMMAND_BYTES_MAX });
        }
        let (responder, answer) = QuietResponder::pair();
        let write = self
            .inner
            .raft
            .write(Command::propose(command, on_flushed))
            .with_leader(LeaderOfTerm::new(leadership.term().get()))
            .responder(responder);
        // The queue has room for far more than may be in flight, so one poll hands it over.
        // Unconstrained: tokio's cooperation budget must not turn that poll away.
        match tokio::task::unconstrained(write.into_future()).now_or_never() {
            Some(Ok(())) => Ok(answer),
            Some(Err(_)) => Err(ProposeError::Stopped),
            None => Err(ProposeError::NotLeader { leader: None }),
        }
    }

    fn proposed(
        &self,
        answer: Result<ClientWriteResult<TypeConfig>, oneshot::error::RecvError>,
    ) -> Result<Proposed, ProposeError> {
        match answer {
            Ok(Ok(written)) => Ok(Proposed { id: entry_id(&written.log_id), reply: written.data }),
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader { leader: self.forwarded(&forward) })
            }
            Ok(Err(ClientWriteError::LogEntryDiscarded(_))) => Err(ProposeError::LeadershipLost),
            Ok(Err(
                ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            )) => unreachable!("a command changes no members and has no precondition"),
            // Dropped unanswered: the core is gone, or will be.
            Err(_) => Err(ProposeError::LeadershipLost),
        }
    }

    /// The other node that a refusal names, if any: a leader that gives its place up names itself.
    pub(super) fn forwarded(&self, forward: &ForwardToLeader<TypeConfig>) -> Option<NodeId> {
        let own = self.inner.peers.node();
        forward.leader_node.map(|place| place.node).filter(|node| *node != own)
    }

    /// Proposes as whoever leads now, within a deadline: for forwarded commands.
    pub(crate) async fn propose_now(
        &self,
        command: Bytes,
        deadline: Deadline,
    ) -> Result<Reply, ProposeError> {
        let Some(leadership) = self.leadership() else {
            return Err(ProposeError::NotLeader { leader: self.other_leader() });
        };
        let proposed = self.propose(leadership, command, None);
        match deadline.timeout(self.inner.peers.clock(), proposed).await {
            Ok(result) => result.map(|proposed| proposed.reply),
            Err(_) => Err(ProposeError::Deadline),
        }
    }

    /// Confirms with a quorum that this replica leads, and waits until everything committed before
    /// the call is applied here: a read of the state machine afterwards is linearizable.
    ///
    /// # Errors
    /// Without effect, all of them.
    pub async fn ensure_linearizable(&self, deadline: Deadline) -> Result<(), ReadIndexError> {
        if quipu_failpoint::is_planted("plant.read.without-quorum") {
            return Ok(());
        }
        self.confirmed_leader(deadline).await.map(drop)
    }

    /// Confirms with a quorum that this replica leads in the term of the witness: nobody was chosen
    /// in a later one before the call.
    ///
    /// # Errors
    /// Without effect, all of them.
    pub async fn confirm_leadership(
        &self,
        leadership: Leadership,
        deadline: Deadline,
    ) -> Result<(), ReadIndexError> {
        assert_eq!(leadership.shard(), self.inner.shard, "the witness is of another shard");
        let leader = self.confirmed_leader(deadline).await?;
        if leader == LeaderOfTerm::new(leadership.term().get()) {
            Ok(())
        } else {
            Err(ReadIndexError::NotLeader { leader: None })
        }
    }

    /// Says in which term a quorum confirmed that this replica leads.
    async fn confirmed_leader(&self, deadline: Deadline) -> Result<LeaderOfTerm, ReadIndexError> {
        let clock = self.inner.peers.clock();
        let read = async {
            let linearizer = self.inner.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
            let linearizer = linearizer.map_err(|error| self.unread(&error))?;
            let ready = linearizer.await_ready(&self.inner.raft).await;
            let ready = ready.map_err(|_| ReadIndexError::Stopped)?;
            Ok(*ready.read_log_id().committed_leader_id())
        };
        deadline.timeout(clock, read).await.unwrap_or(Err(ReadIndexError::Deadline))
    }

    fn unread(
        &self,
        error: &RaftError<TypeConfig, LinearizableReadError<TypeConfig>>,
    ) -> ReadIndexError {
        match error {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) => {
                ReadIndexError::NotLeader { leader: self.forwarded(to) }
            }
            RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => {
                ReadIndexError::NoQuorum
            }
            RaftError::Fatal(_) => ReadIndexError::Stopped,
        }
    }
}
