//! How far a partition has come, beside how far its readers have.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::StreamExt;
use quipu_partition::PartitionHandle;
use quipu_runtime::{Deadline, run_blocking};
use quipu_types::{NodeId, Offset, PartitionId, Progress, TimestampMs};

use crate::calls::{get_partition, put_partition};
use crate::freshness::Known;
use crate::oldest::written_at;
use crate::{Broker, calls};

/// Questions to other nodes at once.
const QUESTIONS_MAX: usize = 16;
/// Partitions of one question.
const QUESTION_PARTITIONS_MAX: usize = 1_000;

/// Where a partition stands, for somebody at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) progress: Progress,
    /// When the batch with the next record to read was written; none when there is none.
    pub(super) oldest_unread: Option<TimestampMs>,
}

impl Standing {
    /// Records from a position to the end; those that are gone count no more.
    pub(super) fn lag(&self, position: Option<Offset>) -> u64 {
        let start = self.progress.log_start();
        let from = position.map_or(start, |position| position.max(start));
        self.progress.high_watermark().get().saturating_sub(from.get())
    }

    /// Age of the oldest record that is not read. Unit: milliseconds.
    pub(super) fn lag_ms(&self, now: TimestampMs) -> u64 {
        let age = self.oldest_unread.map_or(0, |written| now.get().saturating_sub(written.get()));
        u64::try_from(age).unwrap_or(0)
    }
}

type Question = Vec<(PartitionId, Option<Offset>)>;

impl Broker {
    /// Where partitions stand for readers at these positions. Partitions whose node does not
    /// answer are left out. A replica here is as good as the leader: it is behind by a heartbeat.
    pub(super) async fn reader_standings(
        &self,
        known: &Known,
        positions: Question,
        deadline: Deadline,
    ) -> BTreeMap<PartitionId, Standing> {
        let mut own = Vec::new();
        let mut elsewhere: BTreeMap<NodeId, Question> = BTreeMap::new();
        for (partition, position) in positions {
            let Ok(route) = known.route(partition.topic, partition.index) else { continue };
            let shard = self.inner.shards.get(route.shard);
            match shard.and_then(|shard| shard.partition(partition)) {
                Some(handle) => own.push((handle, position)),
                None => {
                    if let Some(node) = self.leader_elsewhere(route.shard) {
                        elsewhere.entry(node).or_default().push((partition, position));
                    }
                }
            }
        }
        let mut found = own_standings(own).await;
        let questions: Vec<(NodeId, Question)> = elsewhere
            .into_iter()
            .flat_map(|(node, positions)| {
                let parts = positions.chunks(QUESTION_PARTITIONS_MAX).map(<[_]>::to_vec);
                parts.map(move |part| (node, part)).collect::<Vec<_>>()
            })
            .collect();
        let answers = futures::stream::iter(questions)
            .map(|(node, question)| self.ask_standings(node, question, deadline));
        let answers: Vec<_> = answers.buffer_unordered(QUESTIONS_MAX).collect().await;
        found.extend(answers.into_iter().flatten());
        found
    }

    async fn ask_standings(
        &self,
        node: NodeId,
        question: Question,
        deadline: Deadline,
    ) -> BTreeMap<PartitionId, Standing> {
        let payload = encode_question(&question);
        let call = self.inner.consensus.call(node, calls::STANDINGS, payload, deadline);
        match call.await {
            Ok(answer) => decode_answer(answer).unwrap_or_default(),
            Err(error) => {
                tracing::debug!(%node, %error, "where partitions stand is not known");
                BTreeMap::new()
            }
        }
    }

    /// Answers another coordinator: `None` when it cannot be understood.
    pub(crate) async fn answer_standings(&self, question: Bytes) -> Option<Bytes> {
        let image = self.image();
        let handles = decode_question(question)?.into_iter().filter_map(|(partition, position)| {
            let shard = self.inner.shards.get(image.shard_of(partition)?)?;
            Some((shard.partition(partition)?, position))
        });
        Some(encode_answer(&own_standings(handles.collect()).await))
    }
}

async fn own_standings(
    asked: Vec<(PartitionHandle, Option<Offset>)>,
) -> BTreeMap<PartitionId, Standing> {
    let look = move || {
        let standings = asked.into_iter().map(|(handle, position)| {
            let progress = handle.progress();
            let oldest_unread = written_at(&handle, position);
            (handle.id(), Standing { progress, oldest_unread })
        });
        standings.collect()
    };
    run_blocking(look).await.expect("a panic in a look is a panic here")
}

/// Per partition: topic, index, position plus one (0: none).
fn encode_question(question: &[(PartitionId, Option<Offset>)]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(28 * question.len());
    for (partition, position) in question {
        put_partition(&mut bytes, *partition);
        bytes.put_u64(position.map_or(0, |position| position.get().saturating_add(1)));
    }
    bytes.freeze()
}

fn decode_question(mut bytes: Bytes) -> Option<Question> {
    if !bytes.len().is_multiple_of(28) {
        return None;
    }
    let mut question = Vec::with_capacity(bytes.len() / 28);
    while bytes.has_remaining() {
        let partition = get_partition(&mut bytes);
        let position = bytes.get_u64().checked_sub(1).map(Offset::new);
        question.push((partition, position));
    }
    Some(question)
}

/// Per partition: topic, index, log start, high watermark, time (−1: none).
fn encode_answer(standings: &BTreeMap<PartitionId, Standing>) -> Bytes {
    let mut bytes = BytesMut::with_capacity(44 * standings.len());
    for (partition, standing) in standings {
        put_partition(&mut bytes, *partition);
        bytes.put_u64(standing.progress.log_start().get());
        bytes.put_u64(standing.progress.high_watermark().get());
        bytes.put_i64(standing.oldest_unread.map_or(-1, TimestampMs::get));
    }
    bytes.freeze()
}

fn decode_answer(mut bytes: Bytes) -> Option<BTreeMap<PartitionId, Standing>> {
    if !bytes.len().is_multiple_of(44) {
        return None;
    }
    let mut standings = BTreeMap::new();
    while bytes.has_remaining() {
        let partition = get_partition(&mut bytes);
        let (start, end) = (bytes.get_u64(), bytes.get_u64());
        let time = bytes.get_i64();
        if start > end {
            return None;
        }
        let progress = Progress::new(Offset::new(start), Offset::new(end));
        let oldest_unread = (time >= 0).then(|| TimestampMs::new(time));
        standings.insert(partition, Standing { progress, oldest_unread });
    }
    Some(standings)
}

#[cfg(test)]
mod tests {
    use quipu_types::{PartitionIndex, TopicId};

    use super::*;

    fn partition(index: u32) -> PartitionId {
        PartitionId::new(TopicId::from_bytes([7; 16]), PartitionIndex::new(index))
    }

    fn standing(start: u64, end: u64) -> Standing {
        let progress = Progress::new(Offset::new(start), Offset::new(end));
        Standing { progress, oldest_unread: Some(TimestampMs::new(1_000)) }
    }

    #[test]
    fn lag_counts_what_can_still_be_read() {
        let at = |offset| Some(Offset::new(offset));
        let standing = standing(10, 30);
        assert_eq!((standing.lag(at(25)), standing.lag(at(30)), standing.lag(at(99))), (5, 0, 0));
        assert_eq!((standing.lag(None), standing.lag(at(3))), (20, 20), "the start moved on");
        assert_eq!(standing.lag_ms(TimestampMs::new(4_000)), 3_000);
        assert_eq!(standing.lag_ms(TimestampMs::new(500)), 0, "a clock behind the producer's");
    }

    #[test]
    fn questions_and_answers_come_back_and_nothing_else_is_taken_for_one() {
        let question = vec![(partition(1), None), (partition(2), Some(Offset::new(0)))];
        assert_eq!(decode_question(encode_question(&question)), Some(question.clone()));
        assert_eq!(decode_question(encode_question(&question).slice(1..)), None);
        let none = Standing { oldest_unread: None, ..standing(0, 0) };
        let answer = BTreeMap::from([(partition(1), standing(4, 9)), (partition(2), none)]);
        assert_eq!(decode_answer(encode_answer(&answer)), Some(answer.clone()));
        assert_eq!(decode_answer(encode_answer(&answer).slice(3..)), None);
    }
}
