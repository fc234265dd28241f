//! Fetches what is damaged here from a replica elsewhere.
//!
//! Of topics that were never compacted, the damaged segment: replicas of those have the same bytes.
//! Of the others everything up to some offset ([`super::replace`]). A segment that still grows is
//! sealed by the next append, and mended once a checkpoint covers it.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_partition::{Mend, MendError, PartitionHandle, ReadError};
use quipu_runtime::{Deadline, run_blocking};
use quipu_types::record::ValidatedBatch;
use quipu_types::{NodeId, Offset, PartitionId};

use super::Alone;
use super::replace::replace_with;
use crate::Broker;
use crate::calls::{self, PARTITION_BYTES};

/// What could not be mended is tried again after this time.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How long a peer may take for one piece.
pub(super) const PIECE_WAIT: Duration = Duration::from_secs(10);
/// Bytes of a piece; one larger batch is a piece by itself.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// Why a place is not mended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unmended {
    #[error("its segment still grows; it is mended some time after the next append")]
    Growing,
    #[error("it moves to another shard: call the move off, and it is mended where it is")]
    Moving,
    #[error("the disk is too full to take a copy")]
    DiskFull,
    #[error("a copy of {needed} bytes is needed, and the disk has room for {room}")]
    NoRoom { needed: u64, room: u64 },
    #[error("no other replica answers")]
    NoPeer,
    #[error("node {node}: {why}")]
    Peer { node: NodeId, why: String },
    #[error(transparent)]
    Copy(#[from] MendError),
}

/// Mends what is found until cancelled.
pub(super) async fn run(broker: Broker) {
    loop {
        let places = broker.inner.damages.all();
        for place in &places {
            if let Err(why) = mend_place(&broker, *place).await {
                tracing::warn!(partition = %place.0, offset = %place.1, %why, "not mended yet");
                broker.inner.damages.keep(*place, why.to_string());
            }
        }
        let found = broker.inner.damages.found.notified();
        if broker.inner.damages.all().is_empty() {
            found.await;
        } else {
            let _ = tokio::time::timeout(RETRY_PAUSE, found).await;
        }
    }
}

async fn mend_place(broker: &Broker, place: (PartitionId, Offset)) -> Result<(), Unmended> {
    let (partition, at) = place;
    let image = broker.image();
    let everything = (Offset::ZERO, Offset::new(u64::MAX));
    let open = image.shard_of(partition).and_then(|shard| broker.inner.shards.get(shard));
    let hosted = open.and_then(|it| Some((it.clone(), it.hosted_partition(partition)?.handle)));
    let Some((shard, handle)) = hosted else {
        // It went, and its damage with it.
        broker.inner.damages.forget(partition, everything);
        return Ok(());
    };
    let reader = handle.clone();
    let read = run_blocking(move || reader.read(at, 1)).await;
    let is_damaged = matches!(read, Ok(Err(ReadError::Corrupt(_))));
    let Some(extent) = handle.extent_of(at).filter(|_| is_damaged) else {
        // It was trimmed, or somebody put it right.
        broker.inner.damages.forget(partition, (at, at.plus(1)));
        return Ok(());
    };
    if broker.inner.consensus.disk().full().is_some() {
        return Err(Unmended::DiskFull);
    }
    let is_elsewhere =
        |node: &NodeId| *node != broker.inner.node && broker.inner.consensus.is_alive(*node);
    let peers = Broker::replica_nodes(&image, shard.id()).into_iter().filter(is_elsewhere);
    if image.topic_by_id(&partition.topic).is_none_or(|topic| topic.was_compacted) {
        // What is copied from here meanwhile must be of one time.
        if image.move_of(partition).is_some() {
            return Err(Unmended::Moving);
        }
        return mend_compacted(broker, &handle, at, peers).await;
    }
    // Whoever rewrites segments does so alone.
    let Ok(_permit) = broker.inner.compacting.acquire().await else { return Ok(()) };
    let mut failure = Unmended::NoPeer;
    for node in peers {
        match mend_with(broker, &handle, at, node).await {
            Ok(true) => {
                tracing::info!(%partition, %node, ?extent, "a damaged segment is mended");
                broker.inner.damages.forget(partition, (extent.base, extent.next));
                return Ok(());
            }
            Ok(false) => {
                handle.want_seal(at);
                return Err(Unmended::Growing);
            }
            Err(why) => failure = why,
        }
    }
    Err(failure)
}

/// Takes what lies up to some offset from one of the nodes.
async fn mend_compacted(
    broker: &Broker,
    handle: &PartitionHandle,
    at: Offset,
    nodes: impl Iterator<Item = NodeId>,
) -> Result<(), Unmended> {
    let (damages, partition) = (&broker.inner.damages, handle.id());
    let _alone = Alone::with(damages, partition);
    // A round that began before is over when its turn ends.
    drop(broker.inner.compacting.acquire().await);
    let mut failure = Unmended::NoPeer;
    for node in nodes {
        match replace_with(broker, handle, at, node).await {
            Ok(Some(end)) => {
                tracing::info!(%partition, %node, until = %end, "a damaged log is mended");
                damages.forget(partition, (Offset::ZERO, end));
                return Ok(());
            }
            Ok(None) => return Err(Unmended::Growing),
            Err(why @ (Unmended::DiskFull | Unmended::NoRoom { .. })) => return Err(why),
            Err(why) => failure = why,
        }
    }
    Err(failure)
}

/// Fetches a sound copy from one node. False: the segment cannot be replaced yet.
async fn mend_with(
    broker: &Broker,
    handle: &PartitionHandle,
    at: Offset,
    node: NodeId,
) -> Result<bool, Unmended> {
    let reader = handle.clone();
    let Some(mut mend) = blocking(move || reader.mend(at)).await? else { return Ok(false) };
    while let Some(range) = mend.missing() {
        let deadline = Deadline::after(broker.clock(), PIECE_WAIT);
        let payload = encode_range(handle.id(), range);
        let copied = broker.inner.consensus.call(node, calls::COPY_RANGE, payload, deadline).await;
        let refused = |why: String| Unmended::Peer { node, why };
        let piece = copied.map_err(|error| refused(error.to_string()))?;
        if piece.is_empty() {
            return Err(refused(format!("it has nothing from offset {} on", range.0)));
        }
        let batches = split(piece).map_err(refused)?;
        mend = blocking(move || put(mend, batches)).await?;
    }
    Ok(blocking(move || mend.finish()).await?)
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MendError> + Send + 'static,
) -> Result<T, MendError> {
    run_blocking(work).await.expect("a panic in a write is a panic here")
}

fn put(mut mend: Mend, batches: Vec<ValidatedBatch>) -> Result<Mend, MendError> {
    batches.iter().try_for_each(|batch| mend.put(batch))?;
    Ok(mend)
}

/// The batches of a piece, each checked.
pub(super) fn split(mut piece: Bytes) -> Result<Vec<ValidatedBatch>, String> {
    let mut batches = Vec::new();
    while !piece.is_empty() {
        let batch = ValidatedBatch::split_first(&mut piece);
        batches.push(batch.map_err(|error| format!("a batch of its copy is damaged: {error}"))?);
    }
    Ok(batches)
}

fn encode_range(partition: PartitionId, (from, until): (Offset, Offset)) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PARTITION_BYTES + 16);
    calls::put_partition(&mut bytes, partition);
    bytes.put_u64(from.get());
    bytes.put_u64(until.get());
    bytes.freeze()
}

fn decode_range(mut bytes: Bytes) -> Option<(PartitionId, Offset, Offset)> {
    if bytes.len() != PARTITION_BYTES + 16 {
        return None;
    }
    let partition = calls::get_partition(&mut bytes);
    Some((partition, Offset::new(bytes.get_u64()), Offset::new(bytes.get_u64())))
}

impl Broker {
    /// Stored batches for a replica elsewhere that lost some, as this one has them.
    pub(crate) async fn answer_copy(&self, payload: Bytes) -> Result<Bytes, String> {
        let (partition, from, until) =
            decode_range(payload).ok_or("payload is not a range of a partition")?;
        let handle = self.own_partition(partition).ok_or("it has no replica of the partition")?;
        let read = run_blocking(move || handle.copy_range(from, until, PIECE_BYTES)).await;
        let batches = read.map_err(|undone| undone.to_string())?;
        if let Err(error) = &batches {
            self.inner.damages.note_unreadable(partition, from, error);
        }
        Ok(batches.map_err(|error| error.to_string())?.concat().into())
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn a_range_comes_back_as_it_was_and_nothing_else_is_taken_for_one() {
        let partition = PartitionId::new(TopicId::from_bytes([7; 16]), PartitionIndex::new(2));
        let (from, until) = (Offset::new(5), Offset::new(900));
        let bytes = encode_range(partition, (from, until));
        assert_eq!(decode_range(bytes.clone()), Some((partition, from, until)));
        assert_eq!(decode_range(bytes.slice(1..)), None);
        assert_eq!(decode_range(Bytes::new()), None);
        assert!(split(Bytes::from_static(b"nonsense")).is_err());
        assert!(split(Bytes::new()).is_ok_and(|batches| batches.is_empty()));
    }
}
