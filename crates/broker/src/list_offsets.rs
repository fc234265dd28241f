//! Finding offsets: the first kept, the next to be written, or by time.

use std::collections::BTreeMap;

use quipu_consensus::ReadIndexError;
use quipu_partition::{PartitionHandle, ReadError};
use quipu_runtime::{Deadline, run_blocking};
use quipu_types::{
    Effect, ErrorCode, Offset, PartitionId, PartitionIndex, Retry, ShardId, TimestampMs, TopicId,
};

use crate::Broker;
use crate::error::{
    OperationError, RETRY_LATER, RETRY_SOON, RouteError, not_leader, not_leader_code,
    not_leader_fields, not_leader_retry,
};
use crate::freshness::Known;

/// Which offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// First kept offset.
    Earliest,
    /// Next offset to be written, confirmed by a quorum.
    Latest,
    /// First offset whose timestamp is at or after this.
    At(TimestampMs),
}

/// Which offset of which partition.
#[derive(Clone, Copy, Debug)]
pub struct OffsetQuery {
    /// The topic.
    pub topic: TopicId,
    /// Which partition of it.
    pub partition: PartitionIndex,
    /// Which offset.
    pub at: OffsetSpec,
}

/// An offset found; none when no record is at or after the time asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: Option<Offset>,
    /// Its timestamp, for lookups by time.
    pub timestamp: Option<TimestampMs>,
}

/// Why an offset was not found. Reads have no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListOffsetsError {
    /// The way to the partition's leader is not open.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Leadership could not be confirmed.
    #[error("{}", confirm_words(.0))]
    Unconfirmed(ReadIndexError),
    /// Stored bytes failed their checksum.
    #[error("stored bytes are damaged: {words}")]
    Corrupt {
        /// File, position, what was expected and found.
        words: String,
    },
    /// The disk failed.
    #[error("reading failed: {words}")]
    Io {
        /// What the system said.
        words: String,
    },
}

fn confirm_words(error: &ReadIndexError) -> String {
    match error {
        ReadIndexError::NotLeader { leader } => not_leader(*leader),
        ReadIndexError::NoQuorum | ReadIndexError::Deadline | ReadIndexError::Stopped => {
            format!("confirm leadership: {error}")
        }
    }
}

impl OperationError for ListOffsetsError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Route(error) => error.code(),
            Self::Unconfirmed(ReadIndexError::NotLeader { leader }) => not_leader_code(*leader),
            Self::Unconfirmed(ReadIndexError::NoQuorum) => ErrorCode::LeadershipLost,
            Self::Unconfirmed(ReadIndexError::Deadline) => ErrorCode::DeadlineExceeded,
            Self::Unconfirmed(ReadIndexError::Stopped) => ErrorCode::Stopping,
            Self::Corrupt { .. } => ErrorCode::DataCorrupt,
            Self::Io { .. } => ErrorCode::Internal,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Self::Route(error) => error.effect(),
            Self::Unconfirmed(error) => error.effect(),
            Self::Corrupt { .. } | Self::Io { .. } => Effect::None,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Route(error) => error.retry(),
            Self::Unconfirmed(ReadIndexError::NotLeader { leader }) => not_leader_retry(*leader),
            Self::Unconfirmed(ReadIndexError::NoQuorum | ReadIndexError::Deadline) => {
                Retry::After(RETRY_SOON)
            }
            Self::Unconfirmed(ReadIndexError::Stopped) | Self::Io { .. } => {
                Retry::After(RETRY_LATER)
            }
            Self::Corrupt { .. } => Retry::Never,
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Route(error) => error.fields(),
            Self::Unconfirmed(ReadIndexError::NotLeader { leader }) => not_leader_fields(*leader),
            Self::Unconfirmed(
                ReadIndexError::NoQuorum | ReadIndexError::Deadline | ReadIndexError::Stopped,
            )
            | Self::Corrupt { .. }
            | Self::Io { .. } => Vec::new(),
        }
    }
}

type Confirmed = BTreeMap<ShardId, Result<(), ReadIndexError>>;

impl Broker {
    /// Finds offsets, one answer per query, in order.
    ///
    /// "Latest" is linearizable: it covers every append that was acknowledged before the call.
    pub async fn list_offsets(
        &self,
        queries: &[OffsetQuery],
        deadline: Deadline,
    ) -> Vec<Result<FoundOffset, ListOffsetsError>> {
        let asked = queries.iter().map(|query| PartitionId::new(query.topic, query.partition));
        let known = self.image_placing(asked, deadline).await;
        let confirmed = self.confirm_leadership(&known, queries, deadline).await;
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            answers.push(self.find_offset(&known, query, &confirmed).await);
        }
        answers
    }

    /// Confirms, once per shard, that this node still leads those whose end is asked for.
    async fn confirm_leadership(
        &self,
        known: &Known,
        queries: &[OffsetQuery],
        deadline: Deadline,
    ) -> Confirmed {
        let latest = queries.iter().filter(|query| query.at == OffsetSpec::Latest);
        let shards = latest
            .filter_map(|query| known.route(query.topic, query.partition).ok())
            .filter_map(|route| self.led_shard(route.shard).ok());
        let shards: BTreeMap<ShardId, _> = shards.map(|shard| (shard.id(), shard)).collect();
        let questions = shards
            .into_iter()
            .map(async |(id, shard)| (id, shard.group().ensure_linearizable(deadline).await));
        futures::future::join_all(questions).await.into_iter().collect()
    }

    async fn find_offset(
        &self,
        known: &Known,
        query: &OffsetQuery,
        confirmed: &Confirmed,
    ) -> Result<FoundOffset, ListOffsetsError> {
        let route = known.route(query.topic, query.partition)?;
        let shard = self.led_shard(route.shard)?;
        let handle = route.find(&shard)?;
        let at = |offset| FoundOffset { offset: Some(offset), timestamp: None };
        match query.at {
            OffsetSpec::Earliest => Ok(at(handle.progress().log_start())),
            OffsetSpec::Latest => match confirmed.get(&route.shard) {
                Some(Ok(())) => {
                    let beyond = quipu_failpoint::is_planted("plant.end.beyond-high-watermark");
                    Ok(at(handle.progress().high_watermark().plus(u64::from(beyond))))
                }
                Some(Err(error)) => Err(ListOffsetsError::Unconfirmed(error.clone())),
                // Leadership came after the question was put.
                None => Err(RouteError::NotReady.into()),
            },
            OffsetSpec::At(time) => find_by_time(handle, time).await,
        }
    }
}

async fn find_by_time(
    handle: PartitionHandle,
    time: TimestampMs,
) -> Result<FoundOffset, ListOffsetsError> {
    let find = run_blocking(move || handle.offset_for_timestamp(time));
    match find.await.expect("a panic in a look is a panic here") {
        Ok(found) => Ok(FoundOffset {
            offset: found.map(|(offset, _)| offset),
            timestamp: found.map(|(_, timestamp)| timestamp),
        }),
        Err(error) => {
            let words = error.to_string();
            Err(match error {
                // The prefix went away between the look-up and the read.
                ReadError::OffsetOutOfRange { .. } | ReadError::Closed => {
                    RouteError::NotReady.into()
                }
                ReadError::Corrupt(_) => ListOffsetsError::Corrupt { words },
                ReadError::Io(_) => ListOffsetsError::Io { words },
            })
        }
    }
}
