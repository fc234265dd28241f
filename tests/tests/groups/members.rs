//! Members that die, pause, come back, or claim to be another.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_testkit::until;
use quipu_types::ErrorCode;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::crew::{Log, Member, SESSION, WAIT, cluster, handles_all, is_drained, owners, publish};

const TOPIC: &str = "fees";
const GROUP: &str = "sms-service";

/// A member in a process of its own: `quipu sub --group`.
async fn process(servers: &str) -> Result<Child> {
    let mut child = Command::new(quipu_testkit::quipu_binary()?)
        .args(["sub", TOPIC, "--group", GROUP, "-o", "json", "--servers", servers])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("start quipu sub")?;
    let out = child.stdout.take().context("its output")?;
    let mut lines = BufReader::new(out).lines();
    let first = tokio::time::timeout(WAIT, lines.next_line()).await?;
    ensure!(first?.is_some(), "it printed nothing");
    // Read on, so that it never waits for its reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(child)
}

/// G9: killed with -9, it is expired, and the others go on behind its last commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_is_expired_and_its_partitions_go_on() -> Result<()> {
    let (cluster, client) = cluster(TOPIC, 4).await?;
    let log = Log::default();
    let mut expected = publish(&client, TOPIC, 0..500).await?;
    let servers = cluster.url().trim_start_matches("quipu://").to_owned();
    let mut child = process(&servers).await?;
    let session = client.subscribe([TOPIC]).group(GROUP).session_timeout(SESSION);
    let survivor = Member::start("survivor", session, &log).await?;
    owners(&client, GROUP, 2).await?;
    is_drained(&client, GROUP).await?;
    child.kill().await?;
    let more = publish(&client, TOPIC, 500..1_000).await?;
    handles_all(&log, &more).await?;
    expected.extend(more);
    let owners = owners(&client, GROUP, 1).await?;
    ensure!(owners.values().all(|owner| *owner == survivor.id), "{owners:?}");
    is_drained(&client, GROUP).await?;
    survivor.leave().await
}

/// G9: a static member that restarts within its session has its partitions again, and nobody else
/// noticed: the other's share is what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_keeps_its_partitions_over_a_restart() -> Result<()> {
    let (_cluster, client) = cluster(TOPIC, 6).await?;
    let log = Log::default();
    let member = |name: &str| client.subscribe([TOPIC]).group(GROUP).instance(name);
    let a = Member::start("a", member("a"), &log).await?;
    let b = Member::start("b", member("b"), &log).await?;
    let before = owners(&client, GROUP, 2).await?;
    let (old_a, old_b) = (a.id.clone(), b.id.clone());
    a.leave().await?;
    let a = Member::start("a again", member("a"), &log).await?;
    ensure!(a.id != old_a, "it has a new member id");
    let after = owners(&client, GROUP, 2).await?;
    for (partition, owner) in &before {
        let expected = if *owner == old_a { &a.id } else { &old_b };
        ensure!(after.get(partition) == Some(expected), "{partition}: {before:?} {after:?}");
    }
    let expected = publish(&client, TOPIC, 0..200).await?;
    handles_all(&log, &expected).await?;
    a.leave().await?;
    b.leave().await
}

/// Two live processes with one instance id are a mistake, and the second hears so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_live_holder_of_an_instance_is_refused() -> Result<()> {
    let (_cluster, client) = cluster(TOPIC, 2).await?;
    let log = Log::default();
    let member = || client.subscribe([TOPIC]).group(GROUP).instance("the-one");
    let first = Member::start("first", member(), &log).await?;
    let refused = member().join().await.err().context("the second joined")?;
    ensure!(refused.code() == Some(ErrorCode::InstanceInUse), "{refused}");
    ensure!(refused.to_string().contains("the-one"), "{refused}");
    let expected = publish(&client, TOPIC, 0..100).await?;
    handles_all(&log, &expected).await?;
    first.leave().await
}

/// Members that join at the same moment go into one change of the group: those that are refused in
/// it hear so, and nobody else does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_member_does_not_hold_up_those_that_join_with_it() -> Result<()> {
    const CROWD: usize = 24;
    let is_impostor = |number: usize| number % 8 == 3;
    let (_cluster, client) = cluster(TOPIC, 4).await?;
    let member = || client.subscribe([TOPIC]).group(GROUP);
    let _holder = member().instance("the-one").join().await?;
    let joins = (0..CROWD).map(|number| {
        let instance = if is_impostor(number) { "the-one" } else { "" };
        Box::pin(member().instance(instance).join())
    });
    let joined = futures::future::join_all(joins).await;
    for (number, joined) in joined.iter().enumerate() {
        let code = joined.as_ref().err().map(quipu_client::Error::code);
        let expected = is_impostor(number).then_some(Some(ErrorCode::InstanceInUse));
        ensure!(code == expected, "member {number}: {joined:?}");
    }
    let members = client.admin().describe_group(GROUP).await?.members.len();
    let welcome = (0..CROWD).filter(|number| !is_impostor(*number)).count();
    ensure!(members == 1 + welcome, "{members} members");
    Ok(())
}

/// Partitions follow members, as evenly as they can be spread, and all members work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_spread_evenly_as_members_join() -> Result<()> {
    let (_cluster, client) = cluster(TOPIC, 8).await?;
    let log = Log::default();
    let mut crew = Vec::new();
    for count in 1..=4_usize {
        let consumer = client.subscribe([TOPIC]).group(GROUP);
        crew.push(Member::start(&format!("m{count}"), consumer, &log).await?);
        let owners = owners(&client, GROUP, count).await?;
        for member in &crew {
            let share = owners.values().filter(|owner| **owner == member.id).count();
            let even = [8 / count, 8_usize.div_ceil(count)];
            ensure!(even.contains(&share), "{count} members: {owners:?}");
        }
    }
    let expected = publish(&client, TOPIC, 0..2_000).await?;
    handles_all(&log, &expected).await?;
    let mut busy: Vec<String> = log.all().into_iter().map(|handled| handled.member).collect();
    busy.sort();
    busy.dedup();
    ensure!(busy.len() == 4, "only {busy:?} had work");
    for member in crew {
        member.leave().await?;
    }
    until("an empty group", Duration::from_secs(30), || async {
        let state = client.admin().describe_group(GROUP).await?.summary.state;
        ensure!(state == "empty", "{state}");
        Ok(())
    })
    .await
}
