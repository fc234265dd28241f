//! What is common to all calls: memory, time, panics.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use prost::Message;
use quipu_broker::{OperationError, metrics};
use quipu_proto::v1;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::error_map;
use super::refusal::Refusal;

/// Runs work of a request; a panic becomes a refusal of this one request and a line in the log.
///
/// Handlers share nothing that a panic could leave half changed: the broker's own state changes in
/// its tasks, whose panics stop the node.
pub(super) async fn guarded<T>(
    api: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, Refusal> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        metrics::panicked(api);
        tracing::error!(api, "a request handler panicked");
        Refusal::Panicked
    })
}

/// An answer that may carry an error.
pub(super) trait Answer {
    /// The error of the whole, or of the first part that has one.
    fn error(&self) -> Option<&v1::Error>;
}

/// Answers one call: takes memory, runs the handler, counts.
pub(super) async fn answer<Q, A, F>(
    api: &'static str,
    context: &Context,
    request: Request<Q>,
    handler: impl FnOnce(Context, Q) -> F,
) -> Result<Response<A>, Status>
where
    Q: Message,
    A: Answer,
    F: Future<Output = Result<A, Refusal>>,
{
    let begun = context.broker.clock().monotonic();
    let request = request.into_inner();
    let _permit = context.memory.take(request.encoded_len()).await;
    let answered = guarded(api, handler(context.clone(), request)).await.and_then(|answer| answer);
    let code = match &answered {
        Ok(answer) => answer.error().and_then(error_map::code_of),
        Err(refusal) => Some(refusal.code()),
    };
    let took = context.broker.clock().monotonic().saturating_sub(begun);
    metrics::request(api, code, took);
    match answered {
        Ok(answer) => Ok(Response::new(answer)),
        Err(refusal) => {
            crate::metrics::refused(refusal.code().name());
            Err(error_map::status(&refusal))
        }
    }
}

macro_rules! answers {
    (whole: $($whole:ident)+; parts: $($parts:ident.$field:ident)+; plain: $($plain:ident)+) => {
        $(impl Answer for v1::$whole {
            fn error(&self) -> Option<&v1::Error> {
                self.error.as_ref()
            }
        })+
        $(impl Answer for v1::$parts {
            fn error(&self) -> Option<&v1::Error> {
                self.$field.iter().find_map(|part| part.error.as_ref())
            }
        })+
        $(impl Answer for v1::$plain {
            fn error(&self) -> Option<&v1::Error> {
                None
            }
        })+
    };
}

answers! {
    whole: InitProducerResponse CreateTopicResponse DeleteTopicResponse AlterTopicResponse
        AddPartitionsResponse PartitionChecksumResponse DescribeReplicaResponse TransferLeaderResponse ChangeNodeResponse
        MoveReplicasResponse RebalanceResponse FetchOffsetsResponse ListGroupsResponse
        DescribeGroupResponse ResetOffsetsResponse DeleteGroupResponse SetPolicyResponse
        DeletePolicyResponse FinalizeLevelResponse MovePartitionsResponse;
    parts: ListOffsetsResponse.answers DescribeTopicsResponse.topics DeleteRecordsResponse.results
        MetadataResponse.topics;
    plain: DescribeClusterResponse ListPoliciesResponse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_one_requests_failure_with_unknown_effect() {
        let refused: Result<(), Refusal> = guarded("test", async { panic!("a defect") }).await;
        let refused = refused.expect_err("it panicked");
        assert_eq!(refused, Refusal::Panicked);
        assert_eq!(refused.effect(), quipu_types::Effect::Unknown);
        assert_eq!(guarded("test", async { 7 }).await, Ok(7));
    }
}
