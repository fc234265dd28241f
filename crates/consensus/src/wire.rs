//! Raft's messages as protobuf, and back.

use std::ops::Range;

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
    VoteRequest, VoteResponse,
};
use quipu_proto::peer as proto;
use quipu_proto::peer::appended::Result as Outcome;
use quipu_types::{
    ClusterId, DirectoryId, EntryId, Incarnation, LogIndex, NodeId, ReplicaId, ShardId,
    StartHistory, StartId, Term,
};

use crate::entry::{self, Undecodable};
use crate::identity::{Hello, PeerIdentity};
use crate::type_config::{LogId, RaftVote, TypeConfig, entry_id, log_id};

/// What this version speaks; others are turned away.
const VERSION: u32 = 2;
/// A smaller payload is copied: a slice would keep its whole frame in memory.
const SLICE_BYTES_MIN: usize = 4 << 10;

pub(crate) fn to_target(shard: ShardId, replica: ReplicaId) -> proto::Target {
    proto::Target { shard: shard.get(), replica: replica.get() }
}

pub(crate) fn to_identity(identity: &PeerIdentity) -> proto::Identity {
    proto::Identity {
        cluster: Bytes::copy_from_slice(&identity.cluster.to_bytes()),
        node: identity.node.get(),
        directory: Bytes::copy_from_slice(&identity.directory.to_bytes()),
        incarnation: identity.incarnation.get(),
        starts: identity.starts.ids().iter().map(start_bytes).collect(),
        starts_since: identity.starts.since().get(),
    }
}

fn start_bytes(start: &StartId) -> Bytes {
    Bytes::copy_from_slice(&start.to_bytes())
}

pub(crate) fn from_identity(identity: &proto::Identity) -> Option<PeerIdentity> {
    let starts = identity.starts.iter().map(|id| StartId::from_slice(id)).collect::<Option<_>>();
    Some(PeerIdentity {
        cluster: ClusterId::from_slice(&identity.cluster)?,
        node: NodeId::new(identity.node),
        directory: DirectoryId::from_slice(&identity.directory)?,
        incarnation: Incarnation::new(identity.incarnation),
        starts: StartHistory::new(Incarnation::new(identity.starts_since), starts?)?,
    })
}

pub(crate) fn to_hello(hello: &Hello) -> proto::Hello {
    proto::Hello {
        version: VERSION,
        sender: Some(to_identity(&hello.sender)),
        receiver: hello.receiver.get(),
    }
}

pub(crate) fn from_hello(hello: Option<&proto::Hello>) -> Option<Hello> {
    let hello = hello.filter(|hello| hello.version == VERSION)?;
    let sender = from_identity(hello.sender.as_ref()?)?;
    Some(Hello { sender, receiver: NodeId::new(hello.receiver) })
}

pub(crate) fn to_ballot(vote: &RaftVote) -> proto::Ballot {
    proto::Ballot {
        term: vote.leader_id.term,
        replica: vote.leader_id.voted_for,
        is_committed: vote.committed,
    }
}

pub(crate) fn from_ballot(ballot: &proto::Ballot) -> RaftVote {
    if ballot.is_committed {
        RaftVote::new_committed(ballot.term, ballot.replica)
    } else {
        RaftVote::new(ballot.term, ballot.replica)
    }
}

pub(crate) fn to_id(id: &LogId) -> proto::EntryId {
    let id = entry_id(id);
    proto::EntryId { term: id.term.get(), index: id.index.get() }
}

pub(crate) fn from_id(id: &proto::EntryId) -> LogId {
    log_id(EntryId::new(Term::new(id.term), LogIndex::new(id.index)))
}

/// A request, and how many bytes its entries have.
pub(crate) fn to_append(
    request: &AppendEntriesRequest<TypeConfig>,
    target: proto::Target,
    session: u64,
    number: u64,
) -> (proto::Append, usize) {
    let mut bytes = 0;
    let entries = request.entries.iter().map(|entry| {
        let payload = entry::encode(&entry.payload);
        bytes += payload.len();
        proto::Entry { term: entry.log_id.leader_id.term, payload }
    });
    let append = proto::Append {
        session,
        number,
        target: Some(target),
        leader: Some(to_ballot(&request.vote)),
        previous: request.prev_log_id.as_ref().map(to_id),
        entries: entries.collect(),
        committed: request.leader_commit.as_ref().map(to_id),
    };
    (append, bytes)
}

pub(crate) fn from_append(
    append: proto::Append,
) -> Result<AppendEntriesRequest<TypeConfig>, Undecodable> {
    let leader = append.leader.as_ref().ok_or(Undecodable::new(0, "append without a leader"))?;
    let previous = append.previous.as_ref().map(from_id);
    let indexes = indexes(previous.as_ref(), append.entries.len())?;
    let entries = indexes.zip(append.entries).map(|(index, entry)| {
        let id = EntryId::new(Term::new(entry.term), LogIndex::new(index));
        entry::decode(log_id(id), unpinned(entry.payload))
    });
    Ok(AppendEntriesRequest {
        vote: from_ballot(leader),
        prev_log_id: previous,
        entries: entries.collect::<Result<_, _>>()?,
        leader_commit: append.committed.as_ref().map(from_id),
    })
}

/// The indexes of so many entries. A peer may name any, but no log is so long.
fn indexes(previous: Option<&LogId>, entries: usize) -> Result<Range<u64>, Undecodable> {
    let start = previous.map_or(Some(0), |id| id.index.checked_add(1));
    let count = u64::try_from(entries).unwrap_or(u64::MAX);
    start
        .and_then(|start| Some(start..start.checked_add(count)?))
        .ok_or(Undecodable::new(0, "indexes beyond the last"))
}

fn unpinned(payload: Bytes) -> Bytes {
    if payload.len() < SLICE_BYTES_MIN { Bytes::copy_from_slice(&payload) } else { payload }
}

/// What a follower answers to a request with these ends.
pub(crate) fn to_outcome(
    response: AppendEntriesResponse<TypeConfig>,
    previous: Option<LogId>,
    last: Option<LogId>,
) -> Outcome {
    match response {
        AppendEntriesResponse::Success => Outcome::Matched(matched(last.as_ref())),
        AppendEntriesResponse::PartialSuccess(id) => Outcome::Matched(matched(id.as_ref())),
        AppendEntriesResponse::Conflict => match previous {
            Some(previous) => Outcome::Conflict(to_id(&previous)),
            None => Outcome::Unavailable("the empty log conflicts".to_owned()),
        },
        AppendEntriesResponse::HigherVote(vote) => Outcome::Higher(to_ballot(&vote)),
    }
}

fn matched(id: Option<&LogId>) -> proto::Matched {
    proto::Matched { id: id.map(to_id) }
}

/// A follower's answer for openraft; `Err` when the replica is not there.
pub(crate) fn from_outcome(
    outcome: Option<Outcome>,
) -> Result<StreamAppendResult<TypeConfig>, String> {
    match outcome {
        Some(Outcome::Matched(matched)) => Ok(Ok(matched.id.as_ref().map(from_id))),
        Some(Outcome::Conflict(id)) => Ok(Err(StreamAppendError::Conflict(from_id(&id)))),
        Some(Outcome::Higher(vote)) => Ok(Err(StreamAppendError::HigherVote(from_ballot(&vote)))),
        Some(Outcome::Unavailable(why)) => Err(why),
        None => Err("an answer without a result".to_owned()),
    }
}

pub(crate) fn to_vote(
    request: &VoteRequest<TypeConfig>,
    target: proto::Target,
    number: u64,
    is_pre_vote: bool,
) -> proto::Vote {
    proto::Vote {
        request: number,
        target: Some(target),
        candidate: Some(to_ballot(&request.vote)),
        last: request.last_log_id.as_ref().map(to_id),
        is_pre_vote,
        is_transfer: request.leadership_transfer,
    }
}

pub(crate) fn from_vote(vote: &proto::Vote) -> Option<VoteRequest<TypeConfig>> {
    let mut request =
        VoteRequest::new(from_ballot(vote.candidate.as_ref()?), vote.last.as_ref().map(from_id));
    request.leadership_transfer = vote.is_transfer;
    Some(request)
}

pub(crate) fn to_voted(response: &VoteResponse<TypeConfig>, number: u64) -> proto::Voted {
    proto::Voted {
        request: number,
        vote: Some(to_ballot(&response.vote)),
        last: response.last_log_id.as_ref().map(to_id),
        is_granted: response.vote_granted,
        unavailable: String::new(),
    }
}

pub(crate) fn from_voted(voted: &proto::Voted) -> Option<VoteResponse<TypeConfig>> {
    let vote = from_ballot(voted.vote.as_ref()?);
    Some(VoteResponse::new(vote, voted.last.as_ref().map(from_id), voted.is_granted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_beyond_the_last_index_is_refused() {
        let append = |index| proto::Append {
            leader: Some(proto::Ballot::default()),
            previous: Some(proto::EntryId { term: 1, index }),
            entries: vec![proto::Entry { term: 1, payload: Bytes::from_static(b"\x00") }],
            ..proto::Append::default()
        };
        let indexes = |request: AppendEntriesRequest<TypeConfig>| {
            request.entries.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>()
        };
        for index in [8, u64::MAX - 2] {
            assert_eq!(from_append(append(index)).map(indexes), Ok(vec![index + 1]));
        }
        for index in [u64::MAX, u64::MAX - 1] {
            assert!(from_append(append(index)).is_err(), "after {index}");
        }
    }
}
