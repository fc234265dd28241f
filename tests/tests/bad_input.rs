//! RELIABILITY §6.1: whatever a client sends, it gets the one right error, nothing is half done,
//! and the nodes go on as if nothing had been.
//!
//! One cluster takes all cases, family by family. Each case is a row: what is sent, and the exact
//! code that must come back with effect none. All differences of a run are shown together.

#[path = "bad_input/acks.rs"]
mod acks;
#[path = "bad_input/batch.rs"]
mod batch;
#[path = "bad_input/batches.rs"]
mod batches;
#[path = "bad_input/bench.rs"]
mod bench;
#[path = "bad_input/bodies.rs"]
mod bodies;
#[path = "bad_input/call.rs"]
mod call;
#[path = "bad_input/catalogue.rs"]
mod catalogue;
#[path = "bad_input/config.rs"]
mod config;
#[path = "bad_input/connections.rs"]
mod connections;
#[path = "bad_input/fetch.rs"]
mod fetch;
#[path = "bad_input/flood.rs"]
mod flood;
#[path = "bad_input/h2.rs"]
mod h2;
#[path = "bad_input/idempotence.rs"]
mod idempotence;
#[path = "bad_input/ids.rs"]
mod ids;
#[path = "bad_input/names.rs"]
mod names;
#[path = "bad_input/offsets.rs"]
mod offsets;
#[path = "bad_input/partitions.rs"]
mod partitions;
#[path = "bad_input/protobuf.rs"]
mod protobuf;
#[path = "bad_input/raw.rs"]
mod raw;
#[path = "bad_input/records.rs"]
mod records;
#[path = "bad_input/refusal.rs"]
mod refusal;
#[path = "bad_input/routing.rs"]
mod routing;
#[path = "bad_input/sizes.rs"]
mod sizes;
#[path = "bad_input/topics.rs"]
mod topics;
#[path = "bad_input/victim.rs"]
mod victim;
#[path = "bad_input/wire.rs"]
mod wire;

use anyhow::{Result, ensure};
use quipu_client::{NewRecord, NewTopic};
use quipu_testkit::read_all;

use crate::bench::Bench;
use crate::catalogue::Catalogue;

/// Fewer would mean that a family was lost.
const CASES_MIN: usize = 400;

/// Runs families one after another; one that cannot go on does not keep the others from it.
macro_rules! families {
    ($bench:ident, $catalogue:ident: $($family:ident)+) => {
        $(
            let outcome = $family::run(&$bench, &mut $catalogue).await;
            $catalogue.note("the family ended early", outcome);
            $catalogue.note("the nodes", $bench.is_unharmed().await);
        )+
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_input_is_refused_with_its_code_and_harms_nobody() -> Result<()> {
    let mut bench = Bench::start().await?;
    let mut catalogue = Catalogue::default();
    families! {
        bench, catalogue:
        batches records sizes names topics partitions routing acks idempotence fetch offsets
        protobuf bodies connections flood
    }
    bench.cluster.wait_healthy().await?;
    catalogue.family("afterwards");
    catalogue.note("the nodes", bench.is_unharmed().await);
    catalogue.note("publish and read", publish_and_read(&bench).await);
    catalogue.verdict()?;
    let count = catalogue.count();
    ensure!(count >= CASES_MIN, "{count} cases, {CASES_MIN} were there: {}", catalogue.summary());
    Ok(())
}

/// What an honest client sees after all of it.
async fn publish_and_read(bench: &Bench) -> Result<()> {
    const TOPIC: &str = "good.afterwards";
    let client = bench.cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(3)).await?;
    let producer = client.producer().build()?;
    for number in 0..30_u32 {
        producer.publish(NewRecord::new(TOPIC, number.to_string()).partition(number % 3)).await?;
    }
    let records = read_all(&client, TOPIC).await?;
    ensure!(records.len() == 30, "{} records", records.len());
    for record in &records {
        ensure!(record.offset < 10, "{record:?}");
    }
    // What was written before the bad batches, between them and after them is there to be read.
    let survivors = read_all(&client, "bad.batches").await?;
    ensure!(survivors.len() == 12, "{} records of accepted batches", survivors.len());
    Ok(())
}
