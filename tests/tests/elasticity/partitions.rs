//! Partitions that move between shards under load.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result, ensure};
use quipu_client::{NewRecord, NewTopic, PartitionDescription, ShardId, TopicDescription};
use quipu_testkit::{failpoints, until};
use quipu_types::{Effect, ErrorCode};

use crate::field::{Field, MOVE_WAIT, PARTITIONS, TOPIC};

/// SIGKILL.
const KILLED: i32 = 9;

/// Whoever leads the shard that a partition moves to takes these steps.
const TO_STEPS: &[&str] = &[
    "broker.move.receive.before",
    "shard.move.receive.after",
    "broker.move.import.before",
    "shard.move.import.after",
    "broker.move.seal.before",
    "broker.move.seal.after",
    "broker.move.adopt.before",
    "shard.move.adopt.after",
    "broker.move.finish.before",
    "broker.move.finish.after",
];

/// And whoever leads the shard that it comes from.
const FROM_STEPS: &[&str] = &["shard.move.seal.after", "shard.partition.close.after"];

fn shards(topic: &TopicDescription) -> Vec<u32> {
    topic.partitions.iter().map(|partition| partition.shard).collect()
}

fn all_to(shards: &[u32]) -> BTreeMap<u32, ShardId> {
    (0..).zip(shards).map(|(index, shard)| (index, ShardId::new(*shard))).collect()
}

/// Each partition's shard, and the one after it.
async fn plan(field: &Field) -> Result<(Vec<u32>, Vec<u32>)> {
    let home = shards(&field.admin().describe_topic(TOPIC).await?);
    let mut all = home.clone();
    all.sort_unstable();
    all.dedup();
    let next = |shard: &u32| {
        let at = all.iter().position(|known| known == shard).expect("one of them");
        all[(at + 1) % all.len()]
    };
    let away = home.iter().map(next).collect();
    Ok((home, away))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_move_between_shards_and_back() -> Result<()> {
    let mut field = Field::start(3).await?;
    let (home, away) = plan(&field).await?;
    for to in [&away, &home, &away] {
        let moving = field.admin().move_partitions(TOPIC, &all_to(to)).await?;
        ensure!(moving.partitions.iter().all(|it| it.moving_to.is_some()), "{moving:?}");
        field.partitions_are_there(|topic| shards(topic) == *to).await?;
    }
    what_was_emptied_moves_too(&field, (home[0], away[0])).await?;
    let code = |refused: quipu_client::Result<TopicDescription>| {
        refused.err().map(|error| (error.code(), error.effect()))
    };
    let cases = [(PARTITIONS, 1, ErrorCode::UnknownPartition), (0, 999, ErrorCode::UnknownShard)];
    for (index, shard, expected) in cases {
        let to = BTreeMap::from([(index, ShardId::new(shard))]);
        let refused = code(field.admin().move_partitions(TOPIC, &to).await);
        ensure!(refused == Some((Some(expected), Effect::None)), "{refused:?}");
    }
    // What is left of the moves goes: each node has each partition once.
    for node in 1..=3 {
        let dir = field.cluster.node(node).dir().join("data/partitions");
        until("old copies to go", MOVE_WAIT, async || {
            let copies = copies(&dir)?;
            ensure!(copies == usize::try_from(PARTITIONS)?, "node {node} has {copies}");
            Ok(())
        })
        .await?;
    }
    field.end().await
}

/// Nothing is left to copy, and offsets go on.
async fn what_was_emptied_moves_too(field: &Field, shards: (u32, u32)) -> Result<()> {
    const EMPTIED: &str = "emptied";
    let admin = field.admin();
    let topic = admin.create_topic(NewTopic::new(EMPTIED)).await?;
    for number in 0..5 {
        field.client.publish(NewRecord::new(EMPTIED, format!("{number}"))).await?;
    }
    ensure!(admin.delete_records(EMPTIED, 0, None).await? == 5, "all of it goes");
    let to = if topic.partitions[0].shard == shards.0 { shards.1 } else { shards.0 };
    admin.move_partitions(EMPTIED, &BTreeMap::from([(0, ShardId::new(to))])).await?;
    until("the partition to arrive", MOVE_WAIT, async || {
        let topic = admin.describe_topic(EMPTIED).await?;
        ensure!(topic.partitions[0].shard == to, "{topic:?}");
        Ok(())
    })
    .await?;
    let published = field.client.publish(NewRecord::new(EMPTIED, "5")).await?;
    ensure!(published.offset == Some(5), "{published:?}");
    admin.delete_topic(EMPTIED).await?;
    Ok(())
}

/// Directories of partitions, wherever they lie.
fn copies(dir: &std::path::Path) -> Result<usize> {
    let mut found = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let is_group = entry.file_name().to_string_lossy().starts_with("generation-");
        found += if is_group { copies(&entry.path())? } else { 1 };
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_gets_more_replicas_and_fewer() -> Result<()> {
    let mut field = Field::start(3).await?;
    let admin = field.admin();
    let refused = admin.set_replication(TOPIC, 5).await.err().and_then(|error| error.code());
    ensure!(refused == Some(ErrorCode::InvalidReplication), "{refused:?}");
    for _ in 0..2 {
        field.add_node().await?;
    }
    for replicas in [5_u32, 1, 3] {
        let preview = admin.preview_set_replication(TOPIC, replicas).await?;
        ensure!(preview.replication == replicas, "{preview:?}");
        let now = admin.describe_topic(TOPIC).await?;
        ensure!(now.replication != replicas, "a look changes nothing");
        admin.set_replication(TOPIC, replicas).await?;
        let wanted = usize::try_from(replicas)?;
        let has = |it: &PartitionDescription| it.replicas.len() == wanted;
        field.partitions_are_there(|topic| topic.partitions.iter().all(has)).await?;
    }
    field.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_arrives_whoever_dies_on_the_way() -> Result<()> {
    let mut field = Field::start(3).await?;
    let (home, away) = plan(&field).await?;
    let (mut now, mut next) = (home[0], away[0]);
    let cases = TO_STEPS.iter().map(|step| (*step, true));
    for (point, is_target) in cases.chain(FROM_STEPS.iter().map(|step| (*step, false))) {
        let dies = if is_target { next } else { now };
        let ran = dies_on_the_way(&mut field, point, dies, next).await;
        ran.with_context(|| format!("{point}, from {now} to {next}"))?;
        std::mem::swap(&mut now, &mut next);
    }
    field.end().await
}

async fn dies_on_the_way(field: &mut Field, point: &str, dies: u32, to: u32) -> Result<()> {
    let node = field.leader_of(ShardId::new(dies)).await?;
    let address = field.cluster.node(node).metrics_address();
    failpoints::arm(address, &format!("{point}=crash")).await?;
    let wanted = BTreeMap::from([(0, ShardId::new(to))]);
    field.admin().move_partitions(TOPIC, &wanted).await?;
    let status = field.cluster.node(node).wait_exit(MOVE_WAIT).await?;
    ensure!(status.signal() == Some(KILLED), "node {node} ended by itself: {status}");
    field.cluster.node(node).start()?;
    field.partitions_are_there(|topic| topic.partitions[0].shard == to).await?;
    field.cluster.wait_healthy().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_called_off_at_its_last_step_leaves_the_partition_where_it_was() -> Result<()>
{
    let mut field = Field::start(3).await?;
    let (home, away) = plan(&field).await?;
    let (away, home) = (ShardId::new(away[0]), ShardId::new(home[0]));
    for (point, dies) in [("broker.move.adopt.before", false), ("broker.move.finish.before", true)]
    {
        // Sealed where it was, it waits for what never comes, whoever brings it.
        arm_all(&field, &format!("{point}=pause")).await?;
        field.admin().move_partitions(TOPIC, &BTreeMap::from([(0, away)])).await?;
        shows(&field, "a seal", false).await?;
        // Whoever goes on with it may die over that.
        let leader = field.leader_of(home).await?;
        if dies {
            let address = field.cluster.node(leader).metrics_address();
            failpoints::arm(address, "shard.move.unseal.after=crash").await?;
        }
        let topic = field.admin().move_partitions(TOPIC, &BTreeMap::from([(0, home)])).await?;
        ensure!(topic.partitions[0].moving_to.is_none(), "{topic:?}");
        if dies {
            field.cluster.node(leader).wait_exit(MOVE_WAIT).await?;
            field.cluster.node(leader).start()?;
            field.cluster.wait_healthy().await?;
        }
        arm_all(&field, &format!("{point}=off")).await?;
        field.partitions_are_there(|topic| topic.partitions[0].shard == home.get()).await?;
        shows(&field, "the partition", true).await?;
    }
    field.end().await
}

async fn arm_all(field: &Field, words: &str) -> Result<()> {
    for node in field.cluster.nodes() {
        failpoints::arm(node.metrics_address(), words).await?;
    }
    Ok(())
}

/// Waits until a node shows the first partition, or does not.
async fn shows(field: &Field, what: &str, is_shown: bool) -> Result<()> {
    until(what, MOVE_WAIT, async || {
        let topic = field.admin().describe_topic(TOPIC).await?;
        ensure!(topic.partitions[0].high_watermark.is_some() == is_shown, "{topic:?}");
        Ok(())
    })
    .await
}
