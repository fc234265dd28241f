//! The task that keeps up the membership of one consumer.
//!
//! It is level-triggered: whatever happened, [`Member::step`] looks at what is so and does what is
//! due, and says when to look again.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use quipu_types::NodeId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::ConsumerState;
use super::config::Config;
use super::table::{Table, Taken};
use crate::client::Shared;
use crate::error::{AckError, ProcessingTimeout, TimeoutError};
use crate::tasks::Task;
use crate::{Effect, Error, Result};

mod assignment;
mod closing;
mod committing;
mod origin;
mod session;

use closing::Closing;
use committing::Committing;
use origin::Found;
pub(super) use origin::Origin;
use session::Session;

const COMMANDS_MAX: usize = 16;
const EVENTS_MAX: usize = 64;
/// How often the time of unacknowledged messages is looked at.
const TICK: Duration = Duration::from_millis(200);

/// What the consumer asks of its task.
#[derive(Debug)]
pub(super) enum Command {
    /// After a processing timeout: join again.
    Rejoin,
    Shutdown {
        deadline: Duration,
        done: oneshot::Sender<Result<()>>,
    },
}

/// What a member is made of.
pub(super) struct Parts {
    pub(super) client: Arc<Shared>,
    pub(super) config: Arc<Config>,
    pub(super) origin: Origin,
    pub(super) member_id: String,
}

/// The consumer's end.
pub(super) struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) state: watch::Receiver<ConsumerState>,
    pub(super) joined: oneshot::Receiver<Result<()>>,
}

/// Positions that were looked up.
type Looked = (Vec<Taken>, Result<Vec<Found>>);

pub(super) struct Member {
    client: Arc<Shared>,
    config: Arc<Config>,
    origin: Arc<Origin>,
    table: Arc<Table>,
    member_id: String,
    commands: mpsc::Receiver<Command>,
    state: watch::Sender<ConsumerState>,
    /// Who waits for the first acceptance, and until when.
    joined: Option<(oneshot::Sender<Result<()>>, Instant)>,
    session: Session,
    /// Where the group's state is, as far as known.
    coordinator: Option<NodeId>,
    starting: FuturesUnordered<BoxFuture<'static, Looked>>,
    committing: Committing,
    /// Left after a processing timeout; joins again when it is told to.
    is_stuck: bool,
    closing: Option<Closing>,
    next_tick: Instant,
    /// Ends with this task.
    _fetching: Task,
}

impl Member {
    pub(super) fn new(parts: Parts, table: Arc<Table>, fetching: Task) -> (Self, Handle) {
        let Parts { client, config, origin, member_id } = parts;
        let now = Instant::now();
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (state, watched) = watch::channel(ConsumerState::Joining);
        let (joined, accepted) = oneshot::channel();
        let member = Self {
            session: Session::new(now),
            joined: Some((joined, now + client.settings.request_timeout)),
            client,
            config,
            origin: Arc::new(origin),
            table,
            member_id,
            commands: received,
            state,
            coordinator: None,
            starting: FuturesUnordered::new(),
            committing: Committing::new(now),
            is_stuck: false,
            closing: None,
            next_tick: now,
            _fetching: fetching,
        };
        (member, Handle { commands, state: watched, joined: accepted })
    }

    /// Runs until the consumer is closed, dropped, or cannot be a member any more.
    pub(super) async fn run(mut self) {
        let end = loop {
            let now = Instant::now();
            match self.step(now) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
            self.show();
            let wake = self.wake(now);
            let table = self.table.clone();
            tokio::select! {
                biased;
                Some(event) = self.session.events.recv() => {
                    if let Err(error) = self.on_event(event) {
                        break Err(error);
                    }
                }
                command = self.commands.recv(), if !self.is_dropped() => self.on_command(command),
                Some(looked) = self.starting.next(), if !self.starting.is_empty() => {
                    self.on_looked(looked);
                }
                done = self.committing.done() => self.on_committed(done),
                () = table.touched.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        };
        self.end(end);
    }

    /// Does what is due; true when the member is done.
    fn step(&mut self, now: Instant) -> Result<bool> {
        self.check_session(now);
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.check_processing(now);
            self.check_joined(now)?;
        }
        self.let_go(now);
        self.commit_if_due(now);
        if self.closing.is_some() {
            return Ok(self.close(now));
        }
        if !self.is_stuck {
            self.keep_session(now);
        }
        Ok(false)
    }

    fn wake(&self, now: Instant) -> Instant {
        let mut wake = self.next_tick;
        if let Some(at) = self.next_commit(now) {
            wake = wake.min(at);
        }
        if !self.is_stuck && self.closing.is_none() {
            wake = wake.min(self.session.wake(self.config.session_timeout));
        }
        if let Some(until) = self.table.next_release().filter(|until| *until > now) {
            wake = wake.min(until);
        }
        wake.max(now + Duration::from_millis(1))
    }

    fn on_command(&mut self, command: Option<Command>) {
        let now = Instant::now();
        match command {
            Some(Command::Rejoin) => {
                self.is_stuck = false;
                self.session.retry_at(now);
            }
            Some(Command::Shutdown { deadline, done }) => {
                self.begin_close(now, now + deadline, Some(done));
            }
            // The consumer was dropped: nobody waits, and nothing is waited for.
            None => self.begin_close(now, now, None),
        }
    }

    fn is_dropped(&self) -> bool {
        self.closing.is_some()
    }

    /// Everything is lost; the group is joined anew.
    fn drop_everything(&mut self, why: &AckError) {
        let lost = self.table.lose_all(why);
        self.starting.clear();
        self.committing.forget();
        self.config.tell(super::Rebalance::Lost(lost));
        self.session.start_over();
    }

    fn check_session(&mut self, now: Instant) {
        if self.session.is_expired(now, self.config.session_timeout) {
            let group = &self.config.group;
            tracing::warn!(%group, "no heartbeat was answered for the session timeout");
            self.drop_everything(&AckError::Expired);
            self.session.disconnect(now, "no heartbeat was answered for the session timeout");
            self.coordinator = None;
        }
    }

    /// A message that nobody acknowledges ends the membership.
    fn check_processing(&mut self, now: Instant) {
        let limit = self.config.processing_timeout;
        if self.is_stuck || self.closing.is_some() {
            return;
        }
        let Some((name, offset, since)) = self.table.oldest() else { return };
        if now.saturating_duration_since(since) < limit {
            return;
        }
        let error = Error::ProcessingTimeout(Arc::new(ProcessingTimeout {
            topic: name.topic,
            partition: name.partition,
            offset,
            limit,
        }));
        tracing::warn!(group = %self.config.group, %error, "leave the group");
        self.leave(quipu_proto::v1::Leaving::Stuck);
        self.session.retire();
        self.drop_everything(&AckError::Expired);
        self.is_stuck = true;
        self.table.output.interrupt(error);
    }

    fn check_joined(&mut self, now: Instant) -> Result<()> {
        let Some((waits, until)) = &self.joined else { return Ok(()) };
        if waits.is_closed() || now < *until {
            return Ok(());
        }
        let waited = self.client.settings.request_timeout;
        Err(Error::timeout(TimeoutError {
            action: format!("join group {:?}", self.config.group),
            waited,
            attempts: self.session.attempts(),
            effect: Effect::Unknown,
            last: self.session.last_error(),
        }))
    }

    /// Shows how the consumer stands.
    fn show(&self) {
        let state = if self.is_stuck {
            ConsumerState::Rejoining
        } else if self.session.epoch() == 0 {
            if self.joined.is_some() { ConsumerState::Joining } else { ConsumerState::Rejoining }
        } else if let Some((since, why)) = self.session.broken() {
            ConsumerState::Reconnecting { since: since.into_std(), why }
        } else if self.table.next_release().is_some() {
            ConsumerState::Revoking
        } else {
            ConsumerState::Stable { epoch: self.session.epoch() }
        };
        self.state.send_if_modified(|shown| {
            let is_new = *shown != state;
            *shown = state;
            is_new
        });
    }

    fn end(mut self, end: Result<()>) {
        let why = AckError::Failed(match &end {
            Ok(()) => Error::Closed,
            Err(error) => error.clone(),
        });
        let lost = self.table.lose_all(&why);
        if self.closing.is_none() {
            self.config.tell(super::Rebalance::Lost(lost));
        }
        self.state.send_replace(ConsumerState::Closed);
        if let Some((waits, _)) = self.joined.take() {
            // Who stopped waiting needs no answer.
            let _ = waits.send(end.clone());
        }
        let result = self.closing.take().and_then(Closing::answer);
        drop(result);
        self.table.output.end(end);
    }
}
