//! One partition: where it stands, and how its last attempts went.

use std::sync::Arc;
use std::time::Duration;

use quipu_types::{Effect, NodeId};

use super::super::plan::Wanted;
use crate::error::TimeoutError;
use crate::{Error, Result, backoff};

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    /// Of the plan.
    pub(super) generation: u64,
    /// It failed for good: nothing more is asked of it in this generation.
    pub(super) is_parked: bool,
    /// The next offset to ask for.
    pub(super) position: u64,
    pub(super) end: Option<u64>,
    /// It is in an unanswered request.
    pub(super) is_asked: bool,
    /// Stays until it fails or goes silent: knowledge that arrives meanwhile may be older.
    pub(super) leader: Option<NodeId>,
    /// Who led when it failed last: to be told the same again is no news.
    pub(super) left: Option<NodeId>,
    /// When records came last.
    pub(super) fed_at: Duration,
    pub(super) not_before: Duration,
    /// Attempts that failed since the last success.
    pub(super) failures: u32,
    failing_since: Option<Duration>,
    last_error: Option<Error>,
}

impl Partition {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            topic: wanted.topic,
            generation: wanted.generation,
            is_parked: false,
            position: wanted.bounds.start,
            end: wanted.bounds.end,
            is_asked: false,
            leader: None,
            left: None,
            fed_at: Duration::ZERO,
            not_before: Duration::ZERO,
            failures: 0,
            failing_since: None,
            last_error: None,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_parked || self.end.is_some_and(|end| self.position >= end)
    }

    /// Its leader failed: the next attempt asks the view again.
    pub(super) fn leave(&mut self) {
        self.left = self.leader.take().or(self.left);
    }

    pub(super) fn succeeded(&mut self) {
        self.left = None;
        self.failures = 0;
        self.not_before = Duration::ZERO;
        self.failing_since = None;
        self.last_error = None;
    }

    /// An attempt failed: pause before the next, at least as long as the server asked for.
    pub(super) fn failed(&mut self, now: Duration, at_least: Duration, error: Error) {
        self.noted(now, error);
        self.not_before = now + backoff::pause(self.failures, at_least);
    }

    /// The server named the leader: the first redirects are followed at once.
    pub(super) fn redirected(&mut self, now: Duration, leader: NodeId, error: Error) {
        if self.failures < 2 {
            self.noted(now, error);
        } else {
            self.failed(now, Duration::ZERO, error);
        }
        self.leader = Some(leader);
    }

    /// An attempt failed without a fault of its own.
    pub(super) fn noted(&mut self, now: Duration, error: Error) {
        self.failures += 1;
        self.failing_since.get_or_insert(now);
        self.last_error = Some(error);
    }

    /// Fails once it could not be read for `patience`.
    pub(super) fn check(
        &self,
        now: Duration,
        patience: Duration,
        action: impl FnOnce() -> String,
    ) -> Result<()> {
        let waited = self.failing_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if waited < patience || self.failing_since.is_none() {
            return Ok(());
        }
        Err(Error::timeout(TimeoutError {
            action: action(),
            waited,
            attempts: self.failures,
            effect: Effect::None,
            last: self.last_error.clone(),
        }))
    }
}
