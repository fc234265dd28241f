//! Appends that are content with the leader's own flush.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quipu_types::{Acks, Offset};

use super::{Answer, Waiter};
use crate::append::{AppendAnswer, Appended};
use crate::replication::OnFlushed;

/// Waiters for the leader's own flush, by their place in the bundle.
#[derive(Clone, Default)]
pub(super) struct Provisional {
    waiters: Arc<Mutex<BTreeMap<usize, (AppendAnswer, Appended)>>>,
}

impl Provisional {
    /// Takes the answer of a waiter that is content with the leader's own flush.
    pub(super) fn move_in(&self, place: usize, waiter: &mut Waiter, log_start: Offset) {
        let Answer::Append(append) = &mut waiter.answer else { return };
        let waits = !quipu_failpoint::is_planted("plant.quorum.not-awaited");
        if append.acks == Acks::None || append.acks == Acks::Quorum && waits {
            return;
        }
        let log_append_time = append.log_append_time;
        let appended =
            Appended { base_offset: None, log_start, is_duplicate: false, log_append_time };
        if let Some(answer) = append.answer.take() {
            self.lock().insert(place, (answer, appended));
        }
    }

    /// The callback of the flush; `None` when nobody waits for it.
    pub(super) fn on_flushed(&self) -> Option<OnFlushed> {
        if self.lock().is_empty() {
            return None;
        }
        let own = self.clone();
        Some(Box::new(move || {
            for (_, (answer, appended)) in std::mem::take(&mut *own.lock()) {
                drop(answer.send(Ok(appended)));
            }
        }))
    }

    /// Gives back those the flush has not answered: the final outcome came first.
    pub(super) fn give_back(&self, mut waiters: Vec<Waiter>) -> Vec<Waiter> {
        for (place, (answer, _)) in std::mem::take(&mut *self.lock()) {
            if let Some(Waiter { answer: Answer::Append(waiter), .. }) = waiters.get_mut(place) {
                waiter.answer = Some(answer);
            }
        }
        waiters
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, (AppendAnswer, Appended)>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
