//! What one shard asks another for, to fill a partition that moves.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quipu_runtime::run_blocking;
use quipu_shard::Hosted;
use quipu_types::record::ValidatedBatch;
use quipu_types::{Offset, PartitionId, Progress, ShardId};

use crate::Broker;
use crate::calls::{self, PARTITION_BYTES};

/// Bytes of a piece; one larger batch is a piece by itself.
const PIECE_BYTES: usize = 256 << 10;
/// How long an answer may wait for its turn among what else is copied.
const ROOM_WAIT: Duration = Duration::from_secs(5);
const QUESTION_BYTES: usize = PARTITION_BYTES + 12;
const ANSWER_BYTES: usize = 16;

/// A part of a partition, as the shard that has it stores it.
#[derive(Debug)]
pub(super) struct Piece {
    /// How far the partition reaches there.
    pub(super) progress: Progress,
    /// Whole batches, each checked.
    pub(super) batches: Vec<ValidatedBatch>,
}

pub(super) fn encode_question(partition: PartitionId, shard: ShardId, from: Offset) -> Bytes {
    let mut bytes = BytesMut::with_capacity(QUESTION_BYTES);
    calls::put_partition(&mut bytes, partition);
    bytes.put_u32(shard.get());
    bytes.put_u64(from.get());
    bytes.freeze()
}

fn decode_question(mut bytes: Bytes) -> Option<(PartitionId, ShardId, Offset)> {
    if bytes.len() != QUESTION_BYTES {
        return None;
    }
    let partition = calls::get_partition(&mut bytes);
    Some((partition, ShardId::new(bytes.get_u32()), Offset::new(bytes.get_u64())))
}

fn encode_answer(progress: Progress, batches: &[Bytes]) -> Bytes {
    let mut bytes =
        BytesMut::with_capacity(ANSWER_BYTES + batches.iter().map(Bytes::len).sum::<usize>());
    bytes.put_u64(progress.log_start().get());
    bytes.put_u64(progress.high_watermark().get());
    batches.iter().for_each(|batch| bytes.extend_from_slice(batch));
    bytes.freeze()
}

pub(super) fn decode_answer(mut bytes: Bytes) -> Result<Piece, String> {
    if bytes.len() < ANSWER_BYTES {
        return Err("its answer ends early".to_owned());
    }
    let head = bytes.split_to(ANSWER_BYTES);
    let progress = calls::decode_bounds(&head).ok_or("its answer contradicts itself")?;
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let batch = ValidatedBatch::split_first(&mut bytes);
        batches.push(batch.map_err(|error| format!("a batch of its copy is damaged: {error}"))?);
    }
    Ok(Piece { progress, batches })
}

impl Broker {
    /// Stored batches of a partition that moves away, from an offset on, and how far it reaches
    /// here.
    pub(crate) async fn answer_piece(&self, payload: Bytes) -> Result<Bytes, String> {
        let (partition, shard, from) =
            decode_question(payload).ok_or("payload is not a question for a piece")?;
        let shard = self.led_shard(shard).map_err(|error| error.to_string())?;
        let hosted = shard.hosted_partition(partition);
        let Hosted { handle, tenure, .. } = hosted.ok_or("it does not host the partition")?;
        let progress = handle.progress();
        let from = from.max(progress.log_start());
        let until = progress.high_watermark();
        let read = run_blocking(move || handle.copy_range(from, until, PIECE_BYTES)).await;
        let batches = read.map_err(|undone| undone.to_string())?;
        let batches = batches.map_err(|error| {
            self.inner.damages.note_unreadable(partition, from, &error);
            error.to_string()
        })?;
        let answer = encode_answer(progress, &batches);
        // It shares the node's rate with snapshots: live traffic has room. Of what is sealed the
        // last part goes at once: it is shown to nobody until it has arrived.
        if tenure.is_open() && !self.inner.consensus.admit_bulk(answer.len(), ROOM_WAIT).await {
            return Err("it sends as much as it may at the moment".to_owned());
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn questions_and_answers_come_back_as_they_were_and_nothing_else_is_taken_for_one() {
        let partition = PartitionId::new(TopicId::from_bytes([7; 16]), PartitionIndex::new(2));
        let (shard, from) = (ShardId::new(3), Offset::new(900));
        let bytes = encode_question(partition, shard, from);
        assert_eq!(decode_question(bytes.clone()), Some((partition, shard, from)));
        assert_eq!(decode_question(bytes.slice(1..)), None);
        let progress = Progress::new(Offset::new(4), Offset::new(9));
        let piece = decode_answer(encode_answer(progress, &[])).expect("decode");
        assert_eq!((piece.progress, piece.batches.len()), (progress, 0));
        let reversed = [9_u64.to_be_bytes(), 4_u64.to_be_bytes()].concat();
        for wrong in [&[][..], &[1; 15], &reversed, &[0; 20]] {
            assert!(decode_answer(Bytes::copy_from_slice(wrong)).is_err(), "{wrong:?}");
        }
    }
}
