//! openraft's network on the links: one client per group and peer, all over the one stream.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, stream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory};
use quipu_proto::peer as proto;
use quipu_proto::peer::message::Body;
use quipu_types::{NodeId, ReplicaId, ShardId};

use crate::link::{Answer, Disconnected, Link};
use crate::peers::Peers;
use crate::snapshot::SnapshotData;
use crate::type_config::{Place, RaftVote, TypeConfig};
use crate::wire;

mod acked;
mod send_snapshot;
mod session;

use acked::Acked;
use session::Session;

/// What openraft calls when an RPC fails.
type Failure = RPCError<TypeConfig>;
/// The answers of one session.
type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Failure>>;

/// Makes the clients of one group.
pub(crate) struct Network {
    peers: Arc<Peers>,
    shard: ShardId,
    /// What each replica acknowledged: shared by its clients, because openraft makes new ones.
    acked: BTreeMap<u64, Arc<Mutex<Acked>>>,
}

impl Network {
    pub(crate) const fn new(peers: Arc<Peers>, shard: ShardId) -> Self {
        Self { peers, shard, acked: BTreeMap::new() }
    }

    fn client(&mut self, replica: u64, node: NodeId, is_urgent: bool) -> Client {
        let keeps = self.peers.keep(node);
        if keeps.is_none() {
            tracing::warn!(shard = %self.shard, replica, %node, "a replica's peer lives here too");
        }
        let target = wire::to_target(self.shard, ReplicaId::new(replica));
        let acked = Arc::clone(self.acked.entry(replica).or_default());
        Client { peers: Arc::clone(&self.peers), node, target, acked, is_urgent }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, place: &Place) -> Client {
        self.client(target, place.node, false)
    }

    /// Heartbeats overtake data.
    async fn new_heartbeat_client(&mut self, target: u64, place: &Place) -> Client {
        self.client(target, place.node, true)
    }
}

/// One group's way to one replica elsewhere.
pub(crate) struct Client {
    peers: Arc<Peers>,
    node: NodeId,
    target: proto::Target,
    acked: Arc<Mutex<Acked>>,
    is_urgent: bool,
}

/// openraft backs off after this one, and is told when the connection is back.
fn unreachable(why: impl ToString) -> Unreachable<TypeConfig> {
    Unreachable::from_string(why)
}

/// The answer of a peer without a connection. It comes after the first request, before which
/// openraft backs off, and nowhere else: given at once, it would have openraft ask again at once,
/// as fast as the processor goes, until the peer is back.
fn absent<'s, S>(mut input: S, why: Unreachable<TypeConfig>) -> Answers<'s>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 's,
{
    let answer = async move { input.next().await.map(|_| Err(why.into())) };
    stream::once(answer).filter_map(std::future::ready).boxed()
}

impl Client {
    fn link(&self) -> Result<Arc<Link>, Unreachable<TypeConfig>> {
        let link = self.peers.peer(self.node).and_then(|peer| peer.link());
        link.ok_or_else(|| unreachable(format!("no connection to node {}", self.node)))
    }

    /// One request within its time.
    async fn request(
        &self,
        option: &RPCOption,
        body: impl FnOnce(u64) -> Body,
    ) -> Result<Answer, Failure> {
        let link = self.link()?;
        let number = link.number();
        let answer = link.request(number, body(number));
        match tokio::time::timeout(option.hard_ttl(), answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(gone)) => Err(unreachable(gone).into()),
            Err(_) => Err(unreachable(format!("node {} did not answer in time", self.node)).into()),
        }
    }

    async fn poll_vote(
        &self,
        request: &VoteRequest<TypeConfig>,
        option: &RPCOption,
        is_pre_vote: bool,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        let body = |number| Body::Vote(wire::to_vote(request, self.target, number, is_pre_vote));
        match self.request(option, body).await? {
            Answer::Voted(voted) if voted.unavailable.is_empty() => {
                wire::from_voted(&voted).ok_or_else(|| unreachable("an answer cut short").into())
            }
            Answer::Voted(voted) => Err(unreachable(voted.unavailable).into()),
            Answer::Transferred(_) => Err(unreachable("an answer to another question").into()),
        }
    }
}

impl NetBackoff<TypeConfig> for Client {
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

impl NetStreamAppend<TypeConfig> for Client {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<Answers<'s>, Failure>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        // The given time suits a heartbeat; data may wait for a busy disk.
        let patience =
            if self.is_urgent { option.hard_ttl() } else { self.peers.config().append_timeout };
        let answers = match self.link() {
            Ok(link) => Session::open(link, self, patience, input)
                .map_or_else(|input| absent(input, unreachable(Disconnected)), StreamExt::boxed),
            Err(why) => absent(input, why),
        };
        std::future::ready(Ok(answers)).boxed()
    }
}

impl NetVote<TypeConfig> for Client {
    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        self.poll_vote(&request, &option, false).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        self.poll_vote(&request, &option, true).await
    }
}

impl NetTransferLeader<TypeConfig> for Client {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failure> {
        let body = |number| {
            Body::Transfer(proto::Transfer {
                request: number,
                target: Some(self.target),
                leader: Some(wire::to_ballot(request.from_leader())),
                successor: *request.to_node_id(),
                last: request.last_log_id().map(wire::to_id),
            })
        };
        match self.request(&option, body).await? {
            Answer::Transferred(transferred) if transferred.refused.is_empty() => Ok(Ok(())),
            Answer::Transferred(transferred) => Err(unreachable(transferred.refused).into()),
            Answer::Voted(_) => Err(unreachable("an answer to another question").into()),
        }
    }
}

impl NetSnapshot<TypeConfig> for Client {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: openraft::alias::SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Source(source) = snapshot.snapshot else {
            return Err(unreachable("a received snapshot is not sent on").into());
        };
        let sent = send_snapshot::send(
            &self.peers,
            self.node,
            self.target,
            send_snapshot::Offer { vote, meta: snapshot.meta, source },
        );
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = sent => sent.map(SnapshotResponse::new).map_err(|why| {
                tracing::warn!(node = %self.node, shard = self.target.shard, why, "snapshot not sent");
                unreachable(why).into()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_is_away_answers_only_after_the_backoff_before_the_first_request() {
        let (request, requests) = futures::channel::oneshot::channel();
        let input = requests.into_stream().map(|request| request.expect("it is sent"));
        let mut answers = absent(input, unreachable("away"));
        assert!(answers.next().now_or_never().is_none(), "openraft still backs off");
        let vote = RaftVote::new_committed(1, 1);
        let (prev_log_id, leader_commit, entries) = (None, None, Vec::new());
        let sent = request.send(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit });
        assert!(sent.is_ok());
        assert!(matches!(answers.next().await, Some(Err(RPCError::Unreachable(_)))));
        assert!(answers.next().await.is_none());
    }
}
