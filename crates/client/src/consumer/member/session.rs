//! The stream to the coordinator and the clock of the membership.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use quipu_proto::v1;
use quipu_types::{ErrorCode, NodeId, PartitionId, Retry};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::assignment::held;
use super::{EVENTS_MAX, Member};
use crate::error::AckError;
use crate::link::{Join, Link, LinkEvent, LinkId};
use crate::tasks::spawn_detached;
use crate::{Error, Result, backoff};

/// Until the coordinator says another.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
/// How long a stream that is over may take to bring its last request out.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Session {
    pub(super) events: mpsc::Receiver<LinkEvent<v1::JoinResponse>>,
    event_sender: mpsc::Sender<LinkEvent<v1::JoinResponse>>,
    link: Option<Link<Join>>,
    generation: u64,
    /// 0: no member.
    epoch: u64,
    /// The coordinator answered on this stream.
    is_accepted: bool,
    heartbeat_interval: Duration,
    /// When heartbeats without an answer were sent.
    unanswered: VecDeque<Instant>,
    last_sent: Instant,
    /// When the last heartbeat that was answered had been sent.
    heard: Instant,
    reported: Vec<PartitionId>,
    not_before: Instant,
    failures: u32,
    /// Since when there is no stream that works, and why.
    broken: Option<(Instant, Option<Error>, Arc<str>)>,
}

impl Session {
    pub(super) fn new(now: Instant) -> Self {
        let (event_sender, events) = mpsc::channel(EVENTS_MAX);
        Self {
            events,
            event_sender,
            link: None,
            generation: 0,
            epoch: 0,
            is_accepted: false,
            heartbeat_interval: HEARTBEAT_INTERVAL,
            unanswered: VecDeque::new(),
            last_sent: now,
            heard: now,
            reported: Vec::new(),
            not_before: now,
            failures: 0,
            broken: None,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn attempts(&self) -> u32 {
        self.failures
    }

    pub(super) fn last_error(&self) -> Option<Error> {
        self.broken.as_ref().and_then(|(_, error, _)| error.clone())
    }

    pub(super) fn broken(&self) -> Option<(Instant, Arc<str>)> {
        self.broken.as_ref().map(|(since, _, why)| (*since, why.clone()))
    }

    pub(super) fn is_linked(&self) -> bool {
        self.link.is_some()
    }

    /// The member is none any more: the next stream joins anew.
    pub(super) fn start_over(&mut self) {
        self.epoch = 0;
        self.reported.clear();
    }

    pub(super) fn retry_at(&mut self, at: Instant) {
        self.not_before = at;
    }

    /// The group may have gone on without this member.
    pub(super) fn is_expired(&self, now: Instant, timeout: Duration) -> bool {
        self.epoch != 0 && now.saturating_duration_since(self.heard) >= timeout
    }

    /// Closes the stream and pauses before the next.
    pub(super) fn disconnect(&mut self, now: Instant, why: &str) {
        self.fail(now, None, why.into());
    }

    fn fail(&mut self, now: Instant, error: Option<Error>, why: Arc<str>) {
        self.link = None;
        self.is_accepted = false;
        self.unanswered.clear();
        self.failures += 1;
        self.not_before = now + backoff::pause(self.failures, Duration::ZERO);
        let since = self.broken.as_ref().map_or(now, |(since, ..)| *since);
        self.broken = Some((since, error, why));
    }

    /// Nothing more is sent on the stream; its last request still goes out.
    pub(super) fn retire(&mut self) {
        self.is_accepted = false;
        self.unanswered.clear();
        let Some(mut link) = self.link.take() else { return };
        link.finish();
        spawn_detached(async move {
            tokio::time::sleep(FAREWELL).await;
            drop(link);
        });
    }

    /// As [`Self::retire`], but the end of the stream is awaited by the owner.
    pub(super) fn finish(&mut self) {
        if let Some(link) = &mut self.link {
            link.finish();
        }
    }

    pub(super) fn send(&mut self, request: v1::JoinRequest, now: Instant) -> bool {
        let Some(link) = &self.link else { return false };
        let is_sent = link.send(request).is_ok();
        if is_sent {
            self.unanswered.push_back(now);
            self.last_sent = now;
        }
        is_sent
    }

    /// When something is due.
    pub(super) fn wake(&self, session_timeout: Duration) -> Instant {
        let expiry = (self.epoch != 0).then(|| self.heard + session_timeout);
        let next = match self.link {
            Some(_) => self.last_sent + self.heartbeat_interval,
            None => self.not_before,
        };
        expiry.map_or(next, |expiry| expiry.min(next))
    }

    fn is_of(&self, id: LinkId) -> bool {
        self.link.as_ref().is_some_and(|link| link.id == id)
    }

    /// An answer came. One that carries an assignment may be news that no heartbeat asked for: it
    /// is not taken as an answer to one, except the first of a stream.
    fn answered(&mut self, is_news: bool) {
        let sent = self.unanswered.pop_front();
        if let Some(sent) = sent.filter(|_| !is_news || !self.is_accepted) {
            self.heard = self.heard.max(sent);
        }
        self.is_accepted = true;
        self.broken = None;
        self.failures = 0;
    }
}

impl Member {
    /// Opens a stream if there is none, and sends the heartbeats that are due.
    pub(super) fn keep_session(&mut self, now: Instant) {
        let patience = (self.config.session_timeout / 3).max(Duration::from_secs(1));
        let waits_since = self.session.unanswered.front();
        if waits_since.is_some_and(|since| now.saturating_duration_since(*since) >= patience) {
            self.session.disconnect(now, "the coordinator does not answer");
            self.coordinator = None;
        }
        if !self.session.is_linked() {
            self.connect(now);
            return;
        }
        let held = self.table.ids();
        let has_changed = self.session.is_accepted && held != self.session.reported;
        if has_changed || now >= self.session.last_sent + self.session.heartbeat_interval {
            let request = v1::JoinRequest {
                epoch: self.session.epoch,
                held: has_changed.then(|| self::held(&held)),
                ..Default::default()
            };
            if self.session.send(request, now) {
                self.session.reported = held;
            }
        }
    }

    fn connect(&mut self, now: Instant) {
        if now < self.session.not_before {
            return;
        }
        let Some(node) = self.coordinator.or_else(|| self.any_node()) else {
            self.client.view.want_refresh();
            self.session.disconnect(now, "no node is known");
            return;
        };
        self.session.generation += 1;
        let id = LinkId { node, generation: self.session.generation };
        let events = self.session.event_sender.clone();
        self.session.link = Some(Link::open(self.client.clone(), id, events));
        self.session.is_accepted = false;
        let held = self.table.ids();
        let request = v1::JoinRequest {
            group: self.config.group.to_string(),
            member_id: self.member_id.clone(),
            epoch: self.session.epoch,
            subscription: Some(self.config.subscription(&self.client.service)),
            held: Some(self::held(&held)),
            leaving: v1::Leaving::Unspecified.into(),
        };
        // A new link has room.
        self.session.send(request, now);
        self.session.reported = held;
    }

    /// One node after the other.
    fn any_node(&self) -> Option<NodeId> {
        let view = self.client.view.load();
        let turn = usize::try_from(self.session.generation).unwrap_or(0);
        view.nodes.keys().copied().cycle().nth(turn % view.nodes.len().max(1))
    }

    pub(super) fn on_event(&mut self, event: LinkEvent<v1::JoinResponse>) -> Result<()> {
        let now = Instant::now();
        match event {
            LinkEvent::Answer { link, address, answer } if self.session.is_of(link) => {
                match answer.error {
                    Some(error) => self.on_refusal(now, Error::from_proto(error, &address)),
                    None => {
                        self.coordinator = Some(link.node);
                        self.on_answer(answer);
                        Ok(())
                    }
                }
            }
            LinkEvent::Down { link, error, .. } if self.session.is_of(link) => {
                self.on_down(now, error)
            }
            // Of a stream that was given up.
            LinkEvent::Answer { .. } | LinkEvent::Down { .. } => Ok(()),
        }
    }

    fn on_answer(&mut self, answer: v1::JoinResponse) {
        if self.closing.is_some() {
            self.session.answered(answer.assignment.is_some());
            return;
        }
        self.session.answered(answer.assignment.is_some());
        self.session.epoch = answer.epoch;
        if answer.heartbeat_interval_ms > 0 {
            let interval = Duration::from_millis(u64::from(answer.heartbeat_interval_ms));
            self.session.heartbeat_interval = interval.min(self.config.session_timeout / 3);
        }
        if let Some((waits, _)) = self.joined.take() {
            // A builder that was dropped needs no answer.
            let _ = waits.send(Ok(()));
        }
        self.follow(answer.assignment);
        self.table.show_lag();
    }

    /// A stream ended. A server that refuses in the status says so there.
    fn on_down(&mut self, now: Instant, error: Error) -> Result<()> {
        if self.closing.is_some() {
            self.session.fail(now, Some(error), "left".into());
            return Ok(());
        }
        if error.code().is_some() {
            return self.on_refusal(now, error);
        }
        tracing::debug!(group = %self.config.group, %error, "the stream to the coordinator ended");
        let why = error.to_string().into();
        self.session.fail(now, Some(error), why);
        if self.session.failures > 1 {
            self.coordinator = None;
        }
        self.client.view.want_refresh();
        Ok(())
    }

    /// The last answer of a stream.
    fn on_refusal(&mut self, now: Instant, error: Error) -> Result<()> {
        let why: Arc<str> = error.to_string().into();
        let code = error.code();
        let is_fenced =
            matches!(code, Some(ErrorCode::UnknownMember | ErrorCode::StaleMemberEpoch));
        if is_fenced && self.session.epoch != 0 {
            self.drop_everything(&AckError::AssignmentLost);
            self.session.fail(now, Some(error), why);
            self.session.not_before = now;
            return Ok(());
        }
        let retry = error.retry();
        match retry {
            Retry::Never if !is_fenced => return Err(error),
            Retry::At(node) => {
                self.session.fail(now, Some(error), why);
                self.coordinator = self.known(node);
                if self.coordinator.is_some() && self.session.failures < 3 {
                    self.session.not_before = now;
                }
            }
            Retry::Never | Retry::After(_) => {
                self.session.fail(now, Some(error), why);
                self.coordinator = None;
                if let Retry::After(pause) = retry {
                    self.session.not_before = now + backoff::pause(self.session.failures, pause);
                }
            }
        }
        Ok(())
    }

    /// A node, if its address is known.
    pub(super) fn known(&self, node: NodeId) -> Option<NodeId> {
        let is_known = self.client.view.load().nodes.contains_key(&node);
        if !is_known {
            self.client.view.want_refresh();
        }
        is_known.then_some(node)
    }

    /// Says goodbye on the stream.
    pub(super) fn leave(&mut self, leaving: v1::Leaving) -> bool {
        let request = v1::JoinRequest {
            epoch: self.session.epoch,
            leaving: leaving.into(),
            ..Default::default()
        };
        self.session.send(request, Instant::now())
    }
}
