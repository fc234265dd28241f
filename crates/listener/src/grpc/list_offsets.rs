//! Finding offsets.

use bytes::Bytes;
use quipu_broker::list_offsets::{FoundOffset, ListOffsetsError, OffsetQuery, OffsetSpec};
use quipu_proto::v1;
use quipu_types::{Offset, TimestampMs};

use super::context::Context;
use super::refusal::Refusal;
use super::{error_map, validate};

/// Answers a request.
pub(super) async fn handle(
    context: Context,
    request: v1::ListOffsetsRequest,
) -> Result<v1::ListOffsetsResponse, Refusal> {
    let queries = queries(&request.queries)?;
    let deadline = context.deadline(request.timeout_ms);
    let found = context.broker.list_offsets(&queries, deadline).await;
    let answers = queries.iter().zip(found).map(|(query, found)| answer(query, found));
    Ok(v1::ListOffsetsResponse { answers: answers.collect() })
}

pub(super) fn queries(queries: &[v1::OffsetQuery]) -> Result<Vec<OffsetQuery>, Refusal> {
    validate::count(queries.len(), "queries")?;
    let checked = queries.iter().enumerate().map(|(at, query)| {
        let topic = validate::topic_id(&query.topic_id, || format!("queries[{at}].topic_id"))?;
        let spec = match query.at {
            Some(v1::offset_query::At::Earliest(v1::Earliest {})) => OffsetSpec::Earliest,
            Some(v1::offset_query::At::Latest(v1::Latest {})) => OffsetSpec::Latest,
            Some(v1::offset_query::At::TimestampMs(at)) => OffsetSpec::At(TimestampMs::new(at)),
            None => {
                let reason = "set one of earliest, latest, timestamp_ms";
                return Err(Refusal::malformed(format!("queries[{at}].at"), reason));
            }
        };
        Ok(OffsetQuery { topic, partition: validate::partition(query.partition), at: spec })
    });
    checked.collect()
}

fn answer(query: &OffsetQuery, found: Result<FoundOffset, ListOffsetsError>) -> v1::OffsetAnswer {
    let (found, error) = match found {
        Ok(found) => (found, None),
        Err(error) => (FoundOffset::default(), Some(error_map::error(&error))),
    };
    v1::OffsetAnswer {
        topic_id: Bytes::copy_from_slice(&query.topic.to_bytes()),
        partition: query.partition.get(),
        offset: found.offset.map(Offset::get),
        timestamp_ms: found.timestamp.map(TimestampMs::get),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_asks_for_nothing_is_named() {
        let at = Some(v1::offset_query::At::Latest(v1::Latest {}));
        let query = |at| v1::OffsetQuery { topic_id: Bytes::from(vec![7; 16]), partition: 0, at };
        assert!(queries(&[query(at)]).is_ok());
        let refused = queries(&[query(at), query(None)]).expect_err("nothing asked");
        assert_eq!(refused.to_string(), "queries[1].at: set one of earliest, latest, timestamp_ms");
    }
}
