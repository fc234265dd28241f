//! Partitions that are added while a group reads.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use quipu_client::Start;
use quipu_testkit::until;

use crate::crew::{
    Handled, Log, Member, WAIT, cluster, handles_all, is_drained, key, owners, publish,
};
use crate::load::Load;

const TOPIC: &str = "queues";
const GROUP: &str = "clerks";
const BEFORE: u32 = 2;
const AFTER: u32 = 6;
/// Records from before the subscription.
const OLD: usize = 100;

/// Rule 18: a group that began at the latest reads partitions that are added later from their
/// beginning; each partition is read in order and once, and so is each key in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_picks_up_partitions_that_are_added_under_load() -> Result<()> {
    let (cluster, client) = cluster(TOPIC, BEFORE).await?;
    publish(&client, TOPIC, 0..OLD).await?;
    // Members learn nothing from who administers: their client is another one.
    let readers = cluster.client().await?;
    let log = Log::default();
    let member = || readers.subscribe([TOPIC]).group(GROUP).start_at(Start::Latest);
    let one = Member::start("one", member(), &log).await?;
    let two = Member::start("two", member(), &log).await?;
    owners(&client, GROUP, 2).await?;
    let load = Load::start(&client, TOPIC, OLD)?;
    reads(&log, BEFORE).await?;
    let grown = client.admin().add_partitions(TOPIC, AFTER).await?;
    ensure!((grown.before, grown.is_changed) == (BEFORE, true), "{grown:?}");
    reads(&log, AFTER).await?;
    let expected = load.end().await?;
    handles_all(&log, &expected).await?;
    is_drained(&client, GROUP).await?;
    let owned = owners(&client, GROUP, 2).await?;
    ensure!(owned.len() == usize::try_from(AFTER)?, "{owned:?}");
    one.leave().await?;
    two.leave().await?;
    ensure!(log.values() == expected, "records from before the subscription were read");
    let all = log.all();
    is_in_order(&all)?;
    for partition in BEFORE..AFTER {
        let first = all.iter().find(|handled| handled.partition == partition);
        let first = first.with_context(|| format!("partition {partition} was not read"))?;
        ensure!(first.offset == 0, "partition {partition} was read from {} on", first.offset);
    }
    Ok(())
}

/// Waits until records of so many partitions were handled.
async fn reads(log: &Log, partitions: u32) -> Result<()> {
    until("records of all partitions", WAIT, || async {
        let read: BTreeSet<u32> = log.all().into_iter().map(|handled| handled.partition).collect();
        ensure!(read.len() == usize::try_from(partitions)?, "only of {read:?}");
        Ok(())
    })
    .await
}

/// Offsets of a partition follow each other, whoever handled them, and numbers of a key grow.
fn is_in_order(handled: &[Handled]) -> Result<()> {
    let mut offsets: BTreeMap<u32, u64> = BTreeMap::new();
    let mut numbers: BTreeMap<(u32, String), usize> = BTreeMap::new();
    for Handled { partition, offset, value, .. } in handled {
        if let Some(before) = offsets.insert(*partition, *offset) {
            ensure!(before + 1 == *offset, "in {partition} {offset} follows {before}");
        }
        let number: usize = value.rsplit('-').next().context("a number")?.parse()?;
        if let Some(before) = numbers.insert((*partition, key(number)), number) {
            ensure!(before < number, "in {partition} number {number} follows {before}");
        }
    }
    Ok(())
}
