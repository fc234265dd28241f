//! What brokers said, or did not say, and what follows: as the client's `sender/answer.rs`.

use std::time::Duration;

use quipu_client::sim::Attempt;
use quipu_types::{Effect, ErrorCode, NodeId, PartitionId, Retry};
use tokio::time::Instant;

use super::{Batch, Producer, Stream};
use crate::commands::one_in;
use crate::l1::census::Event;
use crate::l2::plant::Plant;
use crate::l2::stream::{Refused, StoreTold};

/// A broker this silent may have lost its leadership unnoticed.
const SILENT: Duration = Duration::from_secs(2);
/// A stream this silent is given up.
const GIVEN_UP: Duration = Duration::from_secs(9);

impl Producer {
    pub(super) fn on_event(&mut self, number: u64, node: NodeId, told: Option<StoreTold>) {
        let Some(stream) = self.streams.get_mut(&node).filter(|it| it.number == number) else {
            return;
        };
        let Some(told) = told else {
            self.lose(node);
            return;
        };
        if stream.unanswered.remove(&(told.partition, told.number)).is_none() {
            return;
        }
        let attempt = match &told.result {
            Ok(_) => Attempt::Stored,
            Err(refused) => self.judge(told.partition, refused),
        };
        let part = self.parts.get_mut(&told.partition).expect("one of the keys");
        if attempt == Attempt::Stored {
            part.failures = 0;
        }
        let attempt = if attempt == Attempt::Again(Effect::Unknown)
            && self.way.ground.scene.has(Plant::UnknownIsSentAnew)
        {
            Attempt::Refused(Effect::None)
        } else {
            attempt
        };
        match part.queue.answer(told.number, number, attempt) {
            Some(left) if attempt == Attempt::Refused(Effect::None) && self.is_bent() => {
                let Batch { records, .. } = left.batch;
                let part = self.parts.get_mut(&told.partition).expect("one of the keys");
                part.queue.push(left.batch, records, Duration::MAX);
            }
            Some(left) => self.tell(&left, Some(&told)),
            None => {
                let event = format_args!("a batch of {} comes back", told.partition);
                self.way.ground.scene.count(Event::SentAgain, event);
            }
        }
    }

    fn is_bent(&self) -> bool {
        self.way.ground.scene.has(Plant::UnknownIsSentAnew)
    }

    /// What a refusal means, as the client's `sender/answer.rs` has it.
    fn judge(&mut self, partition: PartitionId, refused: &Refused) -> Attempt {
        let Refused { code, effect, retry, words } = refused;
        self.way.ground.scene.note(format_args!("a batch of {partition} is refused: {words}"));
        if *code == ErrorCode::DuplicateSequence {
            return Attempt::Stored;
        }
        let is_gap = matches!(code, ErrorCode::OutOfOrderSequence | ErrorCode::UnknownProducer);
        if is_gap && *effect == Effect::None {
            self.fail(partition, false);
            return Attempt::Gap;
        }
        match retry {
            Retry::Never => Attempt::Refused(*effect),
            Retry::At(leader) => {
                let is_first = self.parts[&partition].failures < 2;
                self.fail(partition, false);
                let part = self.parts.get_mut(&partition).expect("one of the keys");
                part.leader = Some(*leader);
                if is_first {
                    part.not_before = Instant::now();
                }
                Attempt::Again(*effect)
            }
            Retry::After(_) => {
                self.fail(partition, true);
                Attempt::Again(*effect)
            }
        }
    }

    /// A stream ended: what was on it comes back.
    fn lose(&mut self, node: NodeId) {
        let Some(stream) = self.streams.remove(&node) else { return };
        for part in self.parts.values_mut() {
            part.queue.stream_lost(stream.number, Effect::Unknown);
            if part.leader == Some(node) {
                part.leader = None;
            }
        }
        let lost = stream.unanswered.len();
        let event =
            format_args!("producer {} loses node {node} with {lost} unanswered", self.number);
        self.way.ground.scene.note(event);
    }

    /// Gives up streams whose broker says nothing, when another leads by now.
    pub(super) async fn look_for_silent(&mut self, now: Instant) {
        let oldest = |stream: &Stream| stream.unanswered.values().min().copied();
        let silent = |(node, stream): (&NodeId, &Stream)| {
            let since = oldest(stream).filter(|since| now.duration_since(*since) >= SILENT)?;
            let (partition, _) = stream.unanswered.keys().next()?;
            Some((*node, *partition, since))
        };
        let silent: Vec<_> = self.streams.iter().filter_map(silent).collect();
        for (node, partition, since) in silent {
            let asked = self.way.any_node(&mut self.rng);
            let leader = self.way.leader(asked, partition).await;
            let is_deposed = leader.is_some_and(|leader| leader != node);
            if is_deposed || now.duration_since(since) >= GIVEN_UP || one_in(&mut self.rng, 400) {
                self.lose(node);
            }
        }
    }
}
