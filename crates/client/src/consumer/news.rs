//! What a consumer tells beside its messages.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::error::OffsetOutOfRange;

/// A partition by its topic's name.
///
/// ```
/// use quipu_client::TopicPartition;
///
/// assert_eq!(TopicPartition::new("fees", 3).to_string(), "fees/3");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The index of the partition.
    pub partition: u32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// How a consumer stands to its group.
///
/// ```
/// use quipu_client::ConsumerState;
///
/// fn is_reading(state: &ConsumerState) -> bool {
///     matches!(state, ConsumerState::Stable { .. } | ConsumerState::Revoking)
/// }
/// # assert!(!is_reading(&ConsumerState::Joining));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerState {
    /// Not accepted yet.
    Joining,
    /// A member.
    Stable {
        /// The membership's epoch: it grows when the assignment changes.
        epoch: u64,
    },
    /// A member that has to let partitions go.
    Revoking,
    /// The stream to the coordinator broke. Reading goes on until the session timeout.
    Reconnecting {
        /// Since when.
        since: Instant,
        /// What went wrong last.
        why: Arc<str>,
    },
    /// No member any more, everything dropped; it joins anew, after a processing timeout with the
    /// next call.
    Rejoining,
    /// Over.
    Closed,
}

/// What changes about the partitions of a consumer. Told from its background task: be short, do
/// not block.
///
/// ```
/// use quipu_client::Rebalance;
///
/// fn show(change: &Rebalance) -> String {
///     match change {
///         Rebalance::Assigned(partitions) => format!("{} more", partitions.len()),
///         Rebalance::Revoked(partitions) => format!("{} less", partitions.len()),
///         Rebalance::Lost(partitions) => format!("{} gone", partitions.len()),
///     }
/// }
/// # assert_eq!(show(&Rebalance::Lost(vec![])), "0 gone");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// They are this member's from now on.
    Assigned(Vec<TopicPartition>),
    /// They go to others once their handed-out messages are settled; what is acknowledged until
    /// then is committed.
    Revoked(Vec<TopicPartition>),
    /// They are gone; what was not committed is delivered again, elsewhere.
    Lost(Vec<TopicPartition>),
}

/// A position that was not readable, and which policy went on elsewhere.
///
/// ```
/// use quipu_client::{ConsumerEvent, TopicPartition};
///
/// let event = ConsumerEvent::BelowStart {
///     partition: TopicPartition::new("fees", 0),
///     position: 3,
///     log_start: 10,
/// };
/// let ConsumerEvent::BelowStart { position, log_start, .. } = event else { unreachable!() };
/// assert_eq!(log_start - position, 7, "so many events were removed before they were read");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerEvent {
    /// Retention removed events before they were read.
    BelowStart {
        /// Where.
        partition: TopicPartition,
        /// What was to be read.
        position: u64,
        /// First kept offset.
        log_start: u64,
    },
    /// The position is of no event that is stored.
    AboveEnd {
        /// Where.
        partition: TopicPartition,
        /// What was to be read.
        position: u64,
        /// Next offset to be written.
        high_watermark: u64,
    },
}

impl ConsumerEvent {
    pub(super) fn of(reason: &OffsetOutOfRange) -> Self {
        let partition = TopicPartition::new(reason.topic.clone(), reason.partition);
        let position = reason.offset;
        if reason.is_below_start() {
            Self::BelowStart { partition, position, log_start: reason.log_start }
        } else {
            Self::AboveEnd { partition, position, high_watermark: reason.high_watermark }
        }
    }
}
