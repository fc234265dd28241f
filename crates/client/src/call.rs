//! Unary calls: which server, how often, how long.

use std::time::Duration;

use quipu_proto::v1;
use quipu_types::{Effect, NodeId, Retry};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::channels::Class;
use crate::client::Shared;
use crate::error::TimeoutError;
use crate::{Error, backoff};

/// A server that is silent for so long is left for the next one, if the call may be repeated.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which server is called.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Any, the next in turn.
    Any,
    /// The one with this id, or whom it names instead.
    Node(NodeId),
    /// The one with this id: it is asked about itself.
    Only(NodeId),
    /// The one at this address.
    Address(String),
}

/// What is called.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// For errors: "create topic \"fees\"".
    pub(crate) action: String,
    pub(crate) target: Target,
    /// It does no harm if it happens twice.
    pub(crate) is_repeatable: bool,
}

/// An answer that may carry a refusal.
pub(crate) trait Answer {
    fn take_error(&mut self) -> Option<v1::Error>;
}

macro_rules! answers {
    (refusing: $($refusing:ident)+; plain: $($plain:ident)+) => {
        $(impl Answer for v1::$refusing {
            fn take_error(&mut self) -> Option<v1::Error> {
                self.error.take()
            }
        })+
        $(impl Answer for v1::$plain {
            fn take_error(&mut self) -> Option<v1::Error> {
                None
            }
        })+
    };
}

answers! {
    refusing: CreateTopicResponse DeleteTopicResponse AlterTopicResponse AddPartitionsResponse
        PartitionChecksumResponse DescribeReplicaResponse TransferLeaderResponse ChangeNodeResponse MoveReplicasResponse
        RebalanceResponse InitProducerResponse CommitOffsetsResponse FetchOffsetsResponse
        ListGroupsResponse DescribeGroupResponse ResetOffsetsResponse DeleteGroupResponse
        SetPolicyResponse DeletePolicyResponse FinalizeLevelResponse MovePartitionsResponse;
    plain: MetadataResponse DescribeTopicsResponse DescribeClusterResponse ListOffsetsResponse
        DeleteRecordsResponse ListPoliciesResponse
}

impl Shared {
    /// Calls until it works, cannot work, or the client's request timeout is over. Returns the
    /// answer and who gave it.
    pub(crate) async fn call<Q, T, F>(
        &self,
        call: &Call,
        request: Q,
        operation: impl Fn(Channel, Q) -> F + Send + Sync,
    ) -> Result<(T, String), Error>
    where
        Q: Clone + Send + Sync,
        T: Answer + Send,
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let begun = Instant::now();
        let deadline = begun + self.settings.request_timeout;
        let mut target = call.target.clone();
        let mut attempts = 0;
        let mut is_unknown = false;
        let mut last = None;
        loop {
            attempts += 1;
            let now = call.at(target.clone());
            let Some(tried) = bounded(deadline, self.once(&now, request.clone(), &operation)).await
            else {
                let effect = if call.is_repeatable { Effect::None } else { Effect::Unknown };
                return Err(call.timed_out(begun, attempts, effect, last));
            };
            let error = match tried {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            is_unknown |= error.effect() == Effect::Unknown;
            let stops = is_unknown && !call.is_repeatable;
            let pause = match error.retry() {
                _ if stops => return Err(error),
                Retry::Never => return Err(error),
                Retry::At(_) if matches!(call.target, Target::Only(_)) => return Err(error),
                Retry::At(node) => {
                    target = self.redirected(&call.target, node);
                    if attempts < 3 {
                        Duration::ZERO
                    } else {
                        backoff::pause(attempts - 2, Duration::ZERO)
                    }
                }
                Retry::After(pause) => {
                    target = call.target.clone();
                    backoff::pause(attempts, pause)
                }
            };
            if Instant::now() + pause >= deadline {
                let effect = if is_unknown { Effect::Unknown } else { Effect::None };
                return Err(call.timed_out(begun, attempts, effect, Some(error)));
            }
            last = Some(error);
            tokio::time::sleep(pause).await;
        }
    }

    /// Calls once.
    pub(crate) async fn once<Q, T, F>(
        &self,
        call: &Call,
        request: Q,
        operation: impl Fn(Channel, Q) -> F + Send + Sync,
    ) -> Result<(T, String), Error>
    where
        Q: Clone + Send + Sync,
        T: Answer + Send,
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let address = self.address_of(&call.target)?;
        let channel = self.channels.get(&address, Class::Control).await?;
        let attempt =
            tokio::time::timeout(self.attempt_timeout(call), operation(channel, request)).await;
        let answered = attempt.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer came")));
        match answered {
            Ok(response) => {
                let mut answer = response.into_inner();
                match answer.take_error() {
                    None => Ok((answer, address)),
                    Some(error) => Err(Error::from_proto(error, &address)),
                }
            }
            Err(status) => {
                self.channels.forget(&address, Class::Control);
                Err(Error::from_status(&status, "call", &address))
            }
        }
    }

    fn attempt_timeout(&self, call: &Call) -> Duration {
        let whole = self.settings.request_timeout;
        if call.is_repeatable { whole.min(ATTEMPT_TIMEOUT) } else { whole }
    }

    /// A server sent the call to another node; one whose address is not known yet waits for the
    /// next refresh.
    fn redirected(&self, asked: &Target, node: NodeId) -> Target {
        if self.view.load().nodes.contains_key(&node) {
            return Target::Node(node);
        }
        self.view.want_refresh();
        asked.clone()
    }

    fn address_of(&self, target: &Target) -> Result<String, Error> {
        match target {
            Target::Address(address) => Ok(address.clone()),
            Target::Any => Ok(self.view.addresses().into_iter().next().unwrap_or_default()),
            Target::Node(node) | Target::Only(node) => {
                self.view.load().nodes.get(node).cloned().ok_or_else(|| {
                    Error::invalid(format!("node {node} is not known in this cluster"))
                })
            }
        }
    }
}

impl Call {
    fn at(&self, target: Target) -> Self {
        Self { target, ..self.clone() }
    }

    fn timed_out(
        &self,
        begun: Instant,
        attempts: u32,
        effect: Effect,
        last: Option<Error>,
    ) -> Error {
        let action = self.action.clone();
        Error::timeout(TimeoutError { action, waited: begun.elapsed(), attempts, effect, last })
    }
}

/// `None` when the deadline passed first.
async fn bounded<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline, future).await.ok()
}
