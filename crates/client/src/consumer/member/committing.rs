//! Positions on their way to the group: one request at a time, what changes meanwhile goes with
//! the next.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use quipu_proto::v1;
use quipu_types::{ErrorCode, NodeId, Retry};
use tokio::time::Instant;

use super::Member;
use super::assignment::Assignment;
use crate::call::{Call, Target};
use crate::client::{Shared, groups_service};
use crate::consumer::Rebalance;
use crate::consumer::table::{Commit, Dirty};
use crate::error::AckError;
use crate::{Error, Result, backoff};

/// A coordinator that is silent for so long is asked again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of a request.
pub(super) type Done = (Vec<Commit>, Result<(v1::CommitOffsetsResponse, String)>);

pub(super) struct Committing {
    in_flight: Option<BoxFuture<'static, Done>>,
    next_regular: Instant,
    not_before: Instant,
    failures: u32,
    /// Who to ask, if it is not the node of the stream.
    redirected: Option<NodeId>,
    pub(super) assignment: Assignment,
}

impl Committing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            in_flight: None,
            next_regular: now,
            not_before: now,
            failures: 0,
            redirected: None,
            assignment: Assignment::default(),
        }
    }

    /// Resolves with the request in flight; never, when there is none.
    pub(super) async fn done(&mut self) -> Done {
        match &mut self.in_flight {
            Some(request) => {
                let done = request.await;
                self.in_flight = None;
                done
            }
            None => std::future::pending().await,
        }
    }

    /// The membership is over, and with it what was assigned.
    pub(super) fn forget(&mut self) {
        self.in_flight = None;
        self.assignment = Assignment::default();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }
}

impl Member {
    /// Sends what is to be committed, if it is time.
    pub(super) fn commit_if_due(&mut self, now: Instant) {
        let is_free = self.committing.is_idle() && now >= self.committing.not_before;
        if !is_free || self.session.epoch() == 0 {
            return;
        }
        let is_regular = now >= self.committing.next_regular;
        if is_regular {
            self.committing.next_regular = now + self.config.commit_interval;
        }
        let is_due = match self.table.dirty(now) {
            Dirty::Clean => false,
            Dirty::Later => is_regular || self.is_last_commit(now),
            Dirty::Now => true,
        };
        if is_due {
            let commits = self.table.commits(now);
            let request = self.request(&commits);
            let target = self.committing.redirected.or(self.coordinator);
            self.committing.in_flight =
                Some(Box::pin(send(self.client.clone(), target, request, commits)));
        }
    }

    /// When there may be something to commit.
    pub(super) fn next_commit(&self, now: Instant) -> Option<Instant> {
        if !self.committing.is_idle() || self.session.epoch() == 0 {
            return None;
        }
        let not_before = self.committing.not_before;
        match self.table.dirty(now) {
            Dirty::Clean => None,
            Dirty::Later => Some(self.committing.next_regular.max(not_before)),
            Dirty::Now => Some(not_before),
        }
    }

    fn request(&self, commits: &[Commit]) -> v1::CommitOffsetsRequest {
        let offset = |commit: &Commit| v1::CommitOffset {
            topic_id: commit.id.topic.to_bytes().to_vec().into(),
            partition: commit.id.index.get(),
            offset: commit.position,
            leader_epoch: -1,
            metadata: String::new(),
        };
        v1::CommitOffsetsRequest {
            group: self.config.group.to_string(),
            member_id: self.member_id.clone(),
            epoch: self.session.epoch(),
            offsets: commits.iter().map(offset).collect(),
            timeout_ms: u32::try_from(ATTEMPT_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn on_committed(&mut self, (commits, result): Done) {
        let now = Instant::now();
        let (answer, from) = match result {
            Ok(answered) => answered,
            Err(error) => return self.on_commit_failed(now, &commits, error),
        };
        self.committing.failures = 0;
        let mut lost = Vec::new();
        let mut results = answer.results.into_iter();
        for commit in &commits {
            let Some(result) = results.next() else {
                self.committing.not_before = now + self.config.commit_interval;
                continue;
            };
            let Some(error) = result.error else {
                self.table.committed(commit);
                continue;
            };
            let error = Error::from_proto(error, &from);
            match (error.code(), error.retry()) {
                (Some(ErrorCode::StaleMemberEpoch | ErrorCode::UnknownMember), _) => {
                    lost.extend(self.table.lose(commit.id, &AckError::AssignmentLost));
                }
                (_, Retry::Never) => self.table.refused(commit, &AckError::Failed(error)),
                (_, Retry::After(_) | Retry::At(_)) => {
                    self.committing.not_before = now + backoff::pause(1, Duration::ZERO);
                }
            }
        }
        self.config.tell(Rebalance::Lost(lost));
    }

    fn on_commit_failed(&mut self, now: Instant, commits: &[Commit], error: Error) {
        let code = error.code();
        tracing::debug!(group = %self.config.group, %error, "commit positions");
        if matches!(code, Some(ErrorCode::UnknownMember | ErrorCode::StaleMemberEpoch)) {
            self.drop_everything(&AckError::AssignmentLost);
            self.session.retire();
            self.session.retry_at(now);
            return;
        }
        let committing = &mut self.committing;
        committing.failures += 1;
        committing.redirected = None;
        let pause = backoff::pause(committing.failures, Duration::ZERO);
        match error.retry() {
            Retry::At(node) => {
                committing.not_before = if committing.failures < 3 { now } else { now + pause };
                self.committing.redirected = self.known(node);
            }
            Retry::After(at_least) => {
                committing.not_before = now + backoff::pause(committing.failures, at_least);
            }
            // The transport says nothing of itself.
            Retry::Never if code.is_none() => committing.not_before = now + pause,
            Retry::Never => {
                committing.not_before = now + self.config.commit_interval;
                let why = AckError::Failed(error);
                commits.iter().for_each(|commit| self.table.refused(commit, &why));
            }
        }
    }
}

async fn send(
    client: Arc<Shared>,
    target: Option<NodeId>,
    request: v1::CommitOffsetsRequest,
    commits: Vec<Commit>,
) -> Done {
    let call = Call {
        action: "commit positions".to_owned(),
        target: target.map_or(Target::Any, Target::Node),
        is_repeatable: true,
    };
    let sent = client.once(&call, request, |channel, request| async move {
        groups_service(channel).commit_offsets(request).await
    });
    let silent = || Err(Error::stream_ended("call", "the coordinator", "no answer came"));
    let answered = tokio::time::timeout(ATTEMPT_TIMEOUT, sent).await;
    (commits, answered.unwrap_or_else(|_| silent()))
}
