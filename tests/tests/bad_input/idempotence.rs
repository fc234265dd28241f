//! Family: sequences of idempotent producers (KIP-98).

use anyhow::{Context, Result, ensure};
use quipu_proto::v1;
use quipu_types::ErrorCode::{
    DuplicateSequence, OutOfOrderSequence, ProducerFenced, UnknownProducer,
};

use crate::batch::{Batch, at};
use crate::bench::Bench;
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::refusal::Reply;
use crate::victim::Victim;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("idempotence");
    window(bench, catalogue).await?;
    epochs(bench, catalogue).await?;
    strangers(bench, catalogue).await?;
    wrap(bench, catalogue).await
}

/// Sequences go on by one; the last five batches are known by their offsets.
async fn window(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let mut victim = Victim::create(bench, "bad.sequences", &[]).await?;
    let producer = bench.producer().await?;
    let three = |sequence: i32| Batch::of(3).producer(producer, sequence).done();
    let one = |sequence: i32| Batch::of(1).producer(producer, sequence).done();
    victim.case(catalogue, "the first batch", Want::Accepted, three(0)).await?;
    for (name, sequence) in [("a gap of one", 4), ("a gap", 100), ("a wide gap", 1 << 29)] {
        let reply = victim.send(one(sequence)).await?;
        let fields = [("expected", 3), ("found", u64::try_from(sequence)?)];
        catalogue.case_with(name, OutOfOrderSequence, &fields, &reply);
    }
    let partly = three(1);
    victim.case(catalogue, "partly known, partly new", OutOfOrderSequence, partly).await?;
    for sequence in 3..9 {
        let name = format!("sequence {sequence}");
        victim.case(catalogue, name, Want::Accepted, one(sequence)).await?;
    }
    for sequence in (4..9).rev() {
        let reply = victim.send(one(sequence)).await?;
        let name = format!("sequence {sequence} again");
        catalogue.judge(name, is_original(&reply, u64::try_from(sequence)?));
    }
    victim.case(catalogue, "one before the window", DuplicateSequence, one(3)).await?;
    victim.case(catalogue, "the first batch again", DuplicateSequence, three(0)).await?;
    victim.case(catalogue, "the next after all that", Want::Accepted, one(9)).await?;
    catalogue.note("the end", victim.is_still().await);
    Ok(())
}

/// A repetition is answered with where the batch stands since the first time.
fn is_original(reply: &Reply<v1::ProduceResult>, offset: u64) -> Result<()> {
    let result = reply.as_ref().map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let found = (result.base_offset, result.is_duplicate);
    ensure!(found == (Some(offset), true), "offset and duplicate are {found:?}, not {offset}");
    Ok(())
}

/// A newer epoch fences the older ones.
async fn epochs(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let mut victim = Victim::create(bench, "bad.epochs", &[]).await?;
    let (id, epoch) = bench.producer().await?;
    let one = |epoch: i16, sequence: i32| Batch::of(1).producer((id, epoch), sequence).done();
    victim.case(catalogue, "epoch 0", Want::Accepted, one(epoch, 0)).await?;
    let late = one(epoch + 2, 1);
    victim.case(catalogue, "a new epoch from sequence 1", OutOfOrderSequence, late).await?;
    victim.case(catalogue, "a new epoch", Want::Accepted, one(epoch + 2, 0)).await?;
    for (name, old, sequence) in [
        ("the old epoch goes on", epoch, 1),
        ("the old epoch repeats", epoch, 0),
        ("an epoch between", epoch + 1, 0),
    ] {
        let reply = victim.send(one(old, sequence)).await?;
        let current = u64::try_from(epoch + 2)?;
        catalogue.case_with(name, ProducerFenced, &[("current", current)], &reply);
    }
    victim.case(catalogue, "the new epoch goes on", Want::Accepted, one(epoch + 2, 1)).await?;
    victim.case(catalogue, "the last epoch", Want::Accepted, one(i16::MAX, 0)).await?;
    victim.case(catalogue, "after the last epoch", ProducerFenced, one(0, 0)).await?;
    catalogue.note("the end", victim.is_still().await);
    Ok(())
}

/// Ids this partition never saw.
async fn strangers(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let mut victim = Victim::create(bench, "bad.strangers", &[]).await?;
    let here = bench.producer().await?;
    let elsewhere = bench.producer().await?;
    let other = Victim::create(bench, "bad.strangers.other", &[]).await?;
    let first = other.send(Batch::of(3).producer(elsewhere, 0).done()).await?;
    first.map_err(|refusal| anyhow::anyhow!("the other partition: {refusal}"))?;
    for (name, producer, sequence) in [
        ("sequence 1 of a fresh id", here, 1),
        ("the last sequence of a fresh id", here, i32::MAX),
        ("an id that another partition knows", elsewhere, 3),
        ("an id nobody was given", (i64::MAX, 0), 1),
        ("a fresh id in a later epoch", (here.0, 5), 7),
    ] {
        let bytes = Batch::of(1).producer(producer, sequence).done();
        victim.case(catalogue, name, UnknownProducer, bytes).await?;
    }
    let bytes = Batch::of(1).producer(here, 0).done();
    victim.case(catalogue, "the fresh id from 0", Want::Accepted, bytes).await?;
    catalogue.note("the end", victim.is_still().await);
    Ok(())
}

/// After 2,147,483,647 comes 0. Counts of compressed batches bring a producer there in no time:
/// the broker does not look inside.
async fn wrap(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    const MILLION: i32 = 1_000_000;
    const MILLIONS: i32 = i32::MAX / MILLION;
    let mut victim = Victim::create(bench, "bad.wrap", &[]).await?;
    let producer = bench.producer().await?;
    let gzip = |sequence: i32, count: i32| {
        let batch = Batch::with_section(count, b"gzip").number(at::ATTRIBUTES, 1_i16);
        batch.producer(producer, sequence).done()
    };
    let batches: Vec<_> = (0..MILLIONS)
        .map(|million| v1::ProduceBatch {
            topic_id: victim.topic.id.clone(),
            partition: 0,
            records: gzip(million * MILLION, MILLION).into(),
        })
        .collect();
    let count = batches.len();
    let request = v1::ProduceRequest { request_id: 1, batches, ..Default::default() };
    let send = async |node| call::produce(&node, request.clone()).await;
    let reply = bench.at_leader(&victim.topic, 0, send).await?;
    let results = reply.map_err(|refusal| anyhow::anyhow!("to the wrap: {refusal}"))?.results;
    let bad = results.iter().find_map(|result| result.error.as_ref());
    ensure!(bad.is_none() && results.len() == count, "to the wrap: {bad:?} of {count}");
    let last = results.last().and_then(|result| result.base_offset).context("an offset")?;
    victim.end = last + u64::from(MILLION.unsigned_abs());

    let next = MILLIONS * MILLION;
    let rest = i32::MAX - next;
    // Ends at 2,147,483,646; the next one takes 2,147,483,647, 0 and 1.
    victim.case(catalogue, "up to the last but one", Want::Accepted, gzip(next, rest)).await?;
    victim.case(catalogue, "0 before its time", OutOfOrderSequence, gzip(0, 1)).await?;
    victim.case(catalogue, "over the end", Want::Accepted, gzip(i32::MAX, 3)).await?;
    victim.case(catalogue, "over the end again", Want::Accepted, gzip(i32::MAX, 3)).await?;
    victim.case(catalogue, "0, which is taken", DuplicateSequence, gzip(0, 1)).await?;
    victim.case(catalogue, "3, before its time", OutOfOrderSequence, gzip(3, 1)).await?;
    victim.case(catalogue, "2, which is next", Want::Accepted, gzip(2, 1)).await?;
    catalogue.note("the end", victim.is_still().await);
    Ok(())
}
