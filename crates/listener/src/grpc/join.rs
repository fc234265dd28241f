//! A member's stream, from its first request to its last answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use quipu_broker::coordinator::{
    Assignment, Assignor, GroupError, Heartbeat, Held, JoinCommand, Leaving, Membership,
    Subscription, Wanted,
};
use quipu_broker::metrics;
use quipu_proto::v1;
use quipu_runtime::OnExit;
use quipu_types::limits;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};

use super::context::Context;
use super::groups::{by_topic, last_answer, partitions};
use super::refusal::Refusal;
use crate::metrics::StreamCount;

const API: &str = "join";
/// Answers that may wait for a client that does not read.
const ANSWERS_MAX: usize = 16;

type Answers = mpsc::Sender<Result<v1::JoinResponse, Status>>;

/// Runs a member's stream in a task of its own; it ends with the stream.
pub(super) fn start(
    context: &Context,
    request: Request<Streaming<v1::JoinRequest>>,
) -> ReceiverStream<Result<v1::JoinResponse, Status>> {
    let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
    let host = request.remote_addr().map(|address: SocketAddr| address.ip().to_string());
    let requests = request.into_inner();
    let stopping = context.tasks.token();
    let context = context.clone();
    context.tasks.clone().spawn_graceful(API, OnExit::Log, async move {
        let _count = StreamCount::new(API);
        let host = host.unwrap_or_default();
        let stream = MemberStream { context, requests, answers: answers.clone(), stopping };
        // A client that is gone needs no last answer.
        match stream.run(host).await {
            Ok(()) => {}
            Err(End::Refused(refusal)) => drop(answers.send(Ok(last_answer(&refusal))).await),
            Err(End::Failed(error)) => drop(answers.send(Ok(last_answer(&error))).await),
        }
    });
    ReceiverStream::new(receiver)
}

/// Why a stream ends with an error.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Failed(#[from] GroupError),
}

struct MemberStream {
    context: Context,
    requests: Streaming<v1::JoinRequest>,
    answers: Answers,
    stopping: CancellationToken,
}

impl MemberStream {
    async fn run(mut self, host: String) -> Result<(), End> {
        let first = tokio::select! {
            () = self.stopping.cancelled() => None,
            first = self.requests.message() => first.unwrap_or_default(),
        };
        let Some(first) = first else { return Ok(()) };
        let begun = self.context.broker.clock().monotonic();
        let command = command(first, host)?;
        let joined = self.context.broker.join_group(command).await;
        let took = self.context.broker.clock().monotonic().saturating_sub(begun);
        let code = joined.as_ref().err().map(quipu_broker::OperationError::code);
        metrics::request(API, code, took);
        let mut membership = joined?;
        loop {
            // News first: an answer carries the epoch that was told last, and the first answer of a
            // stream must carry one.
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return Ok(()),
                () = self.answers.closed() => return Ok(()),
                assignment = membership.news() => {
                    let assignment = assignment?;
                    let image = self.context.broker.image();
                    let name = |topic: &quipu_types::TopicId| {
                        let found = image.topic_by_id(topic);
                        found.map(|topic| topic.name.as_str().to_owned()).unwrap_or_default()
                    };
                    self.say(&membership, Some(message(&assignment, name))).await;
                }
                request = self.requests.message() => {
                    let Ok(Some(request)) = request else { return Ok(()) };
                    if !membership.beat(heartbeat(request)?).await? {
                        self.say(&membership, None).await;
                        return Ok(());
                    }
                    self.say(&membership, None).await;
                }
            }
        }
    }

    async fn say(&self, membership: &Membership, assignment: Option<v1::Assignment>) {
        let interval = membership.heartbeat_interval().as_millis();
        let response = v1::JoinResponse {
            epoch: membership.epoch(),
            heartbeat_interval_ms: u32::try_from(interval).unwrap_or(u32::MAX),
            assignment,
            error: None,
        };
        // When nobody listens any more, the next look finds out.
        let _ = self.answers.send(Ok(response)).await;
    }
}

fn message(
    assignment: &Assignment,
    name: impl Fn(&quipu_types::TopicId) -> String,
) -> v1::Assignment {
    v1::Assignment {
        assigned: by_topic(&assignment.assigned, &name),
        revoking: by_topic(&assignment.revoking, &name),
    }
}

pub(super) fn command(request: v1::JoinRequest, host: String) -> Result<JoinCommand, End> {
    let missing = || Refusal::malformed("subscription", "the first request names what to read");
    let asked = request.subscription.ok_or_else(missing)?;
    let instance = (!asked.instance_id.is_empty()).then_some(asked.instance_id);
    let subscription = Subscription {
        wanted: Wanted::new(&asked.topics, &asked.patterns)?,
        assignor: assignor(asked.assignor)?,
        client: bounded(asked.client, "subscription.client")?,
        host,
        instance,
        session_timeout_ms: asked.session_timeout_ms,
        processing_timeout_ms: asked.processing_timeout_ms,
    };
    Ok(JoinCommand {
        group: request.group,
        member: request.member_id,
        epoch: request.epoch,
        subscription,
        held: held(request.held.as_ref())?,
    })
}

/// A text for people: of the length of a name.
fn bounded(text: String, field: &str) -> Result<String, Refusal> {
    super::validate::at_most(text.len(), limits::GROUP_NAME_BYTES_MAX, field)?;
    Ok(text)
}

pub(super) fn heartbeat(request: v1::JoinRequest) -> Result<Heartbeat, End> {
    let wanted = match &request.subscription {
        Some(asked) => Some(Wanted::new(&asked.topics, &asked.patterns)?),
        None => None,
    };
    let held = match &request.held {
        Some(_) => Some(held(request.held.as_ref())?),
        None => None,
    };
    Ok(Heartbeat { epoch: request.epoch, wanted, held, leaving: leaving(request.leaving)? })
}

fn held(held: Option<&v1::HeldPartitions>) -> Result<Held, Refusal> {
    let mut topics: Held = BTreeMap::new();
    if let Some(held) = held {
        // One member may have all there are.
        let limit = usize::try_from(limits::CLUSTER_PARTITIONS_MAX).unwrap_or(usize::MAX);
        for partition in partitions(&held.partitions, "held.partitions", limit)? {
            topics.entry(partition.topic).or_default().push(partition.index.get());
        }
    }
    Ok(topics)
}

fn assignor(found: i32) -> Result<Assignor, Refusal> {
    match v1::Assignor::try_from(found) {
        Ok(v1::Assignor::Unspecified | v1::Assignor::Uniform) => Ok(Assignor::Uniform),
        Ok(v1::Assignor::Range) => Ok(Assignor::Range),
        Err(_) => {
            let reason = format!("{found} is unknown; use 1 (uniform), 2 (range)");
            Err(Refusal::malformed("subscription.assignor", reason))
        }
    }
}

fn leaving(found: i32) -> Result<Option<Leaving>, Refusal> {
    match v1::Leaving::try_from(found) {
        Ok(v1::Leaving::Unspecified) => Ok(None),
        Ok(v1::Leaving::Now) => Ok(Some(Leaving::Now)),
        Ok(v1::Leaving::Temporarily) => Ok(Some(Leaving::Temporarily)),
        Ok(v1::Leaving::Stuck) => Ok(Some(Leaving::Stuck)),
        Err(_) => {
            let reason = format!("{found} is unknown; use 0 to 3");
            Err(Refusal::malformed("leaving", reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_nobody_assigned_are_refused() {
        assert_eq!(assignor(0), Ok(Assignor::Uniform));
        assert_eq!(assignor(2), Ok(Assignor::Range));
        let refused = assignor(3).expect_err("unknown").to_string();
        assert_eq!(refused, "subscription.assignor: 3 is unknown; use 1 (uniform), 2 (range)");
        assert_eq!(leaving(0), Ok(None));
        let refused = leaving(-1).expect_err("unknown").to_string();
        assert_eq!(refused, "leaving: -1 is unknown; use 0 to 3");
    }
}
