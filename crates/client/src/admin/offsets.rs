//! Finding offsets: each partition's leader is asked, all of a node in one request.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_proto::v1;
use quipu_types::{Effect, NodeId, Retry, TimestampMs};
use tokio::time::Instant;

use super::timestamp;
use crate::call::{Call, Target};
use crate::client::{Shared, log_service};
use crate::cluster_view::Topic;
use crate::error::TimeoutError;
use crate::{Error, Result, backoff};

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// First kept.
    Earliest,
    /// Next to be written, confirmed by a quorum.
    Latest,
    /// Of the first record at or after this time.
    Timestamp(TimestampMs),
}

/// An offset that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetFound {
    /// The offset.
    pub offset: u64,
    /// Its record's time, where time was asked for.
    pub timestamp: Option<TimestampMs>,
}

/// What is not answered yet: where in the caller's list, and what.
type Open = Vec<(usize, (u32, OffsetAt))>;

/// Answers in the order of `queries`.
pub(crate) async fn list(
    client: &Shared,
    topic: &Topic,
    queries: &[(u32, OffsetAt)],
) -> Result<Vec<Option<OffsetFound>>> {
    let begun = Instant::now();
    let deadline = begun + client.settings.request_timeout;
    let mut found = vec![None; queries.len()];
    let mut open: Open = queries.iter().copied().enumerate().collect();
    let mut attempts = 0;
    let mut last = None;
    while !open.is_empty() {
        if attempts > 0 {
            tokio::time::sleep(backoff::pause(attempts, Duration::ZERO)).await;
        }
        if Instant::now() >= deadline {
            let action = format!("find offsets of topic {:?}", topic.name);
            let waited = begun.elapsed();
            let effect = Effect::None;
            return Err(Error::timeout(TimeoutError { action, waited, attempts, effect, last }));
        }
        attempts += 1;
        open = round(client, topic, open, &mut found, &mut last).await?;
    }
    Ok(found)
}

/// Asks each leader once; returns what is still open.
async fn round(
    client: &Shared,
    topic: &Topic,
    open: Open,
    found: &mut [Option<OffsetFound>],
    last: &mut Option<Error>,
) -> Result<Open> {
    let view = client.view.topic(&topic.name);
    let mut by_leader: BTreeMap<NodeId, Open> = BTreeMap::new();
    let mut rest = Vec::new();
    for query in open {
        match view.as_ref().and_then(|topic| topic.leader(query.1.0)) {
            Some(leader) => by_leader.entry(leader).or_default().push(query),
            None => rest.push(query),
        }
    }
    if !rest.is_empty() {
        client.view.want_refresh();
    }
    for (leader, queries) in by_leader {
        match ask(client, topic, leader, &queries).await {
            Ok((answer, from)) => {
                let answers = answer.answers.into_iter();
                for (query, answer) in queries.into_iter().zip(answers) {
                    match settle(client, topic, query.1.0, answer, &from)? {
                        Ok(offset) => found[query.0] = offset,
                        Err(error) => {
                            *last = Some(error);
                            rest.push(query);
                        }
                    }
                }
            }
            Err(error) if error.retry() == Retry::Never && error.code().is_some() => {
                return Err(error);
            }
            Err(error) => {
                client.view.want_refresh();
                *last = Some(error);
                rest.extend(queries);
            }
        }
    }
    Ok(rest)
}

async fn ask(
    client: &Shared,
    topic: &Topic,
    leader: NodeId,
    queries: &Open,
) -> Result<(v1::ListOffsetsResponse, String)> {
    let queries = queries.iter().map(|(_, (partition, at))| v1::OffsetQuery {
        topic_id: topic.id.to_bytes().to_vec().into(),
        partition: *partition,
        at: Some(match at {
            OffsetAt::Earliest => v1::offset_query::At::Earliest(v1::Earliest {}),
            OffsetAt::Latest => v1::offset_query::At::Latest(v1::Latest {}),
            OffsetAt::Timestamp(at) => v1::offset_query::At::TimestampMs(at.get()),
        }),
    });
    let request = v1::ListOffsetsRequest { queries: queries.collect(), timeout_ms: 5_000 };
    let call = Call {
        action: "list offsets".to_owned(),
        target: Target::Node(leader),
        is_repeatable: true,
    };
    client
        .once(&call, request, |channel, request| async move {
            log_service(channel).list_offsets(request).await
        })
        .await
}

/// The offset; an error worth another attempt inside, one that is final outside.
fn settle(
    client: &Shared,
    topic: &Topic,
    partition: u32,
    answer: v1::OffsetAnswer,
    from: &str,
) -> Result<Result<Option<OffsetFound>>> {
    let Some(error) = answer.error else {
        let time = timestamp(answer.timestamp_ms);
        return Ok(Ok(answer.offset.map(|offset| OffsetFound { offset, timestamp: time })));
    };
    let error = Error::from_proto(error, from);
    match error.retry() {
        Retry::Never => Err(error),
        Retry::At(node) => {
            client.view.set_leader(&topic.name, partition, node);
            Ok(Err(error))
        }
        Retry::After(_) => {
            client.view.want_refresh();
            Ok(Err(error))
        }
    }
}
