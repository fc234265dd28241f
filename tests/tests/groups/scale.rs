//! More members do more.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use quipu_client::{Client, Start};

use crate::crew::{Log, Member, cluster, handles_all, owners, spread};

const TOPIC: &str = "parcels";
const PARTITIONS: u32 = 8;
const RECORDS: usize = 320;
/// Of a handler that waits for another service.
const WORK: Duration = Duration::from_millis(10);

/// Slow handlers: what takes one member a while, four do sooner, each its share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_members_with_slow_handlers_are_done_sooner_than_one() -> Result<()> {
    let (_cluster, client) = cluster(TOPIC, PARTITIONS).await?;
    let alone = work_off(&client, 1).await?;
    let together = work_off(&client, 4).await?;
    let least = WORK * u32::try_from(RECORDS)?;
    ensure!(alone >= least, "one member took {alone:?}: its handler was not slow");
    ensure!(together < alone, "four members took {together:?}, one {alone:?}");
    Ok(())
}

/// How long a group of so many takes for the same work.
async fn work_off(client: &Client, members: usize) -> Result<Duration> {
    let group = format!("crew-of-{members}");
    let log = Log::default();
    let mut crew = Vec::new();
    for number in 0..members {
        let consumer = client.subscribe([TOPIC]).group(group.as_str()).start_at(Start::Latest);
        crew.push(Member::start_slow(&name(number), consumer, &log, WORK).await?);
    }
    owners(client, &group, members).await?;
    let begun = Instant::now();
    // Numbers of its own: another group's values are not waited for.
    let first = members * RECORDS;
    let numbers = first..first + RECORDS;
    let expected = spread(client, TOPIC, numbers, usize::try_from(PARTITIONS)?).await?;
    handles_all(&log, &expected).await?;
    let took = begun.elapsed();
    for number in 0..members {
        let share = log.of(&name(number)).len();
        ensure!(2 * share * members >= RECORDS, "{share} of {RECORDS} is too small a share");
    }
    for member in crew {
        member.leave().await?;
    }
    Ok(took)
}

fn name(number: usize) -> String {
    format!("m{number}")
}
