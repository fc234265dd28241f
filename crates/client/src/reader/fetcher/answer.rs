//! What servers said, or did not say, and what follows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quipu_proto::v1;
use quipu_types::record::ValidatedBatch;
use quipu_types::{ErrorCode, NodeId, PartitionId, PartitionIndex, Retry, TopicId};

use super::super::output::{Chunk, Output};
use super::{Asked, Fetcher, OutOfRange, SILENT, STREAM_TIMEOUT};
use crate::channels::Class;
use crate::error::{Corrupt, OffsetOutOfRange};
use crate::link::{LinkEvent, LinkId};
use crate::{Error, Result, backoff, metrics};

/// A topic that was just created may be unknown to a node for a moment: so many attempts.
const UNKNOWN_TOPIC_ATTEMPTS: u32 = 7;
/// A partition without records for so long follows newer knowledge about its leader.
const UNFED: Duration = Duration::from_secs(5);

impl Fetcher {
    pub(super) fn on_event(
        &mut self,
        event: LinkEvent<v1::FetchResponse>,
        output: &Arc<Output>,
    ) -> Result<()> {
        match event {
            LinkEvent::Answer { link, address, answer } => {
                self.on_answer(link, &address, answer, output)
            }
            LinkEvent::Down { link, error, .. } => {
                self.on_down(link, &error);
                Ok(())
            }
        }
    }

    fn on_answer(
        &mut self,
        link: LinkId,
        address: &Arc<str>,
        answer: v1::FetchResponse,
        output: &Arc<Output>,
    ) -> Result<()> {
        let Some(node) = self.nodes.get_mut(&link.node) else { return Ok(()) };
        if node.link.as_ref().map(|link| link.id) != Some(link) {
            return Ok(());
        }
        let Some((_, asked)) = node.unanswered.remove(&answer.request_id) else { return Ok(()) };
        node.failures = 0;
        for asked in &asked {
            if let Some(partition) = self.current(*asked) {
                partition.is_asked = false;
            }
        }
        if let Some(error) = answer.error {
            let error = Error::from_proto(error, address);
            for asked in asked {
                self.judge(asked, error.clone(), output)?;
            }
            return Ok(());
        }
        let mut silent: BTreeMap<PartitionId, u64> = asked.into_iter().collect();
        for fetched in answer.partitions {
            let Some(topic) = TopicId::from_slice(&fetched.topic_id) else { continue };
            let id = PartitionId::new(topic, PartitionIndex::new(fetched.partition));
            if let Some(generation) = silent.remove(&id) {
                self.on_fetched((id, generation), fetched, address, output)?;
            }
        }
        for asked in silent {
            if let Some(partition) = self.current(asked) {
                partition.succeeded();
            }
        }
        Ok(())
    }

    fn on_fetched(
        &mut self,
        asked: Asked,
        mut fetched: v1::FetchedPartition,
        address: &Arc<str>,
        output: &Arc<Output>,
    ) -> Result<()> {
        let (id, generation) = asked;
        if let Some(error) = fetched.error.take() {
            let error = Error::from_proto(error, address);
            if error.code() == Some(ErrorCode::OffsetOutOfRange) {
                return self.out_of_range(asked, &fetched, &error, output);
            }
            return self.judge(asked, error, output);
        }
        let now = self.begun.elapsed();
        let observer = self.observer.clone();
        let Some(partition) = self.current(asked) else { return Ok(()) };
        partition.succeeded();
        if let Some(observer) = observer {
            observer.at_end(id, generation, fetched.high_watermark);
        }
        if fetched.records.is_empty() {
            return Ok(());
        }
        let (from, topic) = (partition.position, partition.topic.clone());
        let (batches, next) = match split(fetched.records, from) {
            Ok(found) => found,
            Err(reason) => {
                let error = Error::Corrupt(Arc::new(Corrupt {
                    topic,
                    partition: id.index.get(),
                    offset: from,
                    address: address.to_string(),
                    reason,
                }));
                return self.stop(id, error, output);
            }
        };
        partition.position = next;
        partition.fed_at = now;
        let (end, address) = (partition.end, address.clone());
        output.put(Chunk { id, topic, generation, batches, from, next, end, address, room: None });
        Ok(())
    }

    /// What a refusal means for a partition: another attempt, or its end.
    fn judge(&mut self, asked: Asked, error: Error, output: &Output) -> Result<()> {
        let now = self.begun.elapsed();
        let client = self.client.clone();
        let (view, is_fixed) = (&client.view, self.plan.is_fixed());
        let wants_node = self.config.node.is_some();
        let Some(partition) = self.current(asked) else { return Ok(()) };
        let patience = !is_fixed || partition.failures < UNKNOWN_TOPIC_ATTEMPTS;
        if error.is_not_found() && patience {
            partition.failed(now, Duration::ZERO, error);
            partition.leave();
            view.want_refresh();
            return Ok(());
        }
        match error.retry() {
            Retry::Never => {
                if error.is_not_found() {
                    view.forget_topic(&partition.topic);
                }
                return self.stop(asked.0, error, output);
            }
            // The caller wants this node and no other.
            Retry::At(_) if wants_node => return self.stop(asked.0, error, output),
            Retry::At(leader) => {
                view.set_leader(&partition.topic, asked.0.index.get(), leader);
                partition.redirected(now, leader, error);
            }
            Retry::After(pause) => {
                partition.leave();
                view.want_refresh();
                partition.failed(now, pause, error);
            }
        }
        Ok(())
    }

    fn out_of_range(
        &mut self,
        asked: Asked,
        fetched: &v1::FetchedPartition,
        error: &Error,
        output: &Output,
    ) -> Result<()> {
        let config = self.config;
        let Some(partition) = self.current(asked) else { return Ok(()) };
        let field = |name: &str, otherwise: u64| error.number(name).unwrap_or(otherwise);
        let out_of_range = OffsetOutOfRange {
            topic: partition.topic.clone(),
            partition: fetched.partition,
            offset: partition.position,
            log_start: field("log_start", fetched.log_start),
            high_watermark: field("high_watermark", fetched.high_watermark),
        };
        let is_below = out_of_range.is_below_start();
        let goes_on_at = match if is_below { config.below_start } else { config.above_end } {
            OutOfRange::Fail => {
                let error = Error::OffsetOutOfRange(Arc::new(out_of_range));
                return self.stop(asked.0, error, output);
            }
            OutOfRange::Earliest => out_of_range.log_start,
            OutOfRange::Latest => out_of_range.high_watermark,
        };
        partition.position = goes_on_at;
        tracing::warn!(reason = %out_of_range, goes_on_at, "skip records");
        for (reason, events) in out_of_range.skipped(goes_on_at) {
            metrics::skipped(&self.client.service, &out_of_range.topic, reason, events);
        }
        if let Some(observer) = &self.observer {
            observer.skipped(&out_of_range);
        }
        Ok(())
    }

    /// A stream ended: what was asked on it is asked again.
    fn on_down(&mut self, link: LinkId, error: &Error) {
        let now = self.begun.elapsed();
        let Some(node) = self.nodes.get_mut(&link.node) else { return };
        if node.link.as_ref().map(|link| link.id) != Some(link) {
            return;
        }
        node.link = None;
        node.failures += 1;
        node.not_before = now + backoff::pause(node.failures, Duration::ZERO);
        let unanswered = std::mem::take(&mut node.unanswered);
        for asked in unanswered.into_values().flat_map(|(_, asked)| asked) {
            let Some(partition) = self.current(asked) else { continue };
            partition.is_asked = false;
            partition.noted(now, error.clone());
        }
        for partition in self.partitions.values_mut() {
            if partition.leader == Some(link.node) {
                partition.leave();
            }
        }
        self.client.view.want_refresh();
    }

    /// Leaders may have changed: partitions without one look again, and so do those that got
    /// nothing for a while, for a node that was cut off may think that it leads.
    pub(super) fn on_view(&mut self) {
        let now = self.begun.elapsed();
        let view = self.client.view.load();
        for (id, partition) in &mut self.partitions {
            let known = view.topics.get(&partition.topic);
            let leader = known.and_then(|known| known.leader(id.index.get()));
            match partition.leader {
                None if leader.is_some() && leader != partition.left => {
                    partition.not_before = partition.not_before.min(now);
                }
                Some(current)
                    if !partition.is_asked
                        && leader.is_some_and(|leader| leader != current)
                        && now.saturating_sub(partition.fed_at) >= UNFED =>
                {
                    partition.leader = leader;
                }
                None | Some(_) => {}
            }
        }
    }

    /// Streams whose server says nothing: somebody else may lead by now, or it hangs.
    pub(super) fn look_for_silent(&mut self, now: Duration) {
        let patience = self.config.max_wait + SILENT;
        let silent: Vec<(LinkId, Duration, Vec<Asked>)> = self
            .nodes
            .values()
            .filter_map(|node| {
                let (since, indexes) = node.unanswered.values().next()?;
                let waited = now.saturating_sub(*since);
                let link = node.link.as_ref()?.id;
                (waited >= patience).then(|| (link, waited, indexes.clone()))
            })
            .collect();
        for (link, waited, indexes) in silent {
            self.client.view.want_refresh();
            let is_over = waited >= self.config.max_wait + STREAM_TIMEOUT;
            if is_over || self.is_deposed(link.node, &indexes) {
                let address = self.client.view.load().nodes.get(&link.node).cloned();
                let address = address.unwrap_or_default();
                let seconds = waited.as_secs_f64();
                let why = format!("node {} gave no answer for {seconds:.1} s", link.node);
                self.client.channels.forget(&address, Class::Fetch);
                self.on_down(link, &Error::stream_ended("fetch from", &address, &why));
            }
        }
    }

    fn is_deposed(&self, node: NodeId, asked: &[Asked]) -> bool {
        let view = self.client.view.load();
        let leader = |id: &PartitionId| {
            let partition = self.partitions.get(id)?;
            view.topics.get(&partition.topic)?.leader(id.index.get())
        };
        self.config.node.is_none()
            && asked.iter().any(|(id, _)| leader(id).is_some_and(|leader| leader != node))
    }
}

/// Checks batches and that they follow each other from `from` on; returns the offset after them.
fn split(mut records: Bytes, from: u64) -> Result<(VecDeque<ValidatedBatch>, u64), String> {
    let mut batches = VecDeque::new();
    let mut next = from;
    while !records.is_empty() {
        let batch = ValidatedBatch::split_first(&mut records).map_err(|error| error.to_string())?;
        let base = batch.header().base_offset.get();
        let is_next = if batches.is_empty() { base <= next } else { base == next };
        let after = base + u64::from(batch.record_count());
        if !is_next || after <= next {
            return Err(format!("a batch covers offsets {base} to {after}, expected {next}"));
        }
        next = after;
        batches.push_back(batch);
    }
    Ok((batches, next))
}

#[cfg(test)]
mod tests {
    use quipu_types::record::{BatchBuilder, Record};
    use quipu_types::{LeaderEpoch, Offset, TimestampMs};

    use super::*;

    fn batch(base: u64, records: u32) -> Vec<u8> {
        let mut builder = BatchBuilder::new(TimestampMs::new(0));
        for _ in 0..records {
            builder.push(&Record::default()).unwrap();
        }
        let batch = builder.finish_plain();
        let mut bytes = batch.stamped_prefix(Offset::new(base), LeaderEpoch::new(1)).to_vec();
        bytes.extend_from_slice(&batch.bytes()[16..]);
        bytes
    }

    #[test]
    fn batches_must_follow_each_other_without_a_gap() {
        let joined = |parts: &[(u64, u32)]| -> Bytes {
            parts.iter().flat_map(|(base, records)| batch(*base, *records)).collect()
        };
        let (batches, next) = split(joined(&[(10, 5), (15, 1)]), 12).unwrap();
        assert_eq!((batches.len(), next), (2, 16));
        for (parts, from) in [(&[(13, 5)][..], 12), (&[(10, 2)], 12), (&[(10, 5), (16, 1)], 12)] {
            let refused = split(joined(parts), from).unwrap_err();
            assert!(refused.contains("expected"), "{refused}");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut bytes = batch(0, 3);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(split(bytes.into(), 0).unwrap_err().contains("checksum"));
    }
}
