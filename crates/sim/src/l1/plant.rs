//! Faults planted on purpose, to see that the simulator finds them.

use std::fmt;

use clap::ValueEnum;

use crate::l2;

/// A planted fault of any layer above storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    L1(Plant),
    L2(l2::Plant),
}

impl From<Plant> for Planted {
    fn from(plant: Plant) -> Self {
        Self::L1(plant)
    }
}

impl From<l2::Plant> for Planted {
    fn from(plant: l2::Plant) -> Self {
        Self::L2(plant)
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::L1(plant) => plant.fmt(f),
            Self::L2(plant) => plant.fmt(f),
        }
    }
}

/// A fault of the program or a lie of the disk, which some seed must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// A restarted leader resumes its term.
    LeadersAreRestored,
    /// Flushes of the journal do nothing: entries are acknowledged before they are durable.
    JournalFlushLies,
    /// A restarted node has forgotten its last vote.
    VoteIsForgotten,
    /// A restarted node has its log as it was before the last truncation.
    TruncationIsForgotten,
    /// A proposal is acknowledged as soon as the leader's own journal has it.
    AcknowledgedByLeaderAlone,
    /// A read is answered by whoever believes to lead.
    ReadWithoutRound,
    /// A node comes back with an empty disk under its old name.
    WipedNodeReturns,
    /// A snapshot does not carry the producers.
    SnapshotWithoutProducers,
    /// A checkpoint does not wait for the journal.
    CheckpointAheadOfJournal,
    /// A state machine's outcome depends on the node.
    ApplyDependsOnNode,
    /// A state machine forgets an entry now and then.
    ApplyIsLost,
    /// A proposal of unknown outcome is called a refusal.
    UnknownIsCalledRefused,
    /// Flushes of the tables do nothing.
    TablesFlushLies,
    /// What a replica left stays, and the next one begins on it.
    FormerDataIsKept,
    /// A fresh replica forms a group of its own instead of waiting for its leader.
    FreshReplicaForms,
    /// A replica that was closed goes on storing what it was about to.
    ClosedGroupGoesOn,
    /// Members change by the image at hand, however old it is.
    OldRecordIsFollowed,
    /// A node that starts acts on the image it has, without asking whether it is old.
    OldImageIsBelieved,
    /// A replica is given its vote as soon as it follows.
    LearnerVotesAtOnce,
    /// A move is called done as soon as it has begun: nodes forget replicas that still vote.
    SettledUnseen,
}

impl Plant {
    /// Those that a few dozen seeds find.
    pub const QUICK: [Self; 18] = [
        Self::LeadersAreRestored,
        Self::JournalFlushLies,
        Self::VoteIsForgotten,
        Self::TruncationIsForgotten,
        Self::AcknowledgedByLeaderAlone,
        Self::ReadWithoutRound,
        Self::WipedNodeReturns,
        Self::SnapshotWithoutProducers,
        Self::ApplyDependsOnNode,
        Self::ApplyIsLost,
        Self::UnknownIsCalledRefused,
        Self::TablesFlushLies,
        Self::FormerDataIsKept,
        Self::FreshReplicaForms,
        Self::ClosedGroupGoesOn,
        Self::OldRecordIsFollowed,
        Self::LearnerVotesAtOnce,
        Self::SettledUnseen,
    ];

    /// Its name in the product (`quipu_failpoint::PLANTS`), if it is one of the product's.
    pub(crate) const fn of_the_product(self) -> Option<&'static str> {
        match self {
            Self::ClosedGroupGoesOn => Some("plant.group.works-after-close"),
            Self::OldRecordIsFollowed => Some("plant.members.unconfirmed"),
            Self::LeadersAreRestored
            | Self::JournalFlushLies
            | Self::VoteIsForgotten
            | Self::TruncationIsForgotten
            | Self::AcknowledgedByLeaderAlone
            | Self::ReadWithoutRound
            | Self::WipedNodeReturns
            | Self::SnapshotWithoutProducers
            | Self::CheckpointAheadOfJournal
            | Self::ApplyDependsOnNode
            | Self::ApplyIsLost
            | Self::UnknownIsCalledRefused
            | Self::TablesFlushLies
            | Self::FormerDataIsKept
            | Self::FreshReplicaForms
            | Self::OldImageIsBelieved
            | Self::LearnerVotesAtOnce
            | Self::SettledUnseen => None,
        }
    }

    /// The lie of the disk that it is, if it is one.
    pub(crate) const fn of_the_disk(self) -> Option<crate::Plant> {
        match self {
            Self::JournalFlushLies => Some(crate::Plant::JournalFlushLies),
            Self::TablesFlushLies => Some(crate::Plant::TablesFlushLies),
            Self::LeadersAreRestored
            | Self::VoteIsForgotten
            | Self::TruncationIsForgotten
            | Self::AcknowledgedByLeaderAlone
            | Self::ReadWithoutRound
            | Self::WipedNodeReturns
            | Self::SnapshotWithoutProducers
            | Self::CheckpointAheadOfJournal
            | Self::ApplyDependsOnNode
            | Self::ApplyIsLost
            | Self::UnknownIsCalledRefused
            | Self::FormerDataIsKept
            | Self::FreshReplicaForms
            | Self::ClosedGroupGoesOn
            | Self::OldRecordIsFollowed
            | Self::OldImageIsBelieved
            | Self::LearnerVotesAtOnce
            | Self::SettledUnseen => None,
        }
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no variant is hidden");
        f.write_str(value.get_name())
    }
}
