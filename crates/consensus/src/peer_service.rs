//! The server side of the peer protocol.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use quipu_proto::peer as proto;
use quipu_proto::peer::message::Body;
use quipu_proto::peer::peer_server::{Peer as PeerRpc, PeerServer};
use quipu_runtime::{Deadline, OnExit};
use quipu_types::{NodeId, ShardId, limits};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, Streaming};

use crate::consensus::Consensus;
use crate::error::ProposeError;
use crate::identity::Hello;
use crate::link::message;
use crate::wire;

mod incoming;
mod receive_snapshot;

use incoming::Incoming;

/// How long a caller may take to say who it is.
const HELLO_WAIT: Duration = Duration::from_secs(2);

/// `quipu.peer.v1.Peer`, to be added to the server made by [`crate::peer_server`].
pub type PeerService = PeerServer<Service>;

/// The handler behind [`PeerService`].
pub struct Service {
    consensus: Arc<Consensus>,
    /// Turns of the snapshots that are received.
    turns: Arc<Semaphore>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// The service of a node.
pub(crate) fn service(consensus: Arc<Consensus>) -> PeerService {
    let turns = Arc::new(Semaphore::new(receive_snapshot::AT_ONCE));
    PeerServer::new(Service { consensus, turns })
        .max_decoding_message_size(limits::GRPC_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::GRPC_MESSAGE_BYTES_MAX)
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// The sender, if it is welcome.
    fn admit(&self, hello: Option<&proto::Hello>) -> Result<Hello, Status> {
        let hello = wire::from_hello(hello)
            .ok_or_else(|| Status::invalid_argument("no hello of a known version"))?;
        let verdict = self.consensus.peer_table().judge(&hello);
        verdict.map_err(|rejection| Status::failed_precondition(rejection.to_string()))?;
        Ok(hello)
    }
}

async fn first_hello(frames: &mut Streaming<proto::Frame>) -> Result<proto::Hello, Status> {
    let first = tokio::time::timeout(HELLO_WAIT, frames.message());
    let first = first.await.map_err(|_| Status::deadline_exceeded("no hello in time"))??;
    let first = first.and_then(|frame| frame.messages.into_iter().next());
    match first.and_then(|message| message.body) {
        Some(Body::Hello(hello)) => Ok(hello),
        Some(_) | None => Err(Status::invalid_argument("the first message is no hello")),
    }
}

#[tonic::async_trait]
impl PeerRpc for Service {
    type ExchangeStream = Answers<proto::Frame>;
    type InstallSnapshotStream = Answers<proto::SnapshotAnswer>;

    async fn exchange(
        &self,
        request: Request<Streaming<proto::Frame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let mut frames = request.into_inner();
        let hello = first_hello(&mut frames).await?;
        let hello = self.admit(Some(&hello))?;
        let peers = self.consensus.peer_table();
        let sender = hello.sender;
        let peer = peers.keep(sender.node).ok_or_else(|| Status::internal("a peer of itself"))?;
        peer.met(sender.incarnation, peers.clock().monotonic());
        let (incoming, answers) = Incoming::new(Arc::clone(&self.consensus), peer, frames);
        let name = format!("incoming-{}", sender.node);
        peers.tasks().spawn(&name, OnExit::Log, incoming.run());
        let welcome = message(Body::Welcome(wire::to_identity(&peers.identity())));
        let frames = answers.frames(welcome, peers.traffic().sent.clone()).map(Ok);
        Ok(Response::new(Box::pin(frames)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotPart>>,
    ) -> Result<Response<Self::InstallSnapshotStream>, Status> {
        let mut parts = request.into_inner();
        let begin = receive_snapshot::begin(&mut parts).await?;
        self.admit(begin.hello.as_ref())?;
        let target = begin.target.unwrap_or_default();
        let group = self.consensus.addressed(&target).map_err(Status::unavailable)?;
        let turn = receive_snapshot::turn(&self.turns, &group).await?;
        let room = (turn, Arc::clone(self.consensus.peer_table().disk()));
        let transfer = receive_snapshot::Transfer::open(room, group, begin, &mut parts).await?;
        Ok(Response::new(Box::pin(transfer.answers(parts))))
    }

    async fn forward(
        &self,
        request: Request<proto::ForwardRequest>,
    ) -> Result<Response<proto::ForwardReply>, Status> {
        let request = request.into_inner();
        self.admit(request.hello.as_ref())?;
        let wait = Duration::from_millis(u64::from(request.timeout_ms));
        let deadline = Deadline::after(self.consensus.peer_table().clock(), wait);
        let shard = ShardId::new(request.shard);
        let replied = self.consensus.propose_here(shard, request.command, deadline).await;
        let result = match replied {
            Ok(reply) => proto::forward_reply::Result::Reply(reply.0),
            Err(error) => proto::forward_reply::Result::Failure(to_failure(&error)),
        };
        Ok(Response::new(proto::ForwardReply { result: Some(result) }))
    }

    async fn call(
        &self,
        request: Request<proto::CallRequest>,
    ) -> Result<Response<proto::CallReply>, Status> {
        let request = request.into_inner();
        let hello = self.admit(request.hello.as_ref())?;
        let handler = self.consensus.handlers().get(request.kind);
        let handler = handler.ok_or_else(|| Status::unimplemented("no handler of this kind"))?;
        let result = match handler.call(hello.sender.node, request.payload).await {
            Ok(payload) => proto::call_reply::Result::Payload(payload),
            Err(why) => proto::call_reply::Result::Refused(why),
        };
        Ok(Response::new(proto::CallReply { result: Some(result) }))
    }
}

fn to_failure(error: &ProposeError) -> proto::ForwardFailure {
    use proto::forward_failure::Reason;
    let (reason, leader, bytes) = match error {
        ProposeError::NotLeader { leader } => (Reason::NotLeader, leader.map(NodeId::get), 0),
        ProposeError::LeadershipLost => (Reason::LeadershipLost, None, 0),
        ProposeError::TooLarge { bytes, .. } => (Reason::TooLarge, None, *bytes),
        ProposeError::Deadline => (Reason::Deadline, None, 0),
        ProposeError::Stopped => (Reason::Stopped, None, 0),
    };
    proto::ForwardFailure {
        reason: reason.into(),
        leader: leader.unwrap_or(0),
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    }
}
