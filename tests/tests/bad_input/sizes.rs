//! Family: sizes at a limit, one below and one above.

use anyhow::Result;
use quipu_proto::v1;
use quipu_types::ErrorCode::{RecordTooLarge, RequestTooLarge};
use quipu_types::limits;
use tonic::Code;

use crate::batch::Batch;
use crate::bench::Bench;
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::victim::Victim;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("size");
    let small = [("max-batch-bytes", "4096")];
    let large = limits::BATCH_BYTES_MAX.to_string();
    let large = [("max-batch-bytes", large.as_str())];
    around(bench, catalogue, "bad.size.small", &small, 4096).await?;
    around(bench, catalogue, "bad.size", &[], limits::BATCH_BYTES_MAX_DEFAULT).await?;
    around(bench, catalogue, "bad.size.large", &large, limits::BATCH_BYTES_MAX).await?;
    requests(bench, catalogue).await
}

/// A topic's limit: the batch as a whole counts.
async fn around(
    bench: &Bench,
    catalogue: &mut Catalogue,
    name: &str,
    config: &[(&str, &str)],
    limit: usize,
) -> Result<()> {
    let mut victim = Victim::create(bench, name, config).await?;
    let exact = |size: usize| anyhow::Ok(Batch::of_size(size)?.done());
    for (what, size) in [("one below", limit - 1), ("at", limit)] {
        let name = format!("{what} the limit of {limit}");
        victim.case(catalogue, name, Want::Accepted, exact(size)?).await?;
    }
    for above in [1, limit / 2] {
        let size = limit + above;
        let reply = victim.send(exact(size)?).await?;
        let fields = [("limit", u64::try_from(limit)?), ("actual", u64::try_from(size)?)];
        let name = format!("{above} above the limit of {limit}");
        catalogue.case_with(name, RecordTooLarge, &fields, &reply);
    }
    catalogue.note(name, victim.is_still().await);
    Ok(())
}

/// A request's limits: bytes of all batches, number of batches, bytes of the gRPC message.
async fn requests(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let victim = Victim::create(bench, "bad.size.request", &[]).await?;
    let batch = |records: Vec<u8>| v1::ProduceBatch {
        topic_id: victim.topic.id.clone(),
        partition: 0,
        records: records.into(),
    };
    let request = |batches| v1::ProduceRequest { batches, ..v1::ProduceRequest::default() };
    let send = async |request: v1::ProduceRequest| {
        let leader = bench.leader(&victim.topic, 0).await?;
        call::produce(bench.channel(leader), request).await
    };
    let half_mib = batch(Batch::of_size(1 << 19)?.done());
    // 33 of them are above 16 MiB together, yet below what gRPC lets through.
    let above_request = send(request(vec![half_mib.clone(); 33])).await?;
    catalogue.case("33 batches of half a MiB in one request", RequestTooLarge, &above_request);
    let above_message = send(request(vec![half_mib; 35])).await?;
    catalogue.case("a gRPC message above its limit", Want::Grpc(Code::OutOfRange), &above_message);
    let tiny = batch(Batch::of(1).done());
    let count = limits::REQUEST_PARTITIONS_MAX + 1;
    let many = send(request(vec![tiny; count])).await?;
    catalogue.case(format!("{count} batches in one request"), RequestTooLarge, &many);
    catalogue.note("the end", victim.is_still().await);
    Ok(())
}
