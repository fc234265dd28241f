//! Batches that leave without being stored.

use std::time::Duration;

use quipu_types::Effect;

use super::super::TimeoutError;
use super::super::queue::Outcome;
use super::partition::Batch;
use super::{Key, Sender};
use crate::Error;

impl Sender {
    /// Fails what has waited for longer than the delivery timeout, sent or not.
    pub(super) fn expire_all(&mut self, now: Duration) {
        let delivery = self.config.delivery_timeout;
        for (key, partition) in &mut self.partitions {
            let settled = partition.queue.expire(now);
            if !settled.is_empty() {
                self.ready.push_back(*key);
            }
            for settled in settled {
                partition.settle(&self.inbox, settled, delivery);
            }
            let Some(before) = now.checked_sub(delivery) else { continue };
            while let Some(open) = partition.buffer.take_opened_before(before) {
                let error = partition.timed_out(Effect::None, 0, delivery);
                Batch::unsent(open).settle(&self.inbox, &partition.buffer, Err(error));
            }
        }
    }

    /// Fails everything that is left: the deadline of close passed.
    pub(super) fn give_up(&mut self, deadline: Duration) {
        let keys: Vec<Key> = self.partitions.keys().copied().collect();
        for key in keys {
            let Some(partition) = self.partitions.get(&key) else { continue };
            let last = partition.last_error.clone();
            let action = format!("deliver to {} before closing", partition.name());
            self.refuse_all(key, |effect| {
                let (action, last) = (action.clone(), last.clone());
                Error::timeout(TimeoutError { action, waited: deadline, attempts: 1, effect, last })
            });
        }
    }

    /// Fails all batches of a partition.
    pub(super) fn refuse_all(&mut self, key: Key, error: impl Fn(Effect) -> Error) {
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        let delivery = self.config.delivery_timeout;
        let drained = partition.queue.drain(|effect| Outcome::Refused(error(effect)));
        for settled in drained {
            partition.settle(&self.inbox, settled, delivery);
        }
        while let Some(open) = partition.buffer.take() {
            let outcome = Err(error(Effect::None));
            Batch::unsent(open).settle(&self.inbox, &partition.buffer, outcome);
        }
    }
}

/// An error of all batches of a partition, as it is for one of them.
pub(super) fn with_effect(error: Error, effect: Effect) -> Error {
    match effect {
        Effect::None => error,
        Effect::Unknown => error.with_unknown_effect(),
    }
}
