//! Family: partitions and ids that are not there.

use anyhow::{Result, anyhow};
use bytes::Bytes;
use quipu_proto::v1;
use quipu_proto::v1::offset_query::At;
use quipu_types::ErrorCode::{UnknownPartition, UnknownTopicId};

use crate::batch::Batch;
use crate::bench::{Bench, Topic};
use crate::call;
use crate::catalogue::Catalogue;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("partition");
    let topic = bench.topic("bad.partitions", 3, &[]).await?;
    for partition in [3, 4, 1000, u32::MAX] {
        let name = |verb: &str| format!("{verb} partition {partition} of 3");
        let probe = Probe::new(&topic.id, partition);
        catalogue.case(name("append to"), UnknownPartition, &probe.append(bench).await?);
        catalogue.case(name("fetch from"), UnknownPartition, &probe.fetch(bench).await?);
        catalogue.case(name("ask the end of"), UnknownPartition, &probe.end(bench).await?);
        let reply = call::checksum(bench.any(), &topic.name, partition).await?;
        catalogue.case(name("checksum"), UnknownPartition, &reply);
        let topic = topic.name.clone();
        let target = v1::DeleteRecordsTarget { topic, partition, before_offset: Some(0) };
        let reply = call::delete_records(bench.any(), target).await?;
        catalogue.case(name("delete records of"), UnknownPartition, &reply);
    }
    ids(bench, catalogue).await?;
    stale(bench, catalogue).await?;
    for partition in 0..3 {
        let end = bench.end(&topic, partition).await?;
        let judged = if end == 0 { Ok(()) } else { Err(anyhow!("partition {partition}: {end}")) };
        catalogue.note("the ends", judged);
    }
    Ok(())
}

/// The three calls that name a topic by id.
struct Probe {
    id: Bytes,
    partition: u32,
}

impl Probe {
    fn new(id: &[u8], partition: u32) -> Self {
        Self { id: Bytes::copy_from_slice(id), partition }
    }

    async fn append(&self, bench: &Bench) -> Result<crate::refusal::Reply<v1::ProduceResult>> {
        let (topic_id, partition) = (self.id.clone(), self.partition);
        let records = Batch::of(1).done().into();
        let batch = v1::ProduceBatch { topic_id, partition, records };
        let call = async || call::append(bench.any(), v1::Acks::Quorum.into(), batch.clone()).await;
        bench.patiently(call).await
    }

    async fn fetch(&self, bench: &Bench) -> Result<crate::refusal::Reply<v1::FetchedPartition>> {
        let (topic_id, partition) = (self.id.clone(), self.partition);
        let position = v1::FetchPosition { topic_id, partition, offset: 0, max_bytes: 0 };
        bench.patiently(async || call::fetch_one(bench.any(), position.clone()).await).await
    }

    async fn end(&self, bench: &Bench) -> Result<crate::refusal::Reply<v1::OffsetAnswer>> {
        let at = Some(At::Latest(v1::Latest {}));
        let query = v1::OffsetQuery { topic_id: self.id.clone(), partition: self.partition, at };
        bench.patiently(async || call::offset(bench.any(), query.clone()).await).await
    }

    async fn is_unknown(&self, bench: &Bench, catalogue: &mut Catalogue, what: &str) -> Result<()> {
        catalogue.case(format!("append to {what}"), UnknownTopicId, &self.append(bench).await?);
        catalogue.case(format!("fetch from {what}"), UnknownTopicId, &self.fetch(bench).await?);
        catalogue.case(format!("the end of {what}"), UnknownTopicId, &self.end(bench).await?);
        let request =
            v1::MetadataRequest { topic_ids: vec![self.id.clone()], ..Default::default() };
        let reply = call::metadata(bench.any(), request).await?;
        catalogue.case(format!("metadata of {what}"), UnknownTopicId, &reply);
        Ok(())
    }
}

async fn ids(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let ids: [(&str, [u8; 16]); 3] = [
        ("the nil id", [0; 16]),
        ("an id of ones", [0xFF; 16]),
        ("a random id", *b"not a topic's id"),
    ];
    for (what, id) in ids {
        Probe::new(&id, 0).is_unknown(bench, catalogue, what).await?;
    }
    Ok(())
}

/// The id of a topic that was deleted and created again under its name leads nowhere.
async fn stale(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let old: Topic = bench.topic("bad.stale", 1, &[]).await?;
    delete(bench, &old.name).await?;
    Probe::new(&old.id, 0).is_unknown(bench, catalogue, "a deleted topic").await?;
    let new = bench.topic("bad.stale", 1, &[]).await?;
    Probe::new(&old.id, 0).is_unknown(bench, catalogue, "a topic created again").await?;
    let judged = match bench.end(&new, 0).await? {
        0 if old.id != new.id => Ok(()),
        end => Err(anyhow!("ids {:?} and {:?}, end {end}", old.id, new.id)),
    };
    catalogue.judge("the new topic has another id and no records", judged);
    Ok(())
}

async fn delete(bench: &Bench, name: &str) -> Result<()> {
    let request = v1::DeleteTopicRequest { name: name.to_owned(), timeout_ms: 20_000 };
    let answered = call::bounded("delete", call::admin(bench.any()).delete_topic(request)).await?;
    call::settle(answered).map_err(|refusal| anyhow!("delete {name}: {refusal}"))?;
    Ok(())
}
