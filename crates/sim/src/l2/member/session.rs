//! The stream to the coordinator and the clock of the membership, as the client's `session.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quipu_broker::coordinator::{
    Assignor, Heartbeat, Held, JoinCommand, Leaving, Subscription, Wanted,
};
use quipu_types::{ErrorCode, NodeId, PartitionId, Retry};
use tokio::time::Instant;

use super::Member;
use crate::l1::census::Event;
use crate::l2::link::{Receiver, Sender};
use crate::l2::stream::{Answered, Refused, Said};

/// Until the coordinator says another.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);

/// What came on the stream; none: it ended.
pub(super) type Answer = Option<Result<Answered, Refused>>;

/// How it stands with the coordinator.
pub(super) struct Session {
    stream: Option<Stream>,
    /// Where the group's state is, as far as known.
    pub(super) coordinator: Option<NodeId>,
    /// 0: no member.
    epoch: u64,
    is_accepted: bool,
    interval: Duration,
    /// When heartbeats without an answer were sent.
    unanswered: VecDeque<Instant>,
    last_sent: Instant,
    /// When the last heartbeat that was answered had been sent.
    heard: Instant,
    reported: Vec<PartitionId>,
    not_before: Instant,
    failures: u32,
}

struct Stream {
    node: NodeId,
    requests: Sender<Said>,
    answers: Receiver<Result<Answered, Refused>>,
}

impl Session {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            stream: None,
            coordinator: None,
            epoch: 0,
            is_accepted: false,
            interval: HEARTBEAT_INTERVAL,
            unanswered: VecDeque::new(),
            last_sent: now,
            heard: now,
            reported: Vec::new(),
            not_before: now,
            failures: 0,
        }
    }

    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The next stream joins anew.
    pub(super) fn start_over(&mut self) {
        self.epoch = 0;
        self.reported.clear();
    }

    /// What comes on the stream; never, while there is none.
    pub(super) async fn answer(&mut self) -> Answer {
        match &mut self.stream {
            Some(stream) => stream.answers.recv().await,
            None => std::future::pending().await,
        }
    }

    fn disconnect(&mut self, now: Instant) {
        self.stream = None;
        self.is_accepted = false;
        self.unanswered.clear();
        self.failures += 1;
        let pause = (20_u64 << self.failures.min(10)).min(500);
        self.not_before = now + Duration::from_millis(pause);
    }

    fn send(&mut self, said: Said, now: Instant) -> bool {
        let is_sent = self.stream.as_mut().is_some_and(|stream| stream.requests.send(said));
        if is_sent {
            self.unanswered.push_back(now);
            self.last_sent = now;
        }
        is_sent
    }
}

impl Member {
    /// The group may have gone on without this member.
    pub(super) fn check_session(&mut self, now: Instant) {
        let silence = now.duration_since(self.session.heard);
        if self.session.epoch != 0 && silence >= self.session_timeout() {
            self.count(Event::Expired, format_args!("heard nothing for {silence:?}"));
            self.drop_everything("no heartbeat was answered for the session timeout");
            self.session.disconnect(now);
            self.session.coordinator = None;
        }
    }

    /// Opens a stream if there is none, and sends the heartbeats that are due.
    pub(super) fn keep_session(&mut self, now: Instant) {
        let patience = (self.session_timeout() / 3).max(Duration::from_secs(1));
        let since = self.session.unanswered.front();
        if since.is_some_and(|since| now.duration_since(*since) >= patience) {
            self.session.disconnect(now);
            self.session.coordinator = None;
        }
        if self.session.stream.is_none() {
            self.connect(now);
            return;
        }
        let held = self.held();
        let has_changed = self.session.is_accepted && held != self.session.reported;
        if has_changed || now >= self.session.last_sent + self.session.interval {
            let beat = Heartbeat {
                epoch: self.session.epoch,
                held: has_changed.then(|| by_topic(&held)),
                ..Heartbeat::default()
            };
            if self.session.send(Said::Beat(beat), now) {
                self.session.reported = held;
            }
        }
    }

    fn connect(&mut self, now: Instant) {
        if now < self.session.not_before {
            return;
        }
        let node = match self.session.coordinator {
            Some(node) => node,
            None => self.way.any_node(&mut self.rng),
        };
        let Some((requests, answers)) = self.way.open_join(node) else {
            self.session.disconnect(now);
            self.session.coordinator = None;
            return;
        };
        self.session.stream = Some(Stream { node, requests, answers });
        self.session.is_accepted = false;
        let held = self.held();
        let command = JoinCommand {
            group: self.group.name.to_owned(),
            member: self.id.clone(),
            epoch: self.session.epoch,
            subscription: self.subscription(),
            held: by_topic(&held),
        };
        let event = if self.session.epoch == 0 { Event::Joined } else { Event::Resumed };
        self.count(event, format_args!("joins at node {node}, epoch {}", self.session.epoch));
        self.session.send(Said::Join(Box::new(command)), now);
        self.session.reported = held;
    }

    fn subscription(&self) -> Subscription {
        let topics: Vec<String> = self.group.topics.iter().map(|&name| name.to_owned()).collect();
        Subscription {
            wanted: Wanted::new(&topics, &[]).expect("good names"),
            assignor: if self.group.is_range { Assignor::Range } else { Assignor::Uniform },
            client: "sim".to_owned(),
            host: "here".to_owned(),
            instance: self.instance.clone(),
            session_timeout_ms: self.group.session_ms,
            processing_timeout_ms: 0,
        }
    }

    /// Something came on the stream; false when it cannot be a member any more.
    pub(super) fn on_answer(&mut self, answer: Answer) -> bool {
        let now = Instant::now();
        match answer {
            Some(Ok(answer)) => {
                self.on_news(answer, now);
                true
            }
            Some(Err(refused)) => self.on_refusal(&refused, now),
            None => {
                self.note(format_args!("has lost its stream"));
                self.session.disconnect(now);
                if self.session.failures > 1 {
                    self.session.coordinator = None;
                }
                true
            }
        }
    }

    fn on_news(&mut self, answer: Answered, now: Instant) {
        let session = &mut self.session;
        let sent = session.unanswered.pop_front();
        // News that no heartbeat asked for are not an answer to one, but for a stream's first.
        let is_news = answer.assignment.is_some();
        if let Some(sent) = sent.filter(|_| !is_news || !session.is_accepted) {
            session.heard = session.heard.max(sent);
        }
        session.is_accepted = true;
        session.failures = 0;
        session.epoch = answer.epoch;
        let third = Duration::from_millis(self.group.session_ms.into()) / 3;
        session.interval = answer.heartbeat_interval.min(third);
        session.coordinator = session.stream.as_ref().map(|stream| stream.node);
        if let Some(assignment) = answer.assignment {
            self.assigned = assignment.assigned.into_iter().collect();
            self.revoking = assignment.revoking.into_iter().collect();
            let (has, goes): (Vec<_>, Vec<_>) = (
                self.assigned.iter().map(ToString::to_string).collect(),
                self.revoking.iter().map(ToString::to_string).collect(),
            );
            self.note(format_args!("hears of epoch {}: {has:?}, to go {goes:?}", answer.epoch));
        }
        self.follow(now);
    }

    /// The last answer of a stream; false when it says that all is in vain.
    fn on_refusal(&mut self, refused: &Refused, now: Instant) -> bool {
        let is_fenced =
            matches!(refused.code, ErrorCode::UnknownMember | ErrorCode::StaleMemberEpoch);
        self.note(format_args!("is refused: {}", refused.words));
        if is_fenced && self.session.epoch != 0 {
            self.count(Event::Fenced, format_args!("is none any more"));
            self.drop_everything("the coordinator does not know it");
            self.session.disconnect(now);
            self.session.not_before = now;
            return true;
        }
        self.session.disconnect(now);
        match refused.retry {
            Retry::Never if !is_fenced => return false,
            Retry::At(node) => {
                self.session.coordinator = Some(node);
                if self.session.failures < 3 {
                    self.session.not_before = now;
                }
            }
            Retry::Never | Retry::After(_) => self.session.coordinator = None,
        }
        true
    }

    /// It is fenced, or a commit says so: the group is joined anew, at once.
    pub(super) fn start_over(&mut self, why: &str) {
        let now = Instant::now();
        self.count(Event::Fenced, format_args!("is none any more"));
        self.drop_everything(why);
        self.session.disconnect(now);
        self.session.not_before = now;
    }

    /// Says that it goes.
    pub(super) fn say_goodbye(&mut self) {
        let leaving = if self.instance.is_some() { Leaving::Temporarily } else { Leaving::Now };
        let epoch = self.session.epoch;
        let beat = Heartbeat { epoch, leaving: Some(leaving), ..Heartbeat::default() };
        self.session.send(Said::Beat(beat), Instant::now());
    }
}

/// What is held, by topic.
fn by_topic(ids: &[PartitionId]) -> Held {
    let mut held: Held = BTreeMap::new();
    for id in ids.iter().collect::<BTreeSet<_>>() {
        held.entry(id.topic).or_default().push(id.index.get());
    }
    held
}
