//! One append as its caller sees it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use quipu_partition::AppendRefused;
use quipu_runtime::{Clock, Deadline};
use quipu_types::record::ValidatedBatch;
use quipu_types::{Acks, Effect, NodeId, Offset, PartitionId, Retry, TimestampMs};
use tokio::sync::oneshot;

/// Pause before a retry that waits for an election or a partition to open.
const RETRY_SOON: Duration = Duration::from_millis(20);
/// Pause before a retry that waits for a node to come back or a queue to drain.
const RETRY_LATER: Duration = Duration::from_millis(250);

/// A batch on its way into a partition.
#[derive(Clone, Debug)]
pub struct AppendRequest {
    /// Where to.
    pub partition: PartitionId,
    /// What. Log-append time is already set by the caller.
    pub batch: ValidatedBatch,
    /// When the caller wants to hear of it.
    pub acks: Acks,
    /// With [`Acks::Quorum`]: replicas that must have flushed it. Raises Raft's majority only.
    pub min_insync: u8,
    /// Bounds the wait, not the append.
    pub deadline: Deadline,
    /// When the request came, by the monotonic clock: its wait for room is part of its time.
    pub begun: Duration,
}

/// The batch is stored, as far as the acknowledgement level promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record; `None` while it is provisional (acks none and leader).
    pub base_offset: Option<Offset>,
    /// First offset the partition keeps.
    pub log_start: Offset,
    /// Whether this was a retry of a batch that was stored before.
    pub is_duplicate: bool,
    /// The time the leader wrote into the batch, if the topic asks for it.
    pub log_append_time: Option<TimestampMs>,
}

/// Why an append has no acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another node leads the shard, or nobody does at the moment. Not proposed.
    #[error("not the leader of the shard{}", leader_hint(*.leader))]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<NodeId>,
    },
    /// Leadership was lost after the append was proposed.
    #[error("leadership was lost while the append was under way")]
    LeadershipLost,
    /// Fewer replicas are alive than must have the batch. Not proposed.
    #[error("{live} replicas are alive, {required} are required")]
    NotEnoughReplicas {
        /// Replicas that answer.
        live: usize,
        /// Replicas that must have the batch on disk.
        required: usize,
    },
    /// The shard does not host the partition any more.
    #[error("the shard does not host the partition")]
    UnknownPartition,
    /// The shard does not host the partition yet. Not proposed.
    #[error("the partition is being opened")]
    PartitionNotReady,
    /// The batch is larger than any bundle may be.
    #[error("batch of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// Bytes of the batch.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The producer's sequence or epoch does not fit.
    #[error(transparent)]
    Refused(AppendRefused),
    /// The deadline passed; the append may still happen.
    #[error("the deadline passed before the append was acknowledged")]
    Deadline,
    /// The shard's queue is full. Not proposed.
    #[error("the shard's queue is full")]
    Overloaded,
    /// The node is shutting down. Not proposed.
    #[error("the node is shutting down")]
    Stopping,
}

fn leader_hint(leader: Option<NodeId>) -> String {
    leader.map_or_else(String::new, |node| format!(", node {node} is"))
}

impl AppendError {
    /// Whether the batch may be stored.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            // A duplicate too old to name is stored: a caller must not count it as lost.
            Self::LeadershipLost
            | Self::Deadline
            | Self::Refused(AppendRefused::DuplicateSequence) => Effect::Unknown,
            Self::NotLeader { .. }
            | Self::NotEnoughReplicas { .. }
            | Self::UnknownPartition
            | Self::PartitionNotReady
            | Self::TooLarge { .. }
            | Self::Refused(
                AppendRefused::OutOfOrderSequence { .. }
                | AppendRefused::ProducerFenced { .. }
                | AppendRefused::UnknownProducer,
            )
            | Self::Overloaded
            | Self::Stopping => Effect::None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::NotLeader { leader: Some(node) } => Retry::At(*node),
            Self::NotLeader { leader: None } | Self::LeadershipLost | Self::PartitionNotReady => {
                Retry::After(RETRY_SOON)
            }
            Self::NotEnoughReplicas { .. } | Self::Deadline | Self::Overloaded | Self::Stopping => {
                Retry::After(RETRY_LATER)
            }
            Self::UnknownPartition | Self::TooLarge { .. } | Self::Refused(_) => Retry::Never,
        }
    }
}

/// How a waiting append hears of its end.
pub(crate) type AppendAnswer = oneshot::Sender<Result<Appended, AppendError>>;

/// Resolves when the append is acknowledged as asked, or will not be.
///
/// Dropping it does not cancel the append.
pub struct AppendFuture(BoxFuture<'static, Result<Appended, AppendError>>);

impl AppendFuture {
    /// A future that has its answer.
    pub(crate) fn ready(answer: Result<Appended, AppendError>) -> Self {
        Self(Box::pin(std::future::ready(answer)))
    }

    /// A future that waits for the bundler's answer.
    pub(crate) fn waiting(
        answer: oneshot::Receiver<Result<Appended, AppendError>>,
        deadline: Deadline,
        clock: Clock,
    ) -> Self {
        Self(Box::pin(async move {
            match deadline.timeout(&clock, answer).await {
                Ok(Ok(answer)) => answer,
                // The bundler ended without an answer: the bundle may be on its way.
                Ok(Err(_)) => Err(AppendError::LeadershipLost),
                Err(_) => Err(AppendError::Deadline),
            }
        }))
    }
}

impl Future for AppendFuture {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl std::fmt::Debug for AppendFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppendFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::{ProducerEpoch, Sequence};

    use super::*;

    #[test]
    fn every_error_says_whether_it_may_have_happened_and_what_now() {
        let soon = Retry::After(RETRY_SOON);
        let later = Retry::After(RETRY_LATER);
        let node = NodeId::new(3);
        let out_of_order = AppendRefused::OutOfOrderSequence {
            expected: Sequence::new(1),
            found: Sequence::new(2),
        };
        let fenced = AppendRefused::ProducerFenced { current: ProducerEpoch::new(2) };
        let table = [
            (AppendError::NotLeader { leader: Some(node) }, Effect::None, Retry::At(node)),
            (AppendError::NotLeader { leader: None }, Effect::None, soon),
            (AppendError::LeadershipLost, Effect::Unknown, soon),
            (AppendError::NotEnoughReplicas { live: 1, required: 2 }, Effect::None, later),
            (AppendError::UnknownPartition, Effect::None, Retry::Never),
            (AppendError::PartitionNotReady, Effect::None, soon),
            (AppendError::TooLarge { bytes: 9, limit: 8 }, Effect::None, Retry::Never),
            (AppendError::Refused(out_of_order), Effect::None, Retry::Never),
            (AppendError::Refused(fenced), Effect::None, Retry::Never),
            (AppendError::Refused(AppendRefused::UnknownProducer), Effect::None, Retry::Never),
            (AppendError::Refused(AppendRefused::DuplicateSequence), Effect::Unknown, Retry::Never),
            (AppendError::Deadline, Effect::Unknown, later),
            (AppendError::Overloaded, Effect::None, later),
            (AppendError::Stopping, Effect::None, later),
        ];
        for (error, effect, retry) in table {
            assert_eq!((error.effect(), error.retry()), (effect, retry), "{error}");
        }
    }
}
