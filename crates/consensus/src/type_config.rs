//! openraft's types, filled in.

use std::fmt;

use bytes::Bytes;
use openraft::impls::{BoxedErrorSource, InlineBatch, TokioRuntime, Vote, leader_id_std};
use openraft::raft::responder::Responder;
use quipu_types::{EntryId, LogIndex, NodeId, Term};
use tokio::sync::oneshot;

use crate::entry;
use crate::state_machine::Reply;

/// Called once when the leader's own journal has flushed an entry: for `acks=leader`.
pub type FlushHook = Box<dyn FnOnce() + Send>;

/// The configuration of every group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Command;
    type R = Reply;
    type NodeId = u64;
    type Node = Place;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Command, u64, Place>;
    type Entry = openraft::Entry<LeaderOfTerm, Self::Payload>;
    type AsyncRuntime = TokioRuntime;
    type Responder<T>
        = QuietResponder<T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// Raft's identity of an entry.
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// The leader of a term, as entries name it.
pub(crate) type LeaderOfTerm = openraft::alias::CommittedLeaderIdOf<TypeConfig>;
/// A vote.
pub(crate) type RaftVote = Vote<leader_id_std::LeaderId<u64, u64>>;
/// The members of a group.
pub(crate) type Membership = openraft::Membership<u64, Place>;
/// The members and the entry that made them so.
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// An entry of a group's log.
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;

/// Where a replica lives; its address is looked up elsewhere, so that it can change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The node.
    pub(crate) node: NodeId,
}

/// One command on its way into the log.
pub(crate) struct Command {
    /// As stored in the journal: the kind, then the command.
    pub(crate) encoded: Bytes,
    /// Fired by the log store of the node it was proposed at; never cloned, never sent.
    pub(crate) on_flushed: std::sync::Mutex<Option<FlushHook>>,
}

impl Command {
    /// A command to propose. Copies it once, behind its kind.
    pub(crate) fn propose(command: &[u8], on_flushed: Option<FlushHook>) -> Self {
        let encoded = entry::encode_command(command);
        Self { encoded, on_flushed: std::sync::Mutex::new(on_flushed) }
    }

    /// A command as it came from the journal or from a peer.
    pub(crate) const fn stored(encoded: Bytes) -> Self {
        Self { encoded, on_flushed: std::sync::Mutex::new(None) }
    }

    /// Takes the hook out.
    pub(crate) fn take_hook(&self) -> Option<FlushHook> {
        self.on_flushed.lock().expect("no code panics under this lock").take()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.encoded.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Answers a proposal; a caller that went away is no event.
#[derive(Debug)]
pub(crate) struct QuietResponder<T>(oneshot::Sender<T>);

impl<T> QuietResponder<T> {
    /// A responder and where its answer arrives.
    pub(crate) fn pair() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }
}

impl<T: Send + 'static> Responder<TypeConfig, T> for QuietResponder<T> {
    fn on_complete(self, result: T) {
        drop(self.0.send(result));
    }
}

/// Ours to openraft's.
pub(crate) fn log_id(id: EntryId) -> LogId {
    LogId { leader_id: LeaderOfTerm::new(id.term.get()), index: id.index.get() }
}

/// openraft's to ours.
pub(crate) fn entry_id(id: &LogId) -> EntryId {
    EntryId::new(Term::new(id.leader_id.term), LogIndex::new(id.index))
}
