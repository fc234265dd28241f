//! The end: stop fetching, wait for messages, commit, leave.

use std::time::Duration;

use quipu_proto::v1;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Member;
use crate::consumer::table::Dirty;
use crate::error::TimeoutError;
use crate::{Effect, Error, Result};

/// How long the last commit and the farewell may take each, after the deadline.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Closing {
    begun: Instant,
    deadline: Instant,
    /// Nobody waits after a drop.
    done: Option<oneshot::Sender<Result<()>>>,
    /// When the farewell was sent.
    left: Option<Instant>,
    outcome: Result<()>,
}

impl Closing {
    /// Tells who waits.
    pub(super) fn answer(self) -> Option<Result<()>> {
        match self.done {
            Some(done) => done.send(self.outcome).err(),
            None => Some(self.outcome),
        }
    }
}

impl Member {
    pub(super) fn begin_close(
        &mut self,
        now: Instant,
        deadline: Instant,
        done: Option<oneshot::Sender<Result<()>>>,
    ) {
        self.table.stop();
        self.starting.clear();
        let outcome = Ok(());
        self.closing = Some(Closing { begun: now, deadline, done, left: None, outcome });
    }

    /// Whether everything that can be acknowledged is: what differs goes out at once.
    pub(super) fn is_last_commit(&self, now: Instant) -> bool {
        self.closing.as_ref().is_some_and(|closing| {
            closing.left.is_none() && (now >= closing.deadline || self.table.held() == 0)
        })
    }

    /// Goes on with the end; true when it is done.
    pub(super) fn close(&mut self, now: Instant) -> bool {
        let Some(closing) = &self.closing else { return false };
        let (begun, deadline, left) = (closing.begun, closing.deadline, closing.left);
        if let Some(left) = left {
            return !self.session.is_linked() || now >= left + GRACE;
        }
        let held = self.table.held();
        if held > 0 && now < deadline {
            self.keep_session(now);
            return false;
        }
        let is_clean = self.committing.is_idle() && self.table.dirty(now) == Dirty::Clean;
        let is_member = self.session.epoch() != 0;
        if is_member && !is_clean && now < deadline + GRACE {
            self.keep_session(now);
            return false;
        }
        let is_complete = held == 0 && self.table.dirty(now) == Dirty::Clean;
        let leaving = if self.config.instance.is_empty() {
            v1::Leaving::Now
        } else {
            v1::Leaving::Temporarily
        };
        let has_left = self.leave(leaving);
        self.session.finish();
        let last = self.session.last_error();
        if let Some(closing) = &mut self.closing {
            closing.left = Some(now);
            if !is_complete {
                closing.outcome = Err(Error::timeout(TimeoutError {
                    action: format!(
                        "close the member of group {:?} ({held} message(s) not settled)",
                        self.config.group
                    ),
                    waited: now.saturating_duration_since(begun),
                    attempts: 1,
                    effect: Effect::Unknown,
                    last,
                }));
            }
        }
        !has_left
    }
}
