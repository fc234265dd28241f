//! What may be done to groups, and its replicated form.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_types::{LeaderEpoch, MetadataVersion, Offset, PartitionId, TopicId, TopicName};
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;
use crate::{GroupEpoch, GroupName, MemberId, by_topic};

/// The only layout so far. Persisted in Raft entries; never reuse.
const VERSION: u32 = 1;

/// A change of the groups of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Members join, leave, or want something else: one new epoch for all of it.
    Update {
        /// The group; made if it is not there and somebody joins.
        group: GroupName,
        /// Who joins.
        joins: Vec<Join>,
        /// Who leaves.
        leaves: Vec<Leave>,
        /// Whose subscription changed.
        subscriptions: Vec<Subscribed>,
        /// Every topic that somebody reads once this is applied, as far as the sender knows it.
        topics: Vec<TopicPartitions>,
        /// The metadata that topics were looked up in, also those of joins and subscriptions. One
        /// older than what the group has seen takes no topic from anybody.
        #[serde(default)]
        image: MetadataVersion,
    },
    /// Members let partitions go. No new epoch.
    Confirm {
        /// The group.
        group: GroupName,
        /// Who holds what.
        confirmations: Vec<Confirmation>,
    },
    /// Positions are stored.
    Commit {
        /// The group; made if it is not there and no member commits.
        group: GroupName,
        /// Who commits; none outside of any membership.
        member: Option<Committer>,
        /// What to store.
        #[serde(with = "by_topic::rows")]
        offsets: Vec<(PartitionId, NewOffset)>,
    },
    /// Positions are set by hand.
    Reset {
        /// The group.
        group: GroupName,
        /// What to store.
        #[serde(with = "by_topic::rows")]
        offsets: Vec<(PartitionId, NewOffset)>,
        /// Whether members are removed first; else there must be none.
        fence: bool,
    },
    /// A group and its positions are deleted.
    Delete {
        /// The group.
        group: GroupName,
    },
    /// Groups that were empty for long are deleted, positions in topics that are gone forgotten.
    Sweep {
        /// How long an empty group keeps its positions. Unit: milliseconds.
        retention_ms: u64,
        /// Topics that were deleted.
        gone: Vec<TopicId>,
    },
}

/// A member that joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Its id. One that is a member already starts anew: it has dropped everything.
    pub member: MemberId,
    /// Its lasting name.
    pub instance: Option<String>,
    /// The holder of that name, found dead by the coordinator.
    pub replaces: Option<MemberId>,
    /// Name of the service.
    pub client: String,
    /// Where it runs.
    pub host: String,
    /// Topics it named.
    pub topics: Vec<TopicName>,
    /// Patterns it gave.
    pub patterns: Vec<String>,
    /// The topics these are by now.
    pub resolved: Vec<TopicId>,
    /// How it wants partitions to be shared.
    pub assignor: Assignor,
    /// How long it may be silent. Unit: milliseconds.
    pub session_timeout_ms: u32,
    /// How long its handler may take. Unit: milliseconds.
    pub processing_timeout_ms: u32,
}

/// A member that leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// Who.
    pub member: MemberId,
    /// Why.
    pub reason: LeaveReason,
    /// A static member that comes back: its partitions are kept for it.
    pub temporary: bool,
    /// When it joined, as the sender saw it: a member that has joined again since stays. None: the
    /// member itself, or whoever has its name, is meant.
    #[serde(default)]
    pub joined: Option<GroupEpoch>,
}

/// Why a member leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// It said so.
    Asked,
    /// It was silent for too long.
    SessionExpired,
    /// Its handler took too long.
    ProcessingTimeout,
}

/// A member's changed subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribed {
    /// Whose.
    pub member: MemberId,
    /// Topics it named.
    pub topics: Vec<TopicName>,
    /// Patterns it gave.
    pub patterns: Vec<String>,
    /// The topics these are by now.
    pub resolved: Vec<TopicId>,
}

/// A topic, as of the metadata that the coordinator knew. A count below an earlier one is older.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicPartitions {
    /// The topic.
    pub topic: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How many partitions it has.
    pub partitions: u32,
}

/// What a member still holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Who.
    pub member: MemberId,
    /// The epoch it heard last.
    pub epoch: GroupEpoch,
    /// Everything it holds: what it was told to let go and is not here is given away.
    pub owned: BTreeMap<TopicId, Vec<u32>>,
}

/// Who commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committer {
    /// The member.
    pub member: MemberId,
    /// The epoch it heard last.
    pub epoch: GroupEpoch,
}

/// A position to store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOffset {
    /// The next record to read.
    pub offset: Offset,
    /// Of the last record that was read; −1 when not known.
    pub leader_epoch: LeaderEpoch,
    /// The committer's own words; callers check their length.
    pub metadata: String,
}

/// How partitions are shared.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Assignor {
    /// Balanced over all topics, moving as little as possible.
    #[default]
    Uniform,
    /// Contiguous blocks of each topic.
    Range,
}

impl Assignor {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }
}

/// What became of a command. The same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer(pub Result<Outcome, Refusal>);

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The group has this epoch now.
    Updated {
        /// The epoch.
        epoch: GroupEpoch,
    },
    /// Partitions were given on.
    Confirmed,
    /// Positions were stored, but for these.
    Committed {
        /// Why each of them was not.
        #[serde(with = "by_topic::map")]
        refused: BTreeMap<PartitionId, Refusal>,
    },
    /// Positions were set.
    Reset,
    /// The group is gone.
    Deleted,
    /// So many groups were deleted and positions forgotten.
    Swept {
        /// Groups.
        groups: u64,
        /// Positions.
        offsets: u64,
    },
}

/// Bytes that are no command or answer of this release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a command of consumer groups that this release knows: {0}")]
pub struct UndecodableCommand(String);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<T> {
    v: u32,
    command: T,
}

impl Command {
    /// The replicated form.
    ///
    /// # Panics
    /// Never: every command has a JSON form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let envelope = Envelope { v: VERSION, command: self };
        serde_json::to_vec(&envelope).expect("every command has a JSON form").into()
    }

    /// The command of its replicated form.
    ///
    /// # Errors
    /// For what this release does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, UndecodableCommand> {
        let undecodable = |error: serde_json::Error| UndecodableCommand(error.to_string());
        let envelope: Envelope<serde_json::Value> =
            serde_json::from_slice(bytes).map_err(undecodable)?;
        if envelope.v != VERSION {
            let words = format!("version {}, this release knows {VERSION}", envelope.v);
            return Err(UndecodableCommand(words));
        }
        serde_json::from_value(envelope.command).map_err(undecodable)
    }
}

impl Answer {
    /// The form it crosses between nodes in.
    ///
    /// # Panics
    /// Never: every answer has a JSON form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("every answer has a JSON form").into()
    }

    /// The answer of its form.
    ///
    /// # Errors
    /// For what this release does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, UndecodableCommand> {
        serde_json::from_slice(bytes).map_err(|error| UndecodableCommand(error.to_string()))
    }
}
