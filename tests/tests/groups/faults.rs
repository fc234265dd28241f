//! A crew at work while nodes die.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use quipu_testkit::until;

use crate::crew::{
    Log, Member, SESSION, WAIT, cluster, coordinator, handles_all, is_drained, owners, publish,
};

const TOPIC: &str = "court.case.filed";
const GROUP: &str = "youth-evaluation";
const PART: usize = 2_000;

/// G1–G7, G10: the coordinator is killed, all nodes are killed, members come and go; every record
/// is handled, and what is handled again lies behind the last commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_while_coordinators_nodes_and_members_come_and_go() -> Result<()> {
    let (mut cluster, client) = cluster(TOPIC, 6).await?;
    let log = Log::default();
    let member = |_| client.subscribe([TOPIC]).group(GROUP).session_timeout(SESSION);
    let first = Member::start("first", member(()), &log).await?;
    let second = Member::start("second", member(()), &log).await?;
    let mut expected = publish(&client, TOPIC, 0..PART).await?;

    let node = coordinator(&client, GROUP).await?;
    cluster.node(node).kill()?;
    expected.extend(publish(&client, TOPIC, PART..2 * PART).await?);
    handles_all(&log, &expected).await?;
    cluster.node(node).start()?;
    cluster.wait_healthy().await?;

    let third = Member::start("third", member(()), &log).await?;
    expected.extend(publish(&client, TOPIC, 2 * PART..3 * PART).await?);
    cluster.kill_all()?;
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    expected.extend(publish(&client, TOPIC, 3 * PART..4 * PART).await?);
    handles_all(&log, &expected).await?;

    first.leave().await?;
    expected.extend(publish(&client, TOPIC, 4 * PART..5 * PART).await?);
    handles_all(&log, &expected).await?;
    is_drained(&client, GROUP).await?;
    let owners = owners(&client, GROUP, 2).await?;
    ensure!(owners.len() == 6, "{owners:?}");
    ensure!(second.is_running() && third.is_running(), "a member saw an error");
    second.leave().await?;
    third.leave().await?;

    // Offsets are handled in order by each member, and each value has one place.
    let mut places: BTreeMap<(u32, u64), String> = BTreeMap::new();
    for handled in log.all() {
        let place = (handled.partition, handled.offset);
        let value = places.entry(place).or_insert_with(|| handled.value.clone());
        ensure!(*value == handled.value, "two records at {place:?}");
    }
    ensure!(places.len() == expected.len(), "{} places", places.len());
    let stored = client.admin().fetch_offsets(GROUP).await?;
    let total: u64 = stored.values().map(|stored| stored.offset).sum();
    ensure!(total == u64::try_from(expected.len())?, "{total} are committed");
    Ok(())
}

/// A rolling restart of all nodes is no error to anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_is_invisible_to_members() -> Result<()> {
    let (mut cluster, client) = cluster(TOPIC, 4).await?;
    let log = Log::default();
    let one = Member::start("one", client.subscribe([TOPIC]).group(GROUP), &log).await?;
    let two = Member::start("two", client.subscribe([TOPIC]).group(GROUP), &log).await?;
    let mut expected = publish(&client, TOPIC, 0..PART).await?;
    for node in 1..=3 {
        cluster.node(node).terminate(WAIT).await?;
        let begin = PART * usize::try_from(node)?;
        expected.extend(publish(&client, TOPIC, begin..begin + PART).await?);
        cluster.node(node).start()?;
        cluster.wait_healthy().await?;
    }
    handles_all(&log, &expected).await?;
    is_drained(&client, GROUP).await?;
    ensure!(one.is_running() && two.is_running(), "a member saw an error");
    one.leave().await?;
    two.leave().await
}

/// A node that is dead is no error of the list: the others take its groups over and show them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_groups_are_listed_while_a_node_is_dead() -> Result<()> {
    let (mut cluster, client) = cluster(TOPIC, 2).await?;
    let log = Log::default();
    let reader = Member::start("reader", client.subscribe([TOPIC]).group(GROUP), &log).await?;
    let mut expected = BTreeMap::from([(GROUP.to_owned(), 1)]);
    // Enough for every node to have some.
    for number in 0..8 {
        let group = format!("idle-{number}");
        client.admin().commit_offsets(&group, [(TOPIC, 0, number)]).await?;
        expected.insert(group, 0);
    }
    let node = coordinator(&client, GROUP).await?;
    cluster.node(node).kill()?;
    let errors = RefCell::new(Vec::new());
    until("all groups", WAIT, || async {
        let listed = client.admin().list_groups().await;
        let listed = listed.inspect_err(|error| errors.borrow_mut().push(error.to_string()))?;
        let members = listed.into_iter().map(|group| (group.group, group.members));
        let members: BTreeMap<String, u32> = members.collect();
        ensure!(members == expected, "{members:?}");
        Ok(())
    })
    .await?;
    ensure!(errors.borrow().is_empty(), "{errors:?}");
    ensure!(coordinator(&client, GROUP).await? != node, "a dead node coordinates");
    ensure!(reader.is_running(), "the reader saw an error");
    reader.leave().await
}
