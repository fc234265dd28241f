//! One id of a topic, given wherever the wire takes one.

use anyhow::{Result, ensure};
use bytes::Bytes;
use quipu_proto::v1;
use quipu_proto::v1::offset_query::At;
use tonic::transport::Channel;

use crate::batch::Batch;
use crate::call;
use crate::refusal::{Refusal, Reply};

/// The calls that take an id, by name, with what they said.
pub(crate) async fn everywhere(
    channel: &Channel,
    topic_id: Bytes,
) -> Result<Vec<(&'static str, Reply<()>)>> {
    let records = Batch::of(1).done().into();
    let batch = v1::ProduceBatch { topic_id: topic_id.clone(), partition: 0, records };
    let appended = call::append(channel, v1::Acks::Quorum.into(), batch).await?;

    let at = Some(At::Latest(v1::Latest {}));
    let query = v1::OffsetQuery { topic_id: topic_id.clone(), partition: 0, at };
    let found = call::offset(channel, query).await?;

    let id = topic_id.clone();
    let position = v1::FetchPosition { topic_id: id, partition: 0, offset: 0, max_bytes: 0 };
    let fetched = call::fetch_one(channel, position).await?;

    let request = v1::MetadataRequest { topic_ids: vec![topic_id], ..Default::default() };
    let described = call::metadata(channel, request).await?;
    Ok(vec![
        ("append", appended.map(drop)),
        ("list offsets", found.map(drop)),
        ("fetch", fetched.map(drop)),
        ("metadata", described.map(drop)),
    ])
}

/// The refusal says which field of the request it is about.
pub(crate) fn names_the_field(reply: &Reply<()>) -> Result<()> {
    let Err(Refusal::Typed(error)) = reply else { return Ok(()) };
    let said = format!("{} {:?}", error.message, error.fields);
    ensure!(said.contains("topic_id"), "the field is not named: {said}");
    Ok(())
}
