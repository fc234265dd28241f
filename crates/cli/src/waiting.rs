//! Waiting for what the cluster does by itself, with a bar for who watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quipu_client::{Admin, ClusterDescription, TopicDescription};

use crate::output;

/// How often the cluster is asked.
const INTERVAL: Duration = Duration::from_millis(300);
/// Answers in a row that must say that nothing is left.
const CLEAR_MIN: u32 = 3;
/// Questions in a row that may fail: the node asked may be the one that goes.
const FAILURES_MAX: u32 = 100;

/// Waits until nothing moves and nothing is planned.
pub(crate) async fn for_moves(admin: &Admin) -> anyhow::Result<()> {
    let left = |cluster: &ClusterDescription| {
        let moving = cluster.shards.iter().filter(|shard| !shard.leaving.is_empty()).count();
        let to_come = cluster.planned_moves.len();
        (moving + to_come > 0)
            .then(|| (moving + to_come, format!("{moving} shards move, {to_come} wait")))
    };
    if until_none_left(admin, left).await? {
        output::note("all moves are done");
    }
    Ok(())
}

/// Waits until a node is removed.
pub(crate) async fn for_removal(admin: &Admin, node: u64) -> anyhow::Result<()> {
    let left = |cluster: &ClusterDescription| {
        if cluster.removed_nodes.contains(&node) {
            return None;
        }
        let holds = |shard: &&quipu_client::ShardDescription| {
            shard.shard != 0 && (shard.replicas.contains(&node) || shard.leaving.contains(&node))
        };
        let holds = cluster.shards.iter().filter(holds).count();
        Some((holds + 1, format!("node {node} holds replicas of {holds} shards")))
    };
    if until_none_left(admin, left).await? {
        output::note(&format!("node {node} is removed: stop it and delete its data"));
    }
    Ok(())
}

/// Waits until no partition of a topic is on its way.
pub(crate) async fn for_partitions(admin: &Admin, topic: &str) -> anyhow::Result<()> {
    let ask = || admin.describe_topic(topic);
    let left = |topic: &TopicDescription| {
        let moving = topic.partitions.iter().filter(|it| it.moving_to.is_some()).count();
        (moving > 0).then(|| (moving, format!("{moving} partitions move")))
    };
    if none_left(ask, left).await? {
        output::note(&format!("the partitions of topic {topic} are in their places"));
    }
    Ok(())
}

/// Asks for the cluster until nothing is left to do, and shows how much is.
async fn until_none_left(
    admin: &Admin,
    left: impl Fn(&ClusterDescription) -> Option<(usize, String)>,
) -> anyhow::Result<bool> {
    none_left(|| admin.describe_cluster(), left).await
}

/// Asks until nothing is left to do, and shows how much is; whether that came, or somebody would
/// not wait.
pub(crate) async fn none_left<T, F: Future<Output = quipu_client::Result<T>>>(
    ask: impl Fn() -> F,
    left: impl Fn(&T) -> Option<(usize, String)>,
) -> anyhow::Result<bool> {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {elapsed}")?);
    let mut most = 0;
    let mut failures = 0;
    let mut clear = 0;
    loop {
        let described = tokio::select! {
            described = ask() => described,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                bar.finish_and_clear();
                output::note("not waiting any longer: what was begun goes on by itself");
                return Ok(false);
            }
        };
        match described {
            Ok(described) => {
                failures = 0;
                let Some((count, words)) = left(&described) else {
                    // Another node than the one that took the change may not know of it yet.
                    clear += 1;
                    if clear >= CLEAR_MIN {
                        bar.finish_and_clear();
                        return Ok(true);
                    }
                    tokio::time::sleep(INTERVAL).await;
                    continue;
                };
                clear = 0;
                most = most.max(count);
                bar.set_length(u64::try_from(most)?);
                bar.set_position(u64::try_from(most - count)?);
                bar.set_message(words);
            }
            Err(error) => {
                failures += 1;
                if failures > FAILURES_MAX {
                    return Err(error.into());
                }
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
