//! What everybody in a run shares: the trace, the verdict, the counts.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::census::{Census, Event};
use super::plant::{Plant, Planted};
use crate::trace::Trace;

/// One run's. Clones share it.
#[derive(Clone)]
pub(crate) struct Scene {
    trace: Trace,
    plant: Option<Planted>,
    begun: Instant,
    census: Arc<Mutex<Census>>,
    violation: Arc<Mutex<Option<String>>>,
    /// Cancelled with the first violation.
    is_over: CancellationToken,
}

impl Scene {
    pub(crate) fn new(trace: Trace, plant: Option<Planted>) -> Self {
        Self {
            trace,
            plant,
            begun: Instant::now(),
            census: Arc::default(),
            violation: Arc::default(),
            is_over: CancellationToken::new(),
        }
    }

    pub(crate) const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The fault of a cluster that was planted.
    pub(crate) const fn plant(&self) -> Option<Plant> {
        match self.plant {
            Some(Planted::L1(plant)) => Some(plant),
            Some(Planted::L2(_)) | None => None,
        }
    }

    /// Whether a fault was planted.
    pub(crate) fn has(&self, plant: impl Into<Planted>) -> bool {
        self.plant == Some(plant.into())
    }

    /// Simulated time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Adds an event to the trace.
    pub(crate) fn note(&self, event: fmt::Arguments<'_>) {
        self.trace.note(format_args!("{:>6} {event}", self.now().as_millis()));
    }

    /// Adds an event to the trace, and to the counts.
    pub(crate) fn count(&self, kind: Event, event: fmt::Arguments<'_>) {
        self.census.lock().unwrap_or_else(PoisonError::into_inner).add(kind);
        self.note(event);
    }

    /// How often each kind of event happened.
    pub(crate) fn census(&self) -> Census {
        self.census.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something must not be: the first one ends the run.
    pub(crate) fn violated(&self, what: impl Into<String>) {
        let mut violation = self.violation.lock().unwrap_or_else(PoisonError::into_inner);
        if violation.is_none() {
            let what = what.into();
            self.note(format_args!("VIOLATION {what}"));
            *violation = Some(what);
            self.is_over.cancel();
        }
    }

    /// Takes a check's answer in.
    pub(crate) fn expect(&self, checked: Result<(), String>) {
        if let Err(what) = checked {
            self.violated(what);
        }
    }

    /// What was violated, if anything was.
    pub(crate) fn violation(&self) -> Option<String> {
        self.violation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a violation.
    pub(crate) async fn over(&self) {
        self.is_over.cancelled().await;
    }
}
