//! Receives one snapshot and installs it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use openraft::alias::SnapshotOf;
use openraft::storage::SnapshotMeta;
use quipu_proto::peer as proto;
use quipu_proto::peer::snapshot_answer::Answer;
use quipu_proto::peer::snapshot_part::Part;
use quipu_runtime::run_blocking;
use quipu_types::ShardId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, Streaming};

use crate::disk_space::{DiskSpace, Full, Reservation};
use crate::group::Group;
use crate::snapshot::{self, SnapshotData};
use crate::state_machine::SnapshotReceiver;
use crate::type_config::{RaftVote, TypeConfig};
use crate::{membership, metrics, wire};

/// A larger manifest is refused: it is kept in memory until the snapshot is installed.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;
/// Snapshots of shards that are received at once: what is staged of them needs room beside what is
/// stored.
pub(super) const AT_ONCE: usize = 2;
/// A sender that is silent for so long gives others their turn.
const PART_WAIT: Duration = Duration::from_secs(30);
/// What found no room is not sent again at once: the sender hears of it after this.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(5);

type Meta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// Reads the first part.
pub(super) async fn begin(
    parts: &mut Streaming<proto::SnapshotPart>,
) -> Result<proto::SnapshotBegin, Status> {
    let first = tokio::time::timeout(super::HELLO_WAIT, parts.message()).await;
    match first.map_err(|_| Status::deadline_exceeded("no beginning in time"))?? {
        Some(proto::SnapshotPart { part: Some(Part::Begin(begin)) }) => Ok(begin),
        Some(_) | None => Err(Status::invalid_argument("the first part is no beginning")),
    }
}

/// Waits for the turn of a shard's snapshot. The metadata's, which is small, needs none.
pub(super) async fn turn(
    turns: &Arc<Semaphore>,
    group: &Group,
) -> Result<Option<OwnedSemaphorePermit>, Status> {
    if group.shard() == ShardId::METADATA {
        return Ok(None);
    }
    let turn = Arc::clone(turns).acquire_owned().await;
    turn.map(Some).map_err(|_| Status::unavailable("the node stops"))
}

/// Reads the manifest, which follows the first part.
async fn manifest(
    parts: &mut Streaming<proto::SnapshotPart>,
    announced: u64,
) -> Result<Bytes, Status> {
    if announced > MANIFEST_BYTES_MAX {
        return Err(Status::resource_exhausted(format!(
            "a manifest of {announced} bytes; at most {MANIFEST_BYTES_MAX} are taken"
        )));
    }
    let announced = usize::try_from(announced).expect("the bound fits in usize");
    // Grows with what comes, not with what is said.
    let mut manifest = BytesMut::new();
    while manifest.len() < announced {
        match parts.message().await?.and_then(|part| part.part) {
            Some(Part::Manifest(piece)) if !piece.is_empty() => manifest.extend_from_slice(&piece),
            Some(_) | None => return Err(Status::invalid_argument("the manifest is cut short")),
        }
    }
    if manifest.len() > announced {
        return Err(Status::invalid_argument("the manifest is longer than announced"));
    }
    Ok(manifest.freeze())
}

/// A transfer under way. Dropping it forgets what was received.
pub(super) struct Transfer {
    group: Group,
    vote: RaftVote,
    meta: Meta,
    receiver: Box<dyn SnapshotReceiver>,
    room: Reservation,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Transfer {
    pub(super) async fn open(
        (turn, disk): (Option<OwnedSemaphorePermit>, Arc<DiskSpace>),
        group: Group,
        begin: proto::SnapshotBegin,
        parts: &mut Streaming<proto::SnapshotPart>,
    ) -> Result<Self, Status> {
        let vote = begin.leader.as_ref().map(wire::from_ballot);
        let vote = vote.ok_or_else(|| Status::invalid_argument("a snapshot without a leader"))?;
        let last_membership = membership::decode_stored(begin.membership)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let last_log_id = begin.last.as_ref().map(wire::from_id);
        let meta = SnapshotMeta { last_log_id, last_membership };
        let manifest = manifest(parts, begin.manifest_bytes).await?;
        let receiver = group.machine().receiver(manifest).await;
        let receiver = receiver.map_err(|error| Status::aborted(error.to_string()))?;
        tracing::info!(shard = %group.shard(), %meta, "receiving a snapshot");
        let room = Reservation::new(disk, receiver.staged_bytes());
        Ok(Self { group, vote, meta, receiver, room, _turn: turn })
    }

    /// What is here already; then, after the last part, the vote.
    pub(super) fn answers(
        self,
        parts: Streaming<proto::SnapshotPart>,
    ) -> impl Stream<Item = Result<proto::SnapshotAnswer, Status>> + Send {
        let have = Answer::Have(self.receiver.have());
        let installed = futures::stream::once(async move { self.receive(parts).await });
        let answers = futures::stream::once(std::future::ready(Ok(have))).chain(installed);
        answers.map(|answer| answer.map(|answer| proto::SnapshotAnswer { answer: Some(answer) }))
    }

    async fn receive(
        mut self,
        mut parts: Streaming<proto::SnapshotPart>,
    ) -> Result<Answer, Status> {
        let refused = |error: crate::StateMachineError| Status::aborted(error.to_string());
        let received = metrics::snapshot_bytes("in");
        loop {
            let next = tokio::time::timeout(PART_WAIT, parts.message()).await;
            let next = next.map_err(|_| Status::deadline_exceeded("the sender is silent"))??;
            match next.and_then(|part| part.part) {
                Some(Part::Chunk(chunk)) => {
                    if let Err(full) = self.room.grow(chunk.len()) {
                        return Err(self.give_up(full).await);
                    }
                    received.increment(u64::try_from(chunk.len()).expect("a length fits in u64"));
                    let written = snapshot::write_chunk(self.receiver, chunk).await;
                    self.receiver = written.map_err(refused)?;
                }
                Some(Part::End(_)) => break,
                Some(Part::Begin(_) | Part::Manifest(_)) | None => {
                    return Err(Status::aborted("cut short"));
                }
            }
        }
        self.receiver = snapshot::finish(self.receiver).await.map_err(refused)?;
        self.install().await
    }

    /// There is no room for the rest of it: what has come makes room for what is needed more.
    async fn give_up(self, full: Full) -> Status {
        tracing::warn!(shard = %self.group.shard(), %full, "a snapshot is given up");
        if run_blocking(move || self.receiver.give_up()).await.is_err() {
            return Status::internal("giving up a snapshot panicked");
        }
        tokio::time::sleep(NO_ROOM_PAUSE).await;
        Status::resource_exhausted(full.to_string())
    }

    async fn install(self) -> Result<Answer, Status> {
        let data = SnapshotData::Received(self.receiver);
        let snapshot: SnapshotOf<TypeConfig, SnapshotData> =
            openraft::Snapshot { meta: self.meta, snapshot: data };
        let installed = self.group.raft().install_full_snapshot(self.vote, snapshot).await;
        let installed = installed.map_err(|error| Status::unavailable(error.to_string()))?;
        tracing::info!(shard = %self.group.shard(), "installed a snapshot");
        Ok(Answer::Installed(wire::to_ballot(&installed.vote)))
    }
}
