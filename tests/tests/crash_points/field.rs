//! The cluster that serves many cases, and the course of one.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewTopic};
use quipu_testkit::{Cluster, ClusterOptions, NodeProcess, replicas, until};

use crate::cases::{Case, Drive, Role, Subject};
use crate::load::{GROUP, Load, Size};
use crate::reach;

/// How long a node may take to pass a point, under load that leads there.
const CRASH_WAIT: Duration = Duration::from_secs(30);
/// How long questions may go unanswered after a crash.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Enough to be checkpointed, and for a node that missed them to need a snapshot.
const RECORDS_MISSED: usize = 100;
/// SIGKILL.
const KILLED: i32 = 9;

/// Everything happens often: segments and journal files are small, checkpoints are due at once.
const SETTINGS: [&str; 8] = [
    "cluster.shards-per-node=1",
    "journal.file-bytes=4MiB",
    "storage.checkpoint-interval=300ms",
    "storage.checkpoint-bytes=1MiB",
    "raft.heartbeat=100ms",
    "raft.election-min=500ms",
    "raft.election-max=1s",
    "log.format=text",
];

/// A cluster, and the topic of the case at hand.
pub(crate) struct Field {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    number: usize,
    /// What later crashes must leave alone.
    kept: Vec<Load>,
}

impl Field {
    pub(crate) async fn start(entries_kept: u32) -> Result<Self> {
        let mut settings: Vec<String> = SETTINGS.map(str::to_owned).into();
        settings.push(format!("storage.journal-entries-kept={entries_kept}"));
        let options = ClusterOptions { settings, ..ClusterOptions::default() };
        let cluster = Cluster::start_with(options).await?;
        let client = cluster.client().await?;
        Ok(Self { cluster, client, number: 0, kept: Vec::new() })
    }

    /// One case in one role: a crash, a new start, and a look at everything.
    pub(crate) async fn run(&mut self, case: &Case, role: Role) -> Result<()> {
        let ran = self.course(case, role).await;
        ran.with_context(|| format!("{}, {role:?}", case.point))
    }

    async fn course(&mut self, case: &Case, role: Role) -> Result<()> {
        self.number += 1;
        let topic = format!("case-{}", self.number);
        let new = NewTopic::new(topic.as_str()).set("segment-bytes", "1MiB");
        self.client.admin().create_topic(new).await?;
        let mut load = Load::start(&self.client, &topic, size(case.drive))?;
        load.goes_on(1).await?;
        let target = reach::crash(self, case, role, (&topic, &load)).await?;
        self.cluster.node(target).start()?;
        load.goes_on(1).await?;
        load.end().await?;
        self.cluster.wait_healthy().await?;
        load.verify(&self.client).await?;
        replicas::are_identical(&self.cluster, &topic, 1).await?;
        if size(case.drive) == Size::Line {
            self.kept.push(load);
        } else {
            self.client.admin().delete_topic(&topic).await?;
        }
        Ok(())
    }

    /// What earlier cases left is still there after the last.
    pub(crate) async fn end(self) -> Result<()> {
        for load in &self.kept {
            load.verify(&self.client).await?;
        }
        ensure!(!self.kept.is_empty(), "nothing was kept");
        Ok(())
    }

    /// A node of a role.
    pub(crate) async fn pick(&self, subject: Subject, role: Role, topic: &str) -> Result<u64> {
        let leader = self.leader(subject, topic).await?;
        let mut ids = self.cluster.nodes().iter().map(NodeProcess::id);
        match role {
            Role::Leader => Ok(leader),
            Role::Follower => ids.find(|id| *id != leader).context("a cluster of one"),
        }
    }

    /// Who leads what a case is about.
    pub(crate) async fn leader(&self, subject: Subject, topic: &str) -> Result<u64> {
        until("a leader", ANSWER_WAIT, async || {
            let admin = self.client.admin();
            let leader = match subject {
                Subject::Records => {
                    let topic = admin.describe_topic(topic).await?;
                    topic.partitions.first().and_then(|partition| partition.leader)
                }
                Subject::Positions => Some(admin.describe_group(GROUP).await?.coordinator),
                Subject::Metadata => admin.describe_cluster().await?.controller,
            };
            leader.context("nobody leads")
        })
        .await
    }

    /// Waits until a node has passed its point.
    pub(crate) async fn dies(&mut self, id: u64) -> Result<()> {
        let died = self.dies_within(id, CRASH_WAIT).await?;
        ensure!(died, "node {id} did not pass its point within {CRASH_WAIT:?}");
        Ok(())
    }

    /// Whether a node passes its point within a time.
    pub(crate) async fn dies_within(&mut self, id: u64, wait: Duration) -> Result<bool> {
        let Ok(status) = self.cluster.node(id).wait_exit(wait).await else { return Ok(false) };
        ensure!(status.signal() == Some(KILLED), "node {id} ended by itself: {status}");
        Ok(true)
    }

    /// Load goes on while a node is away, until that one is far behind.
    pub(crate) async fn leave_behind(&mut self, id: u64, load: &Load) -> Result<()> {
        self.cluster.node(id).kill()?;
        load.goes_on(RECORDS_MISSED).await
    }
}

const fn size(drive: Drive) -> Size {
    match drive {
        Drive::Load(size) | Drive::Start(size) => size,
        Drive::Trim
        | Drive::Topics
        | Drive::Lead
        | Drive::StartTorn
        | Drive::StartAhead
        | Drive::Lag
        | Drive::LagBehindTopics => Size::Line,
    }
}
