//! How a node is brought to pass its point.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use quipu_client::{Client, NewRecord, NewTopic, NodeId, ShardId};
use quipu_testkit::{NodeProcess, failpoints, until};

use crate::cases::{Case, Drive, Role, Subject};
use crate::field::Field;
use crate::load::{Load, Size};
use crate::trimmed;

/// How long a node may take to answer.
const ARM_WAIT: Duration = Duration::from_secs(10);
/// How often a node is brought to its point where it is chance whether the point lies on its way:
/// what a start finds, who leads when a node comes back.
const TRIES: usize = 5;
/// How long one of these tries may take.
const TRY_WAIT: Duration = Duration::from_secs(10);
/// Topics that come and go while a node is away: it needs a snapshot of the metadata then.
const TOPICS_MISSED: usize = 24;
/// Between two changes.
const PACE: Duration = Duration::from_millis(20);

/// Has a node of a role die at the point of a case; says which one it was.
pub(crate) async fn crash(
    field: &mut Field,
    case: &Case,
    role: Role,
    (topic, load): (&str, &Load),
) -> Result<u64> {
    if case.drive == Drive::Trim {
        return trimmed::crash(field, case, role).await;
    }
    let target = field.pick(case.subject, role, topic).await?;
    let words = format!("{}=crash", case.point);
    match case.drive {
        Drive::Load(_) | Drive::Trim => arm(field, target, &words).await?,
        Drive::Topics => return while_driven(field, target, &words, topics(field)).await,
        Drive::Lead => return while_driven(field, target, &words, lead(field, topic)).await,
        Drive::Start(_) | Drive::Lag => return tried(field, case, role, (topic, load)).await,
        Drive::StartTorn => {
            arm(field, target, "journal.flush.before=crash").await?;
            field.dies(target).await?;
            start_armed(field, target, &words)?;
        }
        Drive::StartAhead => return ahead(field, topic, load, &words).await,
        Drive::LagBehindTopics => {
            field.cluster.node(target).kill()?;
            let mut missed = 0;
            for number in 0..10 * TOPICS_MISSED {
                // The first may have been asked of the node that is away.
                let name = format!("missed-{number}");
                missed += usize::from(come_and_go(&field.client, &name, Size::Line).await.is_ok());
                if missed == TOPICS_MISSED {
                    break;
                }
            }
            start_armed(field, target, &words)?;
        }
    }
    field.dies(target).await?;
    Ok(target)
}

/// Has a node die on a way that leads to the point by chance.
async fn tried(
    field: &mut Field,
    case: &Case,
    role: Role,
    (topic, load): (&str, &Load),
) -> Result<u64> {
    let words = format!("{}=crash", case.point);
    for _ in 0..TRIES {
        let target = field.pick(case.subject, role, topic).await?;
        if case.drive == Drive::Lag {
            lag(field, (target, role), (topic, load), &words).await?;
        } else {
            load.goes_on(1).await?;
            field.cluster.node(target).kill()?;
            start_armed(field, target, &words)?;
        }
        if field.dies_within(target, TRY_WAIT).await? {
            return Ok(target);
        }
        arm(field, target, &format!("{}=off", case.point)).await?;
    }
    bail!("none of {TRIES} tries came past the point")
}

fn start_armed(field: &mut Field, id: u64, words: &str) -> Result<()> {
    let node = field.cluster.node(id);
    node.arm(words);
    node.start()
}

/// Arms a node that runs.
async fn arm(field: &Field, id: u64, words: &str) -> Result<()> {
    let mut nodes = field.cluster.nodes().iter();
    let node = nodes.find(|node| node.id() == id).context("a node of the cluster")?;
    let address = node.metrics_address();
    until("a node to be armed", ARM_WAIT, || failpoints::arm(address, words)).await
}

/// Arms a node and goes on with something until it is dead.
pub(crate) async fn while_driven(
    field: &mut Field,
    id: u64,
    words: &str,
    driven: impl Future<Output = ()> + 'static,
) -> Result<u64> {
    arm(field, id, words).await?;
    tokio::select! {
        died = field.dies(id) => died?,
        () = driven => {}
    }
    Ok(id)
}

/// Makes topics, fills them and deletes them, again and again.
fn topics(field: &Field) -> impl Future<Output = ()> + 'static {
    let client = field.client.clone();
    forever(async move |number| {
        let _again = come_and_go(&client, &format!("fleeting-{number}"), Size::Bulk).await;
    })
}

/// Hands the records' shard from node to node.
fn lead(field: &Field, topic: &str) -> impl Future<Output = ()> + 'static {
    let (client, topic) = (field.client.clone(), topic.to_owned());
    let ids: Vec<u64> = field.cluster.nodes().iter().map(NodeProcess::id).collect();
    forever(async move |number| {
        let admin = client.admin();
        let Ok(described) = admin.describe_topic(&topic).await else { return };
        for partition in described.partitions {
            let to = NodeId::new(ids[number % ids.len()]);
            let _again = admin.transfer_leader(ShardId::new(partition.shard), to).await;
        }
    })
}

pub(crate) async fn forever(mut step: impl AsyncFnMut(usize)) {
    let mut pace = tokio::time::interval(PACE);
    for number in 0.. {
        pace.tick().await;
        step(number).await;
    }
}

async fn come_and_go(client: &Client, topic: &str, size: Size) -> Result<()> {
    client.admin().create_topic(NewTopic::new(topic)).await?;
    if size == Size::Bulk {
        // More than a log keeps in memory: there is a directory to remove afterwards.
        let producer = client.producer().delivery_timeout(ARM_WAIT).build()?;
        for line in size.lines()? {
            producer.enqueue(NewRecord::new(topic, line)).await?.await?;
        }
        producer.close(ARM_WAIT).await?;
    }
    client.admin().delete_topic(topic).await?;
    Ok(())
}

/// The leader dies with entries that no other node has, comes back and finds others in their place.
async fn ahead(field: &mut Field, topic: &str, load: &Load, words: &str) -> Result<u64> {
    let leader = field.leader(Subject::Records, topic).await?;
    let ids: Vec<u64> = field.cluster.nodes().iter().map(NodeProcess::id).collect();
    let others = || ids.iter().copied().filter(|id| *id != leader);
    for id in others() {
        field.cluster.node(id).pause()?;
    }
    arm(field, leader, "journal.flush.after=1*off->crash").await?;
    field.dies(leader).await?;
    for id in others() {
        // What was sent to it and not read goes with it.
        field.cluster.node(id).kill()?;
        field.cluster.node(id).start()?;
    }
    load.goes_on(1).await?;
    start_armed(field, leader, words)?;
    field.dies(leader).await?;
    Ok(leader)
}

/// A node is left behind until it needs a snapshot: who sends it or who receives it is armed.
async fn lag(
    field: &mut Field,
    (target, role): (u64, Role),
    (topic, load): (&str, &Load),
    words: &str,
) -> Result<()> {
    match role {
        Role::Follower => {
            field.leave_behind(target, load).await?;
            start_armed(field, target, words)
        }
        Role::Leader => {
            let away = field.pick(Subject::Records, Role::Follower, topic).await?;
            field.leave_behind(away, load).await?;
            arm(field, target, words).await?;
            field.cluster.node(away).start()
        }
    }
}
