//! Questions between brokers, over consensus's side channel.
//!
//! Every payload is a few big-endian numbers: fixed layouts, named here.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use quipu_runtime::Deadline;
use quipu_types::{NodeId, Offset, PartitionId, PartitionIndex, Progress, ShardId, TopicId};

use crate::Broker;

/// Kinds of this crate: 0x0100 to 0x01FF. On the wire between releases; never reuse.
pub(crate) const METADATA_VERSION: u32 = 0x0100;
/// Asks a leader for a partition's bounds, confirmed by a quorum.
pub(crate) const PARTITION_BOUNDS: u32 = 0x0101;
/// Asks a shard's leader to hand leadership to another node.
pub(crate) const TRANSFER_LEADER: u32 = 0x0102;

/// Asks where partitions stand for readers at given positions.
pub(crate) const STANDINGS: u32 = 0x0103;

/// Asks a replica for stored batches that another one lost.
pub(crate) const COPY_RANGE: u32 = 0x0104;

/// Asks the leader of a shard for a part of a partition that moves away.
pub(crate) const MOVING_PIECE: u32 = 0x0105;

/// Asks a replica for everything up to an offset, piece by piece.
pub(crate) const COPY_LOG: u32 = 0x0106;

/// Asks the leader of a shard how far it has applied its log.
pub(crate) const SHARD_APPLIED: u32 = 0x0107;

/// Bytes of a partition in a payload.
pub(crate) const PARTITION_BYTES: usize = 20;
/// How long a question of another node is worked on.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Answers the questions of other nodes from now on.
pub(crate) fn register(broker: &Broker) {
    on_call(broker, METADATA_VERSION, |broker, _| {
        Box::pin(async move {
            let deadline = Deadline::after(broker.clock(), WAIT_MAX);
            let version = broker.own_confirmed_version(deadline).await;
            let version = version.ok_or("this node is not the controller")?;
            Ok(Bytes::copy_from_slice(&version.get().to_be_bytes()))
        })
    });
    on_call(broker, PARTITION_BOUNDS, |broker, payload| {
        Box::pin(async move {
            let partition = decode_partition(&payload).ok_or("payload is not a partition")?;
            let deadline = Deadline::after(broker.clock(), WAIT_MAX);
            let bounds = broker.own_bounds(partition, deadline).await;
            bounds.map(encode_bounds).map_err(|error| error.to_string())
        })
    });
    on_call(broker, TRANSFER_LEADER, |broker, payload| {
        Box::pin(async move {
            let (shard, node) = decode_transfer(&payload).ok_or("payload is not a transfer")?;
            let transferred = broker.transfer_own(shard, node).await;
            transferred.map(|()| Bytes::new()).map_err(|error| error.to_string())
        })
    });
    on_call(broker, COPY_RANGE, |broker, payload| {
        Box::pin(async move { broker.answer_copy(payload).await })
    });
    on_call(broker, MOVING_PIECE, |broker, payload| {
        Box::pin(async move { broker.answer_piece(payload).await })
    });
    on_call(broker, SHARD_APPLIED, |broker, payload| {
        Box::pin(async move { broker.answer_applied(&payload) })
    });
    on_call(broker, COPY_LOG, |broker, payload| {
        Box::pin(async move { broker.answer_log(payload).await })
    });
    on_call(broker, STANDINGS, |broker, payload| {
        Box::pin(async move {
            let answer = broker.answer_standings(payload).await;
            answer.ok_or_else(|| "payload is not a list of positions".to_owned())
        })
    });
}

type Answer = BoxFuture<'static, Result<Bytes, String>>;

/// Handlers hold the broker weakly: consensus outlives it, and the broker holds consensus.
fn on_call(broker: &Broker, kind: u32, answer: fn(Broker, Bytes) -> Answer) {
    let inner = Arc::downgrade(&broker.inner);
    let handler = move |_from: NodeId, payload: Bytes| -> Answer {
        match inner.upgrade() {
            Some(inner) => answer(Broker { inner }, payload),
            None => Box::pin(std::future::ready(Err("the node is shutting down".to_owned()))),
        }
    };
    broker.inner.consensus.on_call(kind, Arc::new(handler));
}

/// A partition: topic id, index.
pub(crate) fn encode_partition(partition: PartitionId) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PARTITION_BYTES);
    put_partition(&mut bytes, partition);
    bytes.freeze()
}

fn decode_partition(bytes: &[u8]) -> Option<PartitionId> {
    let mut bytes = <&[u8; PARTITION_BYTES]>::try_from(bytes).ok()?.as_slice();
    Some(get_partition(&mut bytes))
}

/// A partition among other fields.
pub(crate) fn put_partition(bytes: &mut BytesMut, partition: PartitionId) {
    bytes.put_slice(&partition.topic.to_bytes());
    bytes.put_u32(partition.index.get());
}

/// Reads what [`put_partition`] wrote; as many bytes must be there.
pub(crate) fn get_partition(bytes: &mut impl Buf) -> PartitionId {
    let mut topic = [0; 16];
    bytes.copy_to_slice(&mut topic);
    PartitionId::new(TopicId::from_bytes(topic), PartitionIndex::new(bytes.get_u32()))
}

/// Bounds: log start, high watermark.
fn encode_bounds(progress: Progress) -> Bytes {
    let mut bytes = BytesMut::with_capacity(16);
    bytes.put_u64(progress.log_start().get());
    bytes.put_u64(progress.high_watermark().get());
    bytes.freeze()
}

pub(crate) fn decode_bounds(bytes: &[u8]) -> Option<Progress> {
    let (start, end) = bytes.split_at_checked(8)?;
    let start = u64::from_be_bytes(start.try_into().ok()?);
    let end = u64::from_be_bytes(end.try_into().ok()?);
    (start <= end).then(|| Progress::new(Offset::new(start), Offset::new(end)))
}

/// A transfer: shard, node.
pub(crate) fn encode_transfer(shard: ShardId, node: NodeId) -> Bytes {
    let mut bytes = BytesMut::with_capacity(12);
    bytes.put_u32(shard.get());
    bytes.put_u64(node.get());
    bytes.freeze()
}

fn decode_transfer(bytes: &[u8]) -> Option<(ShardId, NodeId)> {
    let (shard, node) = bytes.split_at_checked(4)?;
    let shard = u32::from_be_bytes(shard.try_into().ok()?);
    let node = u64::from_be_bytes(node.try_into().ok()?);
    Some((ShardId::new(shard), NodeId::new(node)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_back_as_they_were_and_nothing_else_is_taken_for_one() {
        let partition = PartitionId::new(TopicId::from_bytes([9; 16]), PartitionIndex::new(3));
        let bytes = encode_partition(partition);
        assert_eq!(decode_partition(&bytes), Some(partition));
        assert_eq!(decode_partition(&bytes[1..]), None);
        let progress = Progress::new(Offset::new(4), Offset::new(9));
        assert_eq!(decode_bounds(&encode_bounds(progress)), Some(progress));
        assert_eq!(decode_bounds(&[0xFF; 8]), None);
        let reversed = [9_u64.to_be_bytes(), 4_u64.to_be_bytes()].concat();
        assert_eq!(decode_bounds(&reversed), None);
        let transfer = (ShardId::new(4), NodeId::new(3));
        let bytes = encode_transfer(transfer.0, transfer.1);
        assert_eq!(decode_transfer(&bytes), Some(transfer));
        assert_eq!(decode_transfer(&bytes[..11]), None);
    }
}
