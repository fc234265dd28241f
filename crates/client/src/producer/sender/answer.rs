//! What servers said, or did not say, and what follows.

use std::time::Duration;

use quipu_proto::v1;
use quipu_types::{Effect, ErrorCode, NodeId, Retry, TimestampMs};

use super::super::delivery::Stored;
use super::super::queue::Verdict;
use super::node::Unanswered;
use super::{GRACE, Key, SILENT, Sender, with_effect};
use crate::channels::Class;
use crate::link::{LinkEvent, LinkId};
use crate::{Error, backoff};

/// A topic that was just created may be unknown to a node for a moment: so many attempts.
const UNKNOWN_TOPIC_ATTEMPTS: u32 = 7;

impl Sender {
    pub(super) fn on_event(&mut self, event: LinkEvent<v1::ProduceResponse>) {
        match event {
            LinkEvent::Answer { link, address, answer } => self.on_answer(link, &address, answer),
            LinkEvent::Down { link, error, has_sent } => self.on_down(link, &error, has_sent),
        }
    }

    fn on_answer(&mut self, link: LinkId, address: &str, answer: v1::ProduceResponse) {
        let Some(node) = self.nodes.get_mut(&link.node) else { return };
        if node.route() != Some(link) {
            return;
        }
        let Some(unanswered) = node.unanswered.remove(&answer.request_id) else { return };
        node.failures = 0;
        node.answered_at = self.inbox.now();
        self.ready.extend(node.stalled.drain(..));
        let whole = answer.error.map(|error| Error::from_proto(error, address));
        let mut results = answer.results.into_iter();
        for (key, number) in unanswered.batches {
            let result = match (&whole, results.next()) {
                (Some(error), _) => Err(error.clone()),
                (None, Some(result)) => stored(result, address),
                (None, None) => {
                    Err(Error::stream_ended("produce to", address, "a batch has no result"))
                }
            };
            self.settle(key, number, link, result);
        }
    }

    /// One batch was answered.
    fn settle(&mut self, key: Key, number: u64, link: LinkId, result: Result<Stored, Error>) {
        let now = self.inbox.now();
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        let verdict = match result {
            Ok(stored) => {
                partition.succeeded();
                Verdict::Stored(stored)
            }
            Err(error) => self.judge(key, now, error),
        };
        let gone = match &verdict {
            Verdict::Refused(error) if error.is_not_found() => Some(error.clone()),
            Verdict::Refused(_) | Verdict::Stored(_) | Verdict::Again(_) | Verdict::Gap(_) => None,
        };
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        if let Some(settled) = partition.queue.answer(number, link, verdict) {
            partition.settle(&self.inbox, settled, self.config.delivery_timeout);
        }
        if let Some(error) = gone {
            self.refuse_all(key, |effect| with_effect(error.clone(), effect));
        }
        self.ready.push_back(key);
    }

    /// What a refusal means for the batch, for the partition and for what is known.
    fn judge(&mut self, key: Key, now: Duration, error: Error) -> Verdict<Stored> {
        let partition = self.partitions.get_mut(&key).expect("looked up by the caller");
        let view = &self.client.view;
        let name = partition.buffer.topic.name.clone();
        let effect = error.effect();
        let code = error.code();
        if code == Some(ErrorCode::DuplicateSequence) {
            partition.succeeded();
            return Verdict::Stored(Stored {
                base_offset: None,
                is_duplicate: true,
                log_append_time: None,
            });
        }
        let is_gap =
            matches!(code, Some(ErrorCode::OutOfOrderSequence | ErrorCode::UnknownProducer));
        if is_gap && effect == Effect::None {
            partition.failed(now, Duration::ZERO, error.clone());
            return Verdict::Gap(error);
        }
        let is_unknown_topic = error.is_not_found();
        if is_unknown_topic && partition.attempts.failures < UNKNOWN_TOPIC_ATTEMPTS {
            partition.failed(now, Duration::ZERO, error);
            partition.leave();
            view.want_refresh();
            return Verdict::Again(effect);
        }
        match error.retry() {
            Retry::Never => {
                if is_unknown_topic {
                    view.forget_topic(&name);
                }
                Verdict::Refused(error)
            }
            Retry::At(leader) => {
                view.set_leader(&name, key.1, leader);
                partition.redirected(now, leader, error);
                Verdict::Again(effect)
            }
            Retry::After(pause) => {
                // A node without room gives its leaderships away.
                let may_move = |code: ErrorCode| {
                    (2001..3000).contains(&code.number()) || code == ErrorCode::StorageFull
                };
                if code.is_some_and(may_move) {
                    partition.leave();
                    view.want_refresh();
                }
                if code == Some(ErrorCode::PartitionNotReady) {
                    partition.awaits(now, pause, error);
                } else {
                    partition.failed(now, pause, error);
                }
                Verdict::Again(effect)
            }
        }
    }

    /// A stream ended: what was on it comes back.
    fn on_down(&mut self, link: LinkId, error: &Error, has_sent: bool) {
        let now = self.inbox.now();
        let Some(node) = self.nodes.get_mut(&link.node) else { return };
        if node.route() != Some(link) {
            return;
        }
        node.failures += 1;
        node.not_before = now + backoff::pause(node.failures, Duration::ZERO);
        let effect = if has_sent { Effect::Unknown } else { Effect::None };
        let keys = node.close();
        self.ready.extend(node.stalled.drain(..));
        for key in keys {
            let Some(partition) = self.partitions.get_mut(&key) else { continue };
            partition.queue.stream_lost(link, effect);
            partition.last_error = Some(error.clone());
            self.ready.push_back(key);
        }
        for partition in self.partitions.values_mut() {
            if partition.leader == Some(link.node) {
                partition.leave();
            }
        }
        self.client.view.want_refresh();
    }

    /// Streams whose server says nothing: somebody else may lead by now, or it hangs. One that
    /// answers slowly is not silent: to come again would only add to its load.
    pub(super) fn look_for_silent(&mut self, now: Duration) {
        let answer_due = self.request_timeout() + GRACE;
        let delivery_due = self.config.delivery_timeout + GRACE;
        let mut given_up = Vec::new();
        for node in self.nodes.values() {
            let (Some(link), Some(oldest)) = (node.route(), node.oldest()) else { continue };
            let silent = now.saturating_sub(oldest.sent_at.max(node.answered_at));
            let waited = now.saturating_sub(oldest.sent_at);
            if silent >= SILENT {
                self.client.view.want_refresh();
            }
            let is_deposed = silent >= SILENT && self.is_deposed(link.node, oldest);
            if is_deposed || silent >= answer_due || waited >= delivery_due {
                given_up.push((link, waited));
            }
        }
        for (link, waited) in given_up {
            let why =
                format!("node {} gave no answer for {:.1} s", link.node, waited.as_secs_f64());
            let address = self.client.view.load().nodes.get(&link.node).cloned();
            let address = address.unwrap_or_default();
            self.client.channels.forget(&address, Class::Produce);
            self.on_down(link, &Error::stream_ended("produce to", &address, &why), true);
        }
    }

    /// Another node leads what was sent to this one, as far as is known now.
    fn is_deposed(&self, node: NodeId, oldest: &Unanswered) -> bool {
        oldest.batches.iter().any(|(key, _)| {
            let partition = self.partitions.get(key);
            let name = partition.map(|partition| &partition.buffer.topic.name);
            let topic = name.and_then(|name| self.client.view.topic(name));
            topic.and_then(|topic| topic.leader(key.1)).is_some_and(|leader| leader != node)
        })
    }
}

fn stored(result: v1::ProduceResult, address: &str) -> Result<Stored, Error> {
    match result.error {
        Some(error) => Err(Error::from_proto(error, address)),
        None => Ok(Stored {
            base_offset: result.base_offset,
            is_duplicate: result.is_duplicate,
            log_append_time: result.log_append_time_ms.map(TimestampMs::new),
        }),
    }
}
