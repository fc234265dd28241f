//! Sends one snapshot over a connection of its own, so that megabytes never delay a heartbeat.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use openraft::alias::SnapshotMetaOf;
use quipu_proto::peer as proto;
use quipu_proto::peer::snapshot_answer::Answer;
use quipu_proto::peer::snapshot_part::Part;
use quipu_types::NodeId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::peers::Peers;
use crate::snapshot;
use crate::state_machine::{SnapshotCursor, SnapshotSource};
use crate::type_config::{RaftVote, TypeConfig};
use crate::{membership, metrics, transport, wire};

/// Chunks read ahead of the network.
const CHUNKS_AHEAD: usize = 4;
/// What one message holds of a manifest: it grows with partitions and consumer groups.
const MANIFEST_PIECE_BYTES: usize = 1 << 20;

/// What is sent, and as whose.
pub(super) struct Offer {
    pub(super) vote: RaftVote,
    pub(super) meta: SnapshotMetaOf<TypeConfig>,
    pub(super) source: Arc<dyn SnapshotSource>,
}

/// Sends the snapshot; resolves with the receiver's vote once it is installed there.
pub(super) async fn send(
    peers: &Peers,
    node: NodeId,
    target: proto::Target,
    offer: Offer,
) -> Result<RaftVote, String> {
    let address = peers.address(node).ok_or("the node has no known address")?;
    let carrier = peers.connect(address).await?;
    let manifest = offer.source.manifest();
    let begin = Part::Begin(begin(peers, node, target, &offer, manifest.len()));
    let opening = std::iter::once(begin).chain(pieces(manifest).map(Part::Manifest));
    let (parts, queue) = mpsc::channel(CHUNKS_AHEAD);
    let all = futures::stream::iter(opening.map(part)).chain(ReceiverStream::new(queue));
    let answers = transport::client(carrier).install_snapshot(all).await;
    let mut answers = answers.map_err(|status| status.message().to_owned())?.into_inner();
    let Answer::Have(have) = next(&mut answers).await? else {
        return Err("the receiver did not say what it has".to_owned());
    };
    // Both at once: an answer before the end is a refusal, and ends the sending.
    let installed = tokio::select! {
        biased;
        answer = next(&mut answers) => answer?,
        sent = push_chunks(peers, &parts, &offer.source, have) => {
            sent?;
            next(&mut answers).await?
        }
    };
    match installed {
        Answer::Installed(vote) => Ok(wire::from_ballot(&vote)),
        Answer::Have(_) => Err("the receiver began anew".to_owned()),
    }
}

fn begin(
    peers: &Peers,
    node: NodeId,
    target: proto::Target,
    offer: &Offer,
    manifest_bytes: usize,
) -> proto::SnapshotBegin {
    proto::SnapshotBegin {
        hello: Some(wire::to_hello(&peers.hello(node))),
        target: Some(target),
        leader: Some(wire::to_ballot(&offer.vote)),
        last: offer.meta.last_log_id.as_ref().map(wire::to_id),
        membership: membership::encode_stored(&offer.meta.last_membership),
        manifest_bytes: u64::try_from(manifest_bytes).expect("a length fits in u64"),
    }
}

/// Cuts a manifest into what messages hold.
fn pieces(mut manifest: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let length = manifest.len().min(MANIFEST_PIECE_BYTES);
        (length > 0).then(|| manifest.split_to(length))
    })
}

fn part(part: Part) -> proto::SnapshotPart {
    proto::SnapshotPart { part: Some(part) }
}

async fn push(parts: &mpsc::Sender<proto::SnapshotPart>, next: Part) -> Result<(), String> {
    parts.send(part(next)).await.map_err(|_| "the connection broke".to_owned())
}

async fn push_chunks(
    peers: &Peers,
    parts: &mpsc::Sender<proto::SnapshotPart>,
    source: &Arc<dyn SnapshotSource>,
    have: Bytes,
) -> Result<(), String> {
    let mut cursor = SnapshotCursor::default();
    let sent = metrics::snapshot_bytes("out");
    loop {
        let read = snapshot::read_chunk(source, &have, cursor).await;
        let (chunk, next) = read.map_err(|error| error.to_string())?;
        cursor = next;
        let Some(chunk) = chunk else { break };
        peers.pace.admit(peers.clock(), chunk.len()).await;
        sent.increment(u64::try_from(chunk.len()).expect("a length fits in u64"));
        quipu_failpoint::hit("consensus.snapshot.send.before");
        push(parts, Part::Chunk(chunk)).await?;
        quipu_failpoint::hit("consensus.snapshot.send.after");
    }
    push(parts, Part::End(proto::SnapshotEnd {})).await
}

async fn next(answers: &mut Streaming<proto::SnapshotAnswer>) -> Result<Answer, String> {
    match answers.message().await {
        Ok(Some(proto::SnapshotAnswer { answer: Some(answer) })) => Ok(answer),
        Ok(_) => Err("the receiver ended the transfer".to_owned()),
        Err(status) => Err(status.message().to_owned()),
    }
}
