//! Family: levels of acknowledgement.

use anyhow::{Result, ensure};
use quipu_proto::v1;
use quipu_testkit::until;
use quipu_types::ErrorCode::InvalidAcks;

use crate::batch::Batch;
use crate::bench::Bench;
use crate::call;
use crate::catalogue::{Catalogue, Want};
use crate::victim::Victim;

const WAIT: std::time::Duration = std::time::Duration::from_secs(20);

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("acks");
    let mut victim = Victim::create(bench, "bad.acks", &[]).await?;
    for acks in [-2, -1, 4, 5, 127, 255, i32::MIN, i32::MAX] {
        let reply = at_level(&victim, acks).await?;
        catalogue.case(format!("acks {acks}"), InvalidAcks, &reply);
    }
    catalogue.note("the end", victim.is_still().await);
    for level in [v1::Acks::Unspecified, v1::Acks::Quorum] {
        victim.acks = level;
        victim.case(catalogue, level.as_str_name(), Want::Accepted, Batch::of(1).done()).await?;
    }
    for level in [v1::Acks::Leader, v1::Acks::None] {
        victim.acks = level;
        let reply = victim.send(Batch::of(1).done()).await?;
        catalogue.case(level.as_str_name(), Want::Accepted, &reply);
        let offset = reply.ok().and_then(|result| result.base_offset);
        catalogue.note("an offset before it is decided", judge(level, offset, victim.end));
        victim.end += 1;
        arrives(&victim).await?;
    }
    weak(bench, catalogue).await
}

/// An offset that is named is decided: a majority may have the record before the leader has
/// flushed it, and then a producer that waits for the leader alone hears it too.
fn judge(level: v1::Acks, offset: Option<u64>, end: u64) -> Result<()> {
    match offset {
        None => Ok(()),
        Some(offset) => {
            ensure!(level == v1::Acks::Leader, "offset {offset} without an acknowledgement");
            ensure!(offset == end, "offset {offset}, not {end}");
            Ok(())
        }
    }
}

async fn at_level(
    victim: &Victim<'_>,
    acks: i32,
) -> Result<crate::refusal::Reply<v1::ProduceResult>> {
    let topic_id = victim.topic.id.clone();
    let batch = v1::ProduceBatch { topic_id, partition: 0, records: Batch::of(1).done().into() };
    let send = async |node| call::append(&node, acks, batch.clone()).await;
    victim.bench.at_leader(&victim.topic, 0, send).await
}

/// What was acknowledged before it was decided is decided soon, on a healthy cluster.
async fn arrives(victim: &Victim<'_>) -> Result<()> {
    until("the record to arrive", WAIT, || async {
        let end = victim.bench.end(&victim.topic, 0).await?;
        ensure!(end == victim.end, "end {end}, not {}", victim.end);
        Ok(())
    })
    .await
}

/// A topic may ask for more than a producer wants to wait for.
async fn weak(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let levels = [v1::Acks::None, v1::Acks::Leader, v1::Acks::Quorum, v1::Acks::Unspecified];
    for (minimum, weakest) in [("quorum", 2), ("leader", 1), ("none", 0)] {
        let name = format!("bad.acks.{minimum}");
        let mut victim = Victim::create(bench, &name, &[("min-acks", minimum)]).await?;
        for (strength, level) in levels.into_iter().enumerate() {
            let name = format!("{} where {minimum} is the least", level.as_str_name());
            victim.acks = level;
            let reply = victim.send(Batch::of(1).done()).await?;
            if strength < weakest {
                catalogue.case(name, InvalidAcks, &reply);
            } else {
                catalogue.case(name, Want::Accepted, &reply);
                victim.end += 1;
            }
        }
        arrives(&victim).await?;
    }
    Ok(())
}
