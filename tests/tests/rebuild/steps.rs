//! Whoever takes a step of a rebuild dies at it, and the rebuild ends nevertheless.

use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result, ensure};
use quipu_testkit::{failpoints, until};

use crate::damage::Damage;
use crate::field::{Field, MOVE_WAIT};
use crate::patient::is_rebuilt;

/// SIGKILL.
const KILLED: i32 = 9;

/// A point, how many passes are let through before, and who dies there.
pub(crate) struct Case {
    point: &'static str,
    skip: u32,
    who: Who,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The node that was damaged.
    Patient,
    /// The node that it asks first.
    Asked,
}

const fn patient(point: &'static str, skip: u32) -> Case {
    Case { point, skip, who: Who::Patient }
}

const fn asked(point: &'static str) -> Case {
    Case { point, skip: 0, who: Who::Asked }
}

pub(crate) const CASES: &[Case] = &[
    patient("metadata.rebuild.asking", 0),
    patient("metadata.rebuild.granted", 0),
    patient("metadata.rebuild.noted", 0),
    patient("metadata.rebuild.moved", 0),
    patient("metadata.rebuild.moved", 2),
    patient("metadata.rebuild.aside", 0),
    patient("metadata.rebuild.end.before", 0),
    patient("metadata.rebuild.end.after", 0),
    patient("shard.install.partitions-filled", 0),
    asked("metadata.rebuild.grant.before"),
    asked("metadata.rebuild.grant.after"),
];

/// Damages a node, and has it or the one it asks die at a point and come back.
pub(crate) async fn dies_on_the_way(field: &mut Field, case: &Case) -> Result<()> {
    let words = match case.skip {
        0 => format!("{}=crash", case.point),
        skip => format!("{}={skip}*off->crash", case.point),
    };
    course(field, case, &words).await.with_context(|| words.clone())
}

async fn course(field: &mut Field, case: &Case, words: &str) -> Result<()> {
    let controller = field.admin().describe_cluster().await?.controller.context("a controller")?;
    let node = controller % 3 + 1;
    let damage = Damage::to(field, node).await?;
    let target = match case.who {
        Who::Patient => {
            field.cluster.node(node).arm(words);
            field.cluster.node(node).start()?;
            node
        }
        Who::Asked => {
            let first = if node == 1 { 2 } else { 1 };
            let address = field.cluster.node(first).metrics_address();
            failpoints::arm(address, words).await?;
            field.cluster.node(node).start()?;
            first
        }
    };
    let status = field.cluster.node(target).wait_exit(MOVE_WAIT).await;
    let status = status.with_context(|| field.cluster.tails())?;
    ensure!(status.signal() == Some(KILLED), "node {target} ended by itself: {status}");
    field.cluster.node(target).start()?;
    is_rebuilt(field, &damage).await.map(drop)
}

/// Waits until a node has said something.
pub(crate) async fn says(field: &mut Field, node: u64, words: &str) -> Result<()> {
    until(words, MOVE_WAIT, async || {
        let nodes = field.cluster.nodes().iter();
        let log = nodes.filter(|it| it.id() == node).map(|it| it.log()).collect::<String>();
        ensure!(log.contains(words), "it has not");
        Ok(())
    })
    .await
}
