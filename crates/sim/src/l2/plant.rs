//! Faults planted on purpose, to see that the simulator finds them.

use std::fmt;

use clap::ValueEnum;

/// A fault of the product or of a client, which some seed must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// A commit is stored whoever sent it.
    CommitsAreUnfenced,
    /// A group's epoch stays when its members change.
    EpochStays,
    /// A partition is given on before its owner let it go.
    GrantedEarly,
    /// A commit is answered as soon as it is proposed.
    CommitAnsweredEarly,
    /// Positions are read without asking a quorum.
    ReadWithoutQuorum,
    /// A fetch begins one record late.
    FetchSkips,
    /// A retry of a stored batch is answered with another offset.
    RetryHasNewOffset,
    /// Deletion of records is acknowledged and does nothing.
    TrimIsIgnored,
    /// A snapshot does not carry the groups.
    GroupsNotInSnapshot,
    /// A producer takes a batch of unknown fate for one that failed, and sends it anew.
    UnknownIsSentAnew,
    /// A member commits what it has fetched, not what it has handled.
    CommitsUnhandled,
    /// A member says that it let a partition go, and goes on with it.
    KeepsWhatItLetGo,
    /// A member that joins again goes on where it was, not where its group is.
    ResumesWhereItWas,
    /// A member skips what is gone without telling.
    SkipsInSilence,
    /// Retention follows a wall clock that jumped.
    RetentionFollowsTheWall,
}

impl Plant {
    /// Those that a few dozen seeds find.
    pub const QUICK: [Self; 15] = [
        Self::CommitsAreUnfenced,
        Self::EpochStays,
        Self::GrantedEarly,
        Self::CommitAnsweredEarly,
        Self::ReadWithoutQuorum,
        Self::FetchSkips,
        Self::RetryHasNewOffset,
        Self::TrimIsIgnored,
        Self::GroupsNotInSnapshot,
        Self::UnknownIsSentAnew,
        Self::CommitsUnhandled,
        Self::KeepsWhatItLetGo,
        Self::ResumesWhereItWas,
        Self::SkipsInSilence,
        Self::RetentionFollowsTheWall,
    ];

    /// Its name in the product (`quipu_failpoint::PLANTS`), if it is one of the product's.
    pub(super) const fn of_the_product(self) -> Option<&'static str> {
        match self {
            Self::CommitsAreUnfenced => Some("plant.commit.unfenced"),
            Self::EpochStays => Some("plant.group.epoch-kept"),
            Self::GrantedEarly => Some("plant.group.granted-early"),
            Self::CommitAnsweredEarly => Some("plant.commit.before-replication"),
            Self::ReadWithoutQuorum => Some("plant.read.without-quorum"),
            Self::FetchSkips => Some("plant.fetch.one-late"),
            Self::RetryHasNewOffset => Some("plant.dedupe.new-offset"),
            Self::TrimIsIgnored => Some("plant.trim.ignored"),
            Self::GroupsNotInSnapshot => Some("plant.groups.not-in-snapshot"),
            Self::UnknownIsSentAnew
            | Self::CommitsUnhandled
            | Self::KeepsWhatItLetGo
            | Self::ResumesWhereItWas
            | Self::SkipsInSilence
            | Self::RetentionFollowsTheWall => None,
        }
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no variant is hidden");
        f.write_str(value.get_name())
    }
}
