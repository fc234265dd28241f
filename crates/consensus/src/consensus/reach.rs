//! From one node to another: commands for a shard's leader, and calls.

use std::time::Duration;

use bytes::Bytes;
use quipu_proto::peer as proto;
use quipu_runtime::Deadline;
use quipu_types::{NodeId, ShardId};
use tonic::{Code, Status};

use super::Consensus;
use crate::error::{CallError, ProposeError};
use crate::group::COMMAND_BYTES_MAX;
use crate::state_machine::Reply;
use crate::{transport, wire};

impl Consensus {
    /// Calls a handler on another node, or on this one.
    ///
    /// # Errors
    /// [`CallError::effect`] says whether the handler may have run.
    pub async fn call(
        &self,
        node: NodeId,
        kind: u32,
        payload: Bytes,
        deadline: Deadline,
    ) -> Result<Bytes, CallError> {
        let clock = self.peers.clock();
        if node == self.peers.node() {
            let handler = self.handlers.get(kind).ok_or(CallError::NoHandler { node, kind })?;
            let answer = deadline.timeout(clock, handler.call(node, payload)).await;
            return answer.map_err(|_| CallError::Deadline)?.map_err(CallError::Refused);
        }
        let link = self.peers.peer(node).and_then(|peer| peer.link());
        let carrier = link.ok_or(CallError::Unreachable { node })?.carrier();
        let hello = Some(wire::to_hello(&self.peers.hello(node)));
        let request = proto::CallRequest { hello, kind, payload };
        let mut client = transport::client(carrier);
        let reply = deadline.timeout(clock, client.call(request)).await;
        match reply.map_err(|_| CallError::Deadline)? {
            Ok(reply) => match reply.into_inner().result {
                Some(proto::call_reply::Result::Payload(payload)) => Ok(payload),
                Some(proto::call_reply::Result::Refused(why)) => Err(CallError::Refused(why)),
                None => Err(CallError::Lost { node }),
            },
            Err(status) if status.code() == Code::Unimplemented => {
                Err(CallError::NoHandler { node, kind })
            }
            Err(status) if was_turned_away(&status) => Err(CallError::Unreachable { node }),
            Err(_) => Err(CallError::Lost { node }),
        }
    }

    /// Appends of so many bytes took so long: bulk makes way for appends that suffer from it.
    pub fn felt(&self, bytes: usize, took: Duration) {
        self.peers.pace.felt(self.peers.clock(), bytes, took);
    }

    /// Waits until so many bytes of bulk may leave this node: they share its rate with snapshots.
    /// False, and nothing is taken of the rate, when that would be longer than `wait_max`.
    pub async fn admit_bulk(&self, bytes: usize, wait_max: Duration) -> bool {
        self.peers.pace.admit_within(self.peers.clock(), bytes, wait_max).await
    }

    /// Proposes a command at another node, or at this one. No order among forwarded commands.
    ///
    /// # Errors
    /// As [`crate::Group::propose`]; a connection that breaks meanwhile is `LeadershipLost`.
    pub async fn forward(
        &self,
        node: NodeId,
        shard: ShardId,
        command: Bytes,
        deadline: Deadline,
    ) -> Result<Reply, ProposeError> {
        if node == self.peers.node() {
            return self.propose_here(shard, command, deadline).await;
        }
        if command.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: command.len(), max: COMMAND_BYTES_MAX });
        }
        let link = self.peers.peer(node).and_then(|peer| peer.link());
        let carrier = link.ok_or(ProposeError::NotLeader { leader: None })?.carrier();
        let clock = self.peers.clock();
        let timeout_ms = u32::try_from(deadline.remaining(clock).as_millis()).unwrap_or(u32::MAX);
        let request = proto::ForwardRequest {
            hello: Some(wire::to_hello(&self.peers.hello(node))),
            shard: shard.get(),
            command,
            timeout_ms,
        };
        let mut client = transport::client(carrier);
        let reply = deadline.timeout(clock, client.forward(request)).await;
        match reply.map_err(|_| ProposeError::Deadline)? {
            Ok(reply) => from_forwarded(reply.into_inner()),
            Err(status) if was_turned_away(&status) => {
                Err(ProposeError::NotLeader { leader: None })
            }
            Err(_) => Err(ProposeError::LeadershipLost),
        }
    }

    /// Proposes at the replica here, if it leads.
    pub(crate) async fn propose_here(
        &self,
        shard: ShardId,
        command: Bytes,
        deadline: Deadline,
    ) -> Result<Reply, ProposeError> {
        match self.group(shard) {
            Some(group) => group.propose_now(command, deadline).await,
            None => {
                let own = self.peers.node();
                let hint = self.peers.hint(shard).map(|hint| hint.node);
                Err(ProposeError::NotLeader { leader: hint.filter(|node| *node != own) })
            }
        }
    }
}

/// Whether a call was refused before it reached a handler.
fn was_turned_away(status: &Status) -> bool {
    matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument)
}

fn from_forwarded(reply: proto::ForwardReply) -> Result<Reply, ProposeError> {
    use proto::forward_failure::Reason;
    let failure = match reply.result {
        Some(proto::forward_reply::Result::Reply(reply)) => return Ok(Reply(reply)),
        Some(proto::forward_reply::Result::Failure(failure)) => failure,
        None => return Err(ProposeError::LeadershipLost),
    };
    Err(match failure.reason() {
        Reason::NotLeader => {
            let leader = (failure.leader != 0).then(|| NodeId::new(failure.leader));
            ProposeError::NotLeader { leader }
        }
        Reason::TooLarge => {
            let bytes = usize::try_from(failure.bytes).unwrap_or(usize::MAX);
            ProposeError::TooLarge { bytes, max: COMMAND_BYTES_MAX }
        }
        Reason::Deadline => ProposeError::Deadline,
        Reason::Stopped => ProposeError::Stopped,
        Reason::LeadershipLost | Reason::Unspecified => ProposeError::LeadershipLost,
    })
}
