//! Why a group's state machine does not do what it is asked.

use std::time::Duration;

use quipu_types::{ErrorCode, PartitionId, Retry};
use serde::{Deserialize, Serialize};

use crate::{GroupEpoch, GroupName, MemberId};

/// Pause before a retry that waits for news of the assignment.
const RETRY_SOON: Duration = Duration::from_millis(100);

/// A refusal. Nothing was changed, and the sentence says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No group has the name.
    #[error("there is no consumer group {:?}", group.as_str())]
    UnknownGroup {
        /// The name.
        group: GroupName,
    },
    /// The operation needs a group without members.
    #[error(
        "consumer group {:?} has {members} members: stop them first, or fence them",
        group.as_str()
    )]
    GroupNotEmpty {
        /// The group.
        group: GroupName,
        /// How many it has.
        members: usize,
    },
    /// The group does not know the member.
    #[error(
        "group {:?} does not know member {member} (any more): it was expired, fenced or replaced. \
         It has to drop everything and join again with epoch 0",
        group.as_str()
    )]
    UnknownMember {
        /// The group.
        group: GroupName,
        /// The member.
        member: String,
    },
    /// The member claims an epoch that the group has not reached.
    #[error("member {member} names epoch {given}, the group is at {current}")]
    FutureEpoch {
        /// The member.
        member: MemberId,
        /// As given.
        given: GroupEpoch,
        /// The group's.
        current: GroupEpoch,
    },
    /// The member may not commit the partition.
    #[error(
        "partition {partition} is not member {member}'s in epoch {epoch}: somebody else may have \
         read on from the last position"
    )]
    NotOwner {
        /// The partition.
        partition: PartitionId,
        /// Who commits.
        member: MemberId,
        /// The epoch it heard last.
        epoch: GroupEpoch,
    },
    /// The member has joined again since the one that is to leave.
    #[error(
        "member {member} joined again with epoch {current}: its stay since epoch {given}, which is \
         to end, is over already"
    )]
    StaleLeave {
        /// The member.
        member: MemberId,
        /// When the one that is to leave joined.
        given: GroupEpoch,
        /// When it joined last.
        current: GroupEpoch,
    },
    /// Another live member holds the instance id.
    #[error(
        "instance {instance:?} is held by member {holder}, which is alive: give each running \
         instance its own id"
    )]
    InstanceInUse {
        /// The lasting name.
        instance: String,
        /// Who holds it.
        holder: MemberId,
    },
    /// The group has too many members.
    #[error("consumer group {:?} has {limit} members, the most a group may have", group.as_str())]
    GroupFull {
        /// The group.
        group: GroupName,
        /// The most.
        limit: usize,
    },
    /// The shard keeps too many groups.
    #[error("the shard keeps {limit} consumer groups, the most it may: delete groups nobody uses")]
    TooManyGroups {
        /// The most.
        limit: usize,
    },
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownGroup { .. } => ErrorCode::UnknownGroup,
            Self::GroupNotEmpty { .. } => ErrorCode::GroupNotEmpty,
            Self::UnknownMember { .. } => ErrorCode::UnknownMember,
            Self::FutureEpoch { .. } | Self::NotOwner { .. } | Self::StaleLeave { .. } => {
                ErrorCode::StaleMemberEpoch
            }
            Self::InstanceInUse { .. } => ErrorCode::InstanceInUse,
            Self::GroupFull { .. } | Self::TooManyGroups { .. } => ErrorCode::GroupFull,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            // Once the assignment that is under way was heard.
            Self::FutureEpoch { .. } | Self::NotOwner { .. } => Retry::After(RETRY_SOON),
            Self::UnknownGroup { .. }
            | Self::GroupNotEmpty { .. }
            | Self::UnknownMember { .. }
            | Self::StaleLeave { .. }
            | Self::InstanceInUse { .. }
            | Self::GroupFull { .. }
            | Self::TooManyGroups { .. } => Retry::Never,
        }
    }
}
