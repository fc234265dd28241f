//! One stream that a peer opened: its requests go to the groups, the answers back.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use openraft::alias::LogIdOf;
use openraft::raft::AppendEntriesRequest;
use quipu_proto::peer as proto;
use quipu_proto::peer::appended::Result as Outcome;
use quipu_proto::peer::message::Body;
use quipu_types::{NodeId, ShardId, Term};
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::consensus::Consensus;
use crate::frame::{Outgoing, frame_bytes};
use crate::group::Group;
use crate::link::message;
use crate::peers::{Leads, Peer};
use crate::type_config::TypeConfig;
use crate::wire;

/// Requests taken in before their answers are out. The sender's windows are smaller.
const UNANSWERED_MAX: usize = 4_096;

/// Reads one stream until it breaks.
pub(super) struct Incoming {
    consensus: Arc<Consensus>,
    peer: Arc<Peer>,
    frames: Streaming<proto::Frame>,
    answers: mpsc::Sender<proto::Message>,
    /// Started in the order of arrival: what reaches a group first is what was sent first.
    work: FuturesUnordered<BoxFuture<'static, Body>>,
}

impl Incoming {
    pub(super) fn new(
        consensus: Arc<Consensus>,
        peer: Arc<Peer>,
        frames: Streaming<proto::Frame>,
    ) -> (Self, Outgoing) {
        // Answers are small, and one kind is enough: the urgent queue has them all.
        let (answers, queue) = mpsc::channel(UNANSWERED_MAX);
        let (_, no_bulk) = mpsc::channel(1);
        peer.opened();
        consensus.peer_table().note_change();
        let work = FuturesUnordered::new();
        let incoming = Self { consensus, peer, frames, answers, work };
        (incoming, Outgoing::new(queue, no_bulk, Arc::default()))
    }

    pub(super) async fn run(mut self) {
        let stall_max = self.consensus.peer_table().config().stall_max();
        loop {
            let frame = tokio::time::timeout(stall_max, self.frames.message());
            tokio::select! {
                biased;
                Some(answer) = self.work.next() => {
                    if self.answers.send(message(answer)).await.is_err() {
                        break;
                    }
                }
                frame = frame, if self.work.len() < UNANSWERED_MAX => {
                    let Ok(Ok(Some(frame))) = frame else { break };
                    self.take(frame);
                }
            }
        }
    }

    fn take(&mut self, frame: proto::Frame) {
        let peers = self.consensus.peer_table();
        self.peer.heard(peers.clock().monotonic());
        peers.traffic().received.increment(frame_bytes(&frame));
        for body in frame.messages.into_iter().filter_map(|message| message.body) {
            match body {
                Body::Append(append) => self.start(append_to(&self.consensus, append)),
                Body::Vote(vote) => self.start(vote_in(Arc::clone(&self.consensus), vote)),
                Body::Transfer(transfer) => {
                    self.start(transfer_to(Arc::clone(&self.consensus), transfer));
                }
                Body::Beat(beat) => {
                    self.beat(&beat);
                    self.start(std::future::ready(Body::Beat(proto::Beat::default())));
                }
                Body::Hello(_)
                | Body::Welcome(_)
                | Body::Appended(_)
                | Body::Voted(_)
                | Body::Transferred(_) => {
                    tracing::debug!(node = %self.peer.node(), "a message out of place");
                }
            }
        }
    }

    fn start(&self, work: impl Future<Output = Body> + Send + 'static) {
        // Unconstrained: tokio's cooperation budget must not let a later request overtake.
        self.work.push(tokio::task::unconstrained(work).boxed());
    }

    fn beat(&self, beat: &proto::Beat) {
        let lost: BTreeSet<NodeId> = beat.lost.iter().copied().map(NodeId::new).collect();
        let leads = beat
            .leads
            .iter()
            .map(|hint| Leads { shard: ShardId::new(hint.shard), term: Term::new(hint.term) });
        self.consensus.peer_table().take_beat(&self.peer, (lost, beat.is_short_of_disk), leads);
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.peer.closed();
        self.consensus.peer_table().note_change();
    }
}

fn append_to(
    consensus: &Consensus,
    append: proto::Append,
) -> impl Future<Output = Body> + Send + 'static {
    let (session, number) = (append.session, append.number);
    let group = consensus.addressed(&append.target.unwrap_or_default());
    let bytes: usize = append.entries.iter().map(|entry| entry.payload.len()).sum();
    // Heartbeats and news of commits need no room.
    let has_room = bytes == 0 || consensus.disk().admit_entries(bytes).is_ok();
    let group =
        group.and_then(|it| has_room.then_some(it).ok_or_else(|| "the disk is full".to_owned()));
    let request = wire::from_append(append).map_err(|error| error.to_string());
    async move {
        let result = match (group, request) {
            (Ok(group), Ok(request)) => append_entries(&group, request).await,
            (Err(why), _) | (_, Err(why)) => Outcome::Unavailable(why),
        };
        Body::Appended(proto::Appended { session, number, result: Some(result) })
    }
}

async fn append_entries(group: &Group, request: AppendEntriesRequest<TypeConfig>) -> Outcome {
    let previous = request.prev_log_id;
    let last = last_id(&request);
    match group.raft().append_entries(request).await {
        Ok(response) => wire::to_outcome(response, previous, last),
        Err(error) => Outcome::Unavailable(error.to_string()),
    }
}

fn last_id(request: &AppendEntriesRequest<TypeConfig>) -> Option<LogIdOf<TypeConfig>> {
    request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id)
}

async fn vote_in(consensus: Arc<Consensus>, vote: proto::Vote) -> Body {
    let unavailable =
        |why: String| proto::Voted { request: vote.request, unavailable: why, ..<_>::default() };
    let voted = match consensus.addressed(&vote.target.unwrap_or_default()) {
        Ok(group) => poll_group(&consensus, &group, &vote).await,
        Err(why) => Err(why),
    };
    Body::Voted(voted.unwrap_or_else(unavailable))
}

async fn poll_group(
    consensus: &Consensus,
    group: &Group,
    vote: &proto::Vote,
) -> Result<proto::Voted, String> {
    let mut request = wire::from_vote(vote).ok_or("a vote without a candidate")?;
    // A leader whose node is dead needs no protection: its lease may be cut short.
    request.leadership_transfer |= consensus.has_lost_leader(group);
    let response = if vote.is_pre_vote {
        group.raft().pre_vote(request).await
    } else {
        group.raft().vote(request).await
    };
    let response = response.map_err(|error| error.to_string())?;
    Ok(wire::to_voted(&response, vote.request))
}

async fn transfer_to(consensus: Arc<Consensus>, transfer: proto::Transfer) -> Body {
    let refused = match consensus.addressed(&transfer.target.unwrap_or_default()) {
        Ok(group) => take_over(&group, &transfer).await.err(),
        Err(why) => Some(why),
    };
    Body::Transferred(proto::Transferred {
        request: transfer.request,
        refused: refused.unwrap_or_default(),
    })
}

async fn take_over(group: &Group, transfer: &proto::Transfer) -> Result<(), String> {
    let leader = transfer.leader.as_ref().ok_or("a transfer without a leader")?;
    let request = openraft::raft::TransferLeaderRequest::new(
        wire::from_ballot(leader),
        transfer.successor,
        transfer.last.as_ref().map(wire::from_id),
    );
    let taken = group.raft().handle_transfer_leader(request).await;
    taken.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
