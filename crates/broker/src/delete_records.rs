//! Removing the prefix of partitions on a user's word.

use quipu_consensus::CallError;
use quipu_runtime::Deadline;
use quipu_shard::{ControlError, ControlOutcome, PartitionControl, control_at};
use quipu_types::{
    Effect, ErrorCode, NodeId, Offset, PartitionId, PartitionIndex, Progress, Retry, ShardId,
};

use crate::error::{
    OperationError, RETRY_LATER, RETRY_SOON, RouteError, not_leader, not_leader_code,
    not_leader_fields, not_leader_retry,
};
use crate::list_offsets::ListOffsetsError;
use crate::metrics::DeletionReason;
use crate::route::Route;
use crate::topics::LookupError;
use crate::{Broker, calls};

/// Which prefix of which partition.
#[derive(Clone, Debug)]
pub struct DeleteRecordsTarget {
    /// The topic's name.
    pub topic: String,
    /// Which partition of it.
    pub partition: PartitionIndex,
    /// First offset to keep; `None`: everything up to the end goes.
    pub before: Option<Offset>,
}

/// Why a prefix was not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRecordsError {
    /// There is no such topic.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// There is no such partition, or its leader is not reached.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The offset is above the high watermark.
    #[error("offset {asked} is out of range: the partition has {log_start} up to {high_watermark}")]
    OffsetOutOfRange {
        /// The offset asked for.
        asked: Offset,
        /// First kept offset.
        log_start: Offset,
        /// First offset that is not readable yet.
        high_watermark: Offset,
    },
    /// This node leads, but a quorum did not confirm it.
    #[error(transparent)]
    Bounds(ListOffsetsError),
    /// The leader did not say how far the partition goes.
    #[error("ask node {node}, which leads the partition: {source}")]
    Call {
        /// The leader.
        node: NodeId,
        /// What went wrong.
        source: CallError,
    },
    /// The shard did not carry it out.
    #[error("{}", control_words(.0))]
    Control(ControlError),
}

fn control_words(error: &ControlError) -> String {
    if let ControlError::NotLeader { leader } = error {
        not_leader(*leader)
    } else {
        error.to_string()
    }
}

impl OperationError for DeleteRecordsError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Lookup(error) => error.code(),
            Self::Route(error) => error.code(),
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Bounds(error) => error.code(),
            Self::Call { source: CallError::Deadline, .. } => ErrorCode::DeadlineExceeded,
            Self::Call { .. } => ErrorCode::LeaderUnknown,
            Self::Control(ControlError::NotLeader { leader }) => not_leader_code(*leader),
            Self::Control(ControlError::LeadershipLost) => ErrorCode::LeadershipLost,
            Self::Control(ControlError::Deadline) => ErrorCode::DeadlineExceeded,
            Self::Control(ControlError::Overloaded) => ErrorCode::Overloaded,
            Self::Control(ControlError::Stopping) => ErrorCode::Stopping,
            Self::Control(ControlError::Reply) => ErrorCode::Internal,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Lookup(error) => error.effect(),
            Self::Route(error) => error.effect(),
            Self::Bounds(error) => error.effect(),
            // The leader was only asked, not told.
            Self::OffsetOutOfRange { .. } | Self::Call { .. } => Effect::None,
            Self::Control(error) => error.effect(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Lookup(error) => error.retry(),
            Self::Route(error) => error.retry(),
            Self::Bounds(error) => error.retry(),
            Self::OffsetOutOfRange { .. } => Retry::Never,
            Self::Call { .. } => Retry::After(RETRY_LATER),
            Self::Control(ControlError::NotLeader { leader }) => not_leader_retry(*leader),
            Self::Control(
                ControlError::LeadershipLost | ControlError::Deadline | ControlError::Reply,
            ) => Retry::After(RETRY_SOON),
            Self::Control(ControlError::Overloaded | ControlError::Stopping) => {
                Retry::After(RETRY_LATER)
            }
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Lookup(error) => error.fields(),
            Self::Route(error) => error.fields(),
            Self::Bounds(error) => error.fields(),
            Self::OffsetOutOfRange { asked, log_start, high_watermark } => vec![
                ("offset", asked.to_string()),
                ("log_start", log_start.to_string()),
                ("high_watermark", high_watermark.to_string()),
            ],
            Self::Call { node, .. } => vec![("node", node.to_string())],
            Self::Control(ControlError::NotLeader { leader }) => not_leader_fields(*leader),
            Self::Control(
                ControlError::LeadershipLost
                | ControlError::Deadline
                | ControlError::Overloaded
                | ControlError::Stopping
                | ControlError::Reply,
            ) => Vec::new(),
        }
    }
}

impl Broker {
    /// Moves the log start of a partition forward; returns it. Records below are gone for readers
    /// at once. Any node does it: the shard's leader decides.
    ///
    /// Dropping the future does not cancel it.
    ///
    /// # Errors
    /// [`DeleteRecordsError`]; the call may always be repeated.
    pub async fn delete_records(
        &self,
        target: &DeleteRecordsTarget,
        deadline: Deadline,
    ) -> Result<Offset, DeleteRecordsError> {
        let (topic, index) = (&target.topic, target.partition);
        let place = self.partition_named::<DeleteRecordsError>(topic, index, deadline).await?;
        let Route { partition, shard, .. } = place;
        // The whole prefix: apply stops at the high watermark it finds.
        let to = target.before.unwrap_or(Offset::new(u64::MAX));
        let bounds = self.bounds(partition, shard, deadline).await?;
        let (log_start, high_watermark) = (bounds.log_start(), bounds.high_watermark());
        if let Some(asked) = target.before.filter(|asked| *asked > high_watermark) {
            return Err(DeleteRecordsError::OffsetOutOfRange { asked, log_start, high_watermark });
        }
        let command = PartitionControl::Trim { partition, to };
        match self.control(shard, command, deadline).await? {
            ControlOutcome::Trimmed(progress) => {
                let records = progress.log_start().get().saturating_sub(log_start.get());
                self.count_deleted(partition, records);
                Ok(progress.log_start())
            }
            ControlOutcome::UnknownPartition => Err(RouteError::NotReady.into()),
            ControlOutcome::Opened { .. }
            | ControlOutcome::Closed
            | ControlOutcome::Imported(_)
            | ControlOutcome::Sealed { .. }
            | ControlOutcome::Misplaced => Err(DeleteRecordsError::Control(ControlError::Reply)),
        }
    }

    fn count_deleted(&self, partition: PartitionId, records: u64) {
        if let Some(topic) = self.image().topic_by_id(&partition.topic) {
            // How many bytes that is, retention of the leader's segments decides.
            self.inner.metrics.topic(topic).deleted(DeletionReason::Request, records, 0);
        }
    }

    /// Has a shard's leader carry out a command, wherever it is.
    async fn control(
        &self,
        id: ShardId,
        command: PartitionControl,
        deadline: Deadline,
    ) -> Result<ControlOutcome, DeleteRecordsError> {
        let outcome = match (self.inner.shards.get(id), self.leader_elsewhere(id)) {
            (Some(shard), _) => shard.control(command, deadline).await,
            (None, Some(node)) => {
                let consensus = &self.inner.consensus;
                control_at(consensus, (node, id), command, self.clock(), deadline).await
            }
            (None, None) => return Err(RouteError::NotLeader { leader: None }.into()),
        };
        outcome.map_err(DeleteRecordsError::Control)
    }

    /// A partition's bounds, confirmed by its leader.
    async fn bounds(
        &self,
        partition: PartitionId,
        shard: ShardId,
        deadline: Deadline,
    ) -> Result<Progress, DeleteRecordsError> {
        match self.led_shard(shard) {
            Ok(_) => self.own_bounds(partition, deadline).await.map_err(DeleteRecordsError::Bounds),
            Err(RouteError::NotLeader { leader: Some(node) }) => {
                let payload = calls::encode_partition(partition);
                let call =
                    self.inner.consensus.call(node, calls::PARTITION_BOUNDS, payload, deadline);
                let answer = call.await.map_err(|source| DeleteRecordsError::Call { node, source });
                let refused = || CallError::Refused("the answer cannot be read".to_owned());
                calls::decode_bounds(&answer?)
                    .ok_or_else(|| DeleteRecordsError::Call { node, source: refused() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The bounds of a partition that this node leads, confirmed by a quorum.
    pub(crate) async fn own_bounds(
        &self,
        partition: PartitionId,
        deadline: Deadline,
    ) -> Result<Progress, ListOffsetsError> {
        let known = self.image_placing(std::iter::once(partition), deadline).await;
        let route = known.route(partition.topic, partition.index)?;
        let shard = self.led_shard(route.shard)?;
        let confirmed = shard.group().ensure_linearizable(deadline).await;
        confirmed.map_err(ListOffsetsError::Unconfirmed)?;
        // Looked up only now: one that has moved on meanwhile is shown no more.
        Ok(route.find(&shard)?.progress())
    }
}
