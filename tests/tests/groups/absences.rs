//! Members that are away for longer than their session, and do not know it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, ensure};
use quipu_client::{Client, NewTopic};
use quipu_testkit::{Cluster, ClusterOptions, Network, signal};

use crate::crew::{
    Handled, Log, Member, SESSION, committed, handles_all, is_drained, owners, publish,
};
use crate::process::{Process, Role};
use crate::watch::Watch;
use crate::windows::Windows;

const PARTITIONS: u32 = 4;
const PART: usize = 200;
/// A service's own setting rather than the shortest there is.
const LONG_SESSION: Duration = Duration::from_secs(60);

/// What keeps a process from its group.
#[derive(Clone, Copy)]
enum Fault<'a> {
    Pause,
    Cut(&'a Network),
}

impl Fault<'_> {
    fn begin(self, process: u32) -> Result<()> {
        match self {
            Self::Pause => signal::pause(process),
            Self::Cut(network) => {
                network.cut(process);
                Ok(())
            }
        }
    }

    fn end(self, process: u32) -> Result<()> {
        match self {
            Self::Pause => signal::resume(process),
            Self::Cut(network) => {
                network.heal();
                Ok(())
            }
        }
    }
}

/// G1, G3, G6, G7, G9: a process that sleeps for longer than its session, a short and a long one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_member_is_replaced_and_what_it_acks_after_waking_is_refused() -> Result<()> {
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    let servers = cluster.url();
    let role =
        |topic, session| Role { servers: &servers, topic, group: topic, session, instance: "" };
    tokio::try_join!(
        Box::pin(is_away(&client, role("naps", SESSION), Fault::Pause)),
        Box::pin(is_away(&client, role("sleeps", LONG_SESSION), Fault::Pause)),
    )?;
    Ok(())
}

/// The same for a process that runs, but reaches no node; what it sent meanwhile arrives late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_cut_off_is_replaced_and_comes_back() -> Result<()> {
    let mut cluster = Cluster::prepare(ClusterOptions::default())?;
    let network = Network::before(&mut cluster).await?;
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    let client = cluster.client().await?;
    let servers = network.url();
    let topic = "islands";
    let role = Role { servers: &servers, topic, group: topic, session: SESSION, instance: "" };
    Box::pin(is_away(&client, role, Fault::Cut(&network))).await
}

/// Two members; one keeps what it handles, is away for longer than its session, acknowledges too
/// late, and joins again.
async fn is_away(client: &Client, role: Role<'_>, fault: Fault<'_>) -> Result<()> {
    let topic = role.topic;
    client.admin().create_topic(NewTopic::new(topic).partitions(PARTITIONS)).await?;
    let log = Log::default();
    let mut away = Process::start("away", role, &log).await?;
    let stays = Member::start("stays", client.subscribe([topic]).group(topic), &log).await?;
    owners(client, topic, 2).await?;
    let watch = Watch::start(client, topic);
    let mut expected = publish(client, topic, 0..PART).await?;
    handles_all(&log, &expected).await?;
    is_drained(client, topic).await?;
    away.keep().await?;
    expected.extend(publish(client, topic, PART..2 * PART).await?);
    handles_all(&log, &expected).await?;

    let process = away.pid()?;
    fault.begin(process)?;
    let committed = committed(client, topic).await?;
    let handled = log.of("away");
    let mut windows = Windows::default();
    windows.note(&committed, &handled);
    away.ack().await?;
    expected.extend(publish(client, topic, 2 * PART..3 * PART).await?);
    handles_all(&log, &expected).await?;
    is_drained(client, topic).await?;
    let owners_then = owners(client, topic, 1).await?;
    ensure!(owners_then.len() == usize::try_from(PARTITIONS)?, "{owners_then:?}");
    ensure!(owners_then.values().all(|owner| *owner == stays.id), "{owners_then:?}");
    took_over(&handled, &committed, &log.of("stays"))?;

    fault.end(process)?;
    let acked = away.acked().await?;
    ensure!(!acked.is_empty(), "it kept nothing");
    ensure!(acked.iter().all(|ack| ack == "lost" || ack == "expired"), "{acked:?}");
    let owners_now = owners(client, topic, 2).await?;
    ensure!(owners_now.values().any(|owner| *owner == away.id), "{owners_now:?}");
    expected.extend(publish(client, topic, 3 * PART..4 * PART).await?);
    handles_all(&log, &expected).await?;
    is_drained(client, topic).await?;
    watch.end().await?;
    windows.verify(&log.all())?;
    ensure!(stays.is_running(), "the one that stayed saw an error");
    away.leave().await?;
    stays.leave().await
}

/// What one member handled and did not commit, the other handled again.
fn took_over(handled: &[Handled], committed: &BTreeMap<u32, u64>, again: &[Handled]) -> Result<()> {
    let place = |handled: &Handled| (handled.partition, handled.offset);
    let is_open = |(partition, offset): &(u32, u64)| {
        *offset >= committed.get(partition).copied().unwrap_or(0)
    };
    let open: BTreeSet<(u32, u64)> = handled.iter().map(place).filter(is_open).collect();
    ensure!(!open.is_empty(), "everything was committed: nothing was at stake");
    let again: BTreeSet<(u32, u64)> = again.iter().map(place).collect();
    let missed = open.difference(&again).next();
    ensure!(missed.is_none(), "{missed:?} was not handled again");
    Ok(())
}
