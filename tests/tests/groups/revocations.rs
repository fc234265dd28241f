//! Partitions that are taken from a member: in peace, by force, and that it never had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::future::join_all;
use quipu_client::{AckError, Message};
use quipu_proto::v1;
use quipu_proto::v1::groups_client::GroupsClient;
use quipu_testkit::until;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::crew::{
    Log, Member, WAIT, cluster, committed, coordinator, handles_all, is_drained, next, owners,
    publish, spread, value,
};

const TOPIC: &str = "permits";
const GROUP: &str = "desk";
const PARTITIONS: usize = 4;
/// Records of each partition in each half.
const EACH: usize = 10;

/// G6, G7, rule 17: what was handed out before the revocation is finished and committed, and the
/// next member goes on right behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_run_while_partitions_are_revoked_finish_and_commit() -> Result<()> {
    let (_cluster, client) = cluster(TOPIC, u32::try_from(PARTITIONS)?).await?;
    let mut first = client.subscribe([TOPIC]).group(GROUP).join().await?;
    spread(&client, TOPIC, 0..PARTITIONS * EACH, PARTITIONS).await?;
    let mut running = Vec::new();
    while running.len() < PARTITIONS * EACH {
        running.push(next(&mut first).await?);
    }
    let log = Log::default();
    let second = Member::start("second", client.subscribe([TOPIC]).group(GROUP), &log).await?;
    let revoked = until("two partitions to be revoked", WAIT, || async {
        let group = client.admin().describe_group(GROUP).await?;
        let found = group.members.into_iter().find(|it| it.member_id == first.member_id());
        let revoked = found.context("the first member is gone")?.revoking;
        ensure!(revoked.len() == PARTITIONS / 2, "{revoked:?}");
        Ok(revoked)
    })
    .await?;
    ensure!(committed(&client, GROUP).await?.is_empty(), "nothing was acknowledged yet");
    for acked in join_all(running.iter().map(Message::ack)).await {
        acked.context("a handler finished in time")?;
    }
    let owned = owners(&client, GROUP, 2).await?;
    ensure!(
        revoked.iter().all(|name| owned.get(name) == Some(&second.id)),
        "{revoked:?} are not {}'s: {owned:?}",
        second.id
    );
    let all: BTreeMap<u32, u64> = (0..4).map(|partition| (partition, 10)).collect();
    ensure!(committed(&client, GROUP).await? == all, "not all was committed");

    let numbers = PARTITIONS * EACH..2 * PARTITIONS * EACH;
    spread(&client, TOPIC, numbers.clone(), PARTITIONS).await?;
    let is_given = |number: &usize| revoked.contains(&format!("{TOPIC}/{}", number % PARTITIONS));
    let given: BTreeSet<String> = numbers.filter(is_given).map(|it| value(TOPIC, it)).collect();
    handles_all(&log, &given).await?;
    for _ in 0..PARTITIONS * EACH / 2 {
        let message = next(&mut first).await?;
        let name = format!("{TOPIC}/{}", message.partition);
        ensure!(!revoked.contains(&name) && message.offset >= 10, "{name}@{}", message.offset);
        message.ack_later();
    }
    is_drained(&client, GROUP).await?;
    ensure!(log.values() == given, "the second member handled what was not its to handle");
    ensure!(log.all().len() == given.len(), "something was handled twice");
    first.shutdown(WAIT).await?;
    second.leave().await
}

/// G3, rule 20: what a fenced member holds is lost for it, its stale commits change nothing, and
/// it takes its partitions again where the group stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_member_loses_what_it_holds_and_takes_it_again() -> Result<()> {
    let (_cluster, client) = cluster(TOPIC, 1).await?;
    let mut consumer = client.subscribe([TOPIC]).group(GROUP).join().await?;
    publish(&client, TOPIC, 0..20).await?;
    let mut held = Vec::new();
    while held.len() < 10 {
        held.push(next(&mut consumer).await?);
    }
    client.admin().reset_offsets(GROUP, [(TOPIC, 0, 4)], true).await?;
    for acked in join_all(held.iter().map(Message::ack)).await {
        ensure!(matches!(acked, Err(AckError::AssignmentLost)), "{acked:?}");
    }
    ensure!(committed(&client, GROUP).await? == BTreeMap::from([(0, 4)]), "a stale commit counts");
    for offset in 4..20 {
        let message = next(&mut consumer).await?;
        ensure!(message.offset == offset, "{} instead of {offset}", message.offset);
        message.ack().await.with_context(|| format!("offset {offset}"))?;
    }
    ensure!(committed(&client, GROUP).await? == BTreeMap::from([(0, 20)]), "not all is committed");
    consumer.shutdown(WAIT).await?;
    Ok(())
}

/// A member may be assigned partitions that are revoked before it took them. It holds nothing, says
/// so by silence, and they are free with its next heartbeat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_a_member_never_took_are_given_on() -> Result<()> {
    let (mut cluster, client) = cluster(TOPIC, u32::try_from(PARTITIONS)?).await?;
    // A group that exists has a coordinator to be found.
    client.admin().commit_offsets(GROUP, [(TOPIC, 0, 0)]).await?;
    let node = coordinator(&client, GROUP).await?;
    let idle = idle_member(cluster.node(node).client_address()).await?;
    let before = owners(&client, GROUP, 1).await?;
    ensure!(before.len() == PARTITIONS, "{before:?}");
    let log = Log::default();
    let worker = Member::start("worker", client.subscribe([TOPIC]).group(GROUP), &log).await?;
    let owned = owners(&client, GROUP, 2).await?;
    let share = owned.values().filter(|owner| **owner == worker.id).count();
    ensure!(share == PARTITIONS / 2, "{owned:?}");
    ensure!(!idle.is_finished(), "the idle member was thrown out");
    idle.abort();
    worker.leave().await
}

/// A member that sends heartbeats with the epochs it hears, and takes nothing.
async fn idle_member(node: SocketAddr) -> Result<JoinHandle<()>> {
    const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
    let mut groups = GroupsClient::connect(format!("http://{node}")).await?;
    let (requests, mut waiting) = mpsc::channel(4);
    let subscription = v1::Subscription { topics: vec![TOPIC.to_owned()], ..Default::default() };
    let first = v1::JoinRequest {
        group: GROUP.to_owned(),
        member_id: "idle".to_owned(),
        subscription: Some(subscription),
        ..v1::JoinRequest::default()
    };
    requests.send(first).await?;
    let stream = futures::stream::poll_fn(move |context| waiting.poll_recv(context));
    let mut answers = groups.join(stream).await?.into_inner();
    let joined = answers.next().await.context("no answer to the join")??;
    ensure!(joined.error.is_none(), "{:?}", joined.error);
    let mut epoch = joined.epoch;
    Ok(tokio::spawn(async move {
        let mut pace = tokio::time::interval(HEARTBEAT_INTERVAL);
        loop {
            tokio::select! {
                answer = answers.next() => match answer {
                    Some(Ok(answer)) if answer.error.is_none() => epoch = answer.epoch,
                    Some(_) | None => return,
                },
                _ = pace.tick() => {
                    let beat = v1::JoinRequest { epoch, ..v1::JoinRequest::default() };
                    if requests.send(beat).await.is_err() {
                        return;
                    }
                }
            }
        }
    }))
}
