//! Questions between the metadata parts of nodes, over consensus's side channel.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use quipu_consensus::Consensus;
use quipu_runtime::{Clock, Deadline};
use quipu_types::{NodeId, ReplicaId, ShardId};

/// Kinds of this crate: 0x0001 to 0x00FF. On the wire between releases; never reuse.
///
/// Asks a node how far it is on the way into a cluster.
pub(crate) const BOOTSTRAP_STATUS: u32 = 0x0001;
/// Asks the leader of a shard to hand its leadership to another replica.
pub(crate) const TRANSFER_LEADER: u32 = 0x0002;
/// Asks for other replicas in place of those that a node lost.
pub(crate) const REBUILD: u32 = 0x0003;
/// Asks the leader of a shard whether a majority still follows it.
pub(crate) const CONFIRM_LEADER: u32 = 0x0004;

/// How long a leader waits for its followers.
const CONFIRM_WAIT: Duration = Duration::from_secs(3);

/// Answers requests to hand leadership over from now on.
pub(crate) fn answer_transfers(consensus: &Arc<Consensus>) {
    let weak = Arc::downgrade(consensus);
    let handler = move |_from: NodeId, payload: Bytes| transfer(weak.clone(), payload);
    consensus.on_call(TRANSFER_LEADER, Arc::new(handler));
}

/// The handler is kept by consensus, so it holds consensus weakly.
async fn transfer(consensus: Weak<Consensus>, payload: Bytes) -> Result<Bytes, String> {
    let (shard, to) = decode_transfer(&payload).ok_or("the payload is not a transfer")?;
    let consensus = consensus.upgrade().ok_or("the node is shutting down")?;
    let group = consensus.group(shard);
    let group = group.ok_or_else(|| format!("shard {shard} has no replica here"))?;
    let transferred = group.transfer_leadership(to).await;
    transferred.map(|()| Bytes::new()).map_err(|error| error.to_string())
}

/// Answers from now on whether a majority follows a leader that is here.
pub(crate) fn answer_confirmations(consensus: &Arc<Consensus>, clock: &Clock) {
    let (weak, clock) = (Arc::downgrade(consensus), clock.clone());
    let handler =
        move |_from: NodeId, payload: Bytes| confirm(weak.clone(), clock.clone(), payload);
    consensus.on_call(CONFIRM_LEADER, Arc::new(handler));
}

async fn confirm(
    consensus: Weak<Consensus>,
    clock: Clock,
    payload: Bytes,
) -> Result<Bytes, String> {
    let shard = decode_shard(&payload).ok_or("the payload is not a shard")?;
    let consensus = consensus.upgrade().ok_or("the node is shutting down")?;
    let group = consensus.group(shard);
    let group = group.ok_or_else(|| format!("shard {shard} has no replica here"))?;
    let deadline = Deadline::after(&clock, CONFIRM_WAIT);
    let confirmed = group.ensure_linearizable(deadline).await;
    confirmed.map(|()| Bytes::new()).map_err(|error| error.to_string())
}

/// A shard. Big-endian.
pub(crate) fn encode_shard(shard: ShardId) -> Bytes {
    Bytes::copy_from_slice(&shard.get().to_be_bytes())
}

fn decode_shard(bytes: &[u8]) -> Option<ShardId> {
    Some(ShardId::new(u32::from_be_bytes(bytes.try_into().ok()?)))
}

/// A transfer: shard, replica. Big-endian.
pub(crate) fn encode_transfer(shard: ShardId, to: ReplicaId) -> Bytes {
    let mut bytes = BytesMut::with_capacity(12);
    bytes.put_u32(shard.get());
    bytes.put_u64(to.get());
    bytes.freeze()
}

fn decode_transfer(bytes: &[u8]) -> Option<(ShardId, ReplicaId)> {
    let (shard, to) = bytes.split_at_checked(4)?;
    let shard = u32::from_be_bytes(shard.try_into().ok()?);
    let to = u64::from_be_bytes(to.try_into().ok()?);
    Some((ShardId::new(shard), ReplicaId::new(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_comes_back_and_nothing_else_is_taken_for_one() {
        let transfer = (ShardId::new(7), ReplicaId::new(1 << 40));
        let bytes = encode_transfer(transfer.0, transfer.1);
        assert_eq!(decode_transfer(&bytes), Some(transfer));
        for length in 0..12 {
            assert_eq!(decode_transfer(&bytes[..length]), None);
        }
        assert_eq!(decode_transfer(&[0; 13]), None);
    }

    #[test]
    fn a_shard_comes_back_and_nothing_else_is_taken_for_one() {
        let shard = ShardId::new(1 << 30);
        assert_eq!(decode_shard(&encode_shard(shard)), Some(shard));
        assert_eq!(decode_shard(&[0; 3]), None);
        assert_eq!(decode_shard(&[0; 5]), None);
    }
}
