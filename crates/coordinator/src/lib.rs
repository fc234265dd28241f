//! Consumer groups as a pure state machine, in the manner of KIP-848.
//!
//! A group has members, a *target* (which member is to read each partition) and *owners* (who
//! does). Each change of members, subscriptions or topics makes a new epoch and a new target. What
//! nobody owns is granted at once; what another owns stays with it until it confirms that it let
//! go. So two members never own a partition, and whoever keeps what it has is not disturbed.
//!
//! - Must not know: time, chance, tasks, sockets, patterns. Time and resolved topics come in with
//!   the command; sessions are the broker's.
//! - Architecture invariants: the outcome of a command depends on the commands before it only; a
//!   partition has one owner at most; epochs of a name never fall, even when its group is deleted
//!   and made again; a position changes only by a commit of its owner, by a commit
//!   or reset without members, or goes with its group or topic.
//! - Start reading at [`Groups::apply`], then [`Group`].

mod assignor;
mod by_topic;
mod command;
mod group;
mod groups;
mod member;
mod name;
mod refusal;
mod row;

pub use command::{
    Answer, Assignor, Command, Committer, Confirmation, Join, Leave, LeaveReason, NewOffset,
    Outcome, Subscribed, TopicPartitions, UndecodableCommand,
};
pub use group::{Assignment, CommittedOffset, Group, GroupState, Owner};
pub use groups::Groups;
pub use member::Member;
pub use name::{GroupEpoch, GroupName, InvalidGroupName, InvalidMemberId, MemberId};
pub use refusal::Refusal;
pub use row::{InvalidRow, RowKey};

#[cfg(test)]
mod tests;
