//! `quipu local`, and `quipu cluster rolling-restart` on clusters made by it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewTopic};
use quipu_testkit::{Ledger, dataset};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::quipu::{Ended, Operator};

const TOPIC: &str = "permits";
const DELIVERY_WAIT: Duration = Duration::from_secs(60);

/// A local cluster. [`Self::end`] stops it; so does dropping it, less gently.
struct Local {
    operator: Operator,
    pids: Vec<u32>,
}

impl Drop for Local {
    fn drop(&mut self) {
        for pid in &self.pids {
            let pid = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw);
            let _ =
                pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
}

impl Local {
    async fn up(nodes: &str) -> Result<Self> {
        let mut local = Self { operator: Operator::new()?, pids: Vec::new() };
        let set = ["--set", "cluster.shards-per-node=1", "--set", "log.format=text"];
        let words = [&["local", "up", "--nodes", nodes, "--dir", "c"][..], &set].concat();
        local.operator.run(&words).await?.good()?;
        local.note_pids().await?;
        Ok(local)
    }

    async fn rows(&self) -> Result<Vec<Value>> {
        let words = ["local", "status", "--dir", "c", "-o", "json"];
        let rows = self.operator.run(&words).await?.good()?.json()?;
        rows.as_array().cloned().context("rows")
    }

    /// Processes by node.
    async fn note_pids(&mut self) -> Result<BTreeMap<u64, u32>> {
        let rows = self.rows().await?;
        let pids = rows.iter().filter_map(|row| {
            Some((row["node"].as_u64()?, u32::try_from(row["pid"].as_u64()?).ok()?))
        });
        let pids: BTreeMap<u64, u32> = pids.collect();
        self.pids = pids.values().copied().collect();
        Ok(pids)
    }

    async fn client(&self) -> Result<Client> {
        let rows = self.rows().await?;
        let servers: Vec<&str> = rows.iter().filter_map(|row| row["client"].as_str()).collect();
        Ok(Client::builder(&servers.join(",")).service("test").connect().await?)
    }

    async fn rolling_restart(&mut self, flags: &[&str]) -> Result<Ended> {
        let words = [&["cluster", "rolling-restart", "--dir", "c"][..], flags].concat();
        self.operator.run(&words).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.operator.home().join("c").join(name)
    }

    async fn end(mut self) -> Result<()> {
        self.operator.run(&["local", "down", "--dir", "c", "--purge"]).await?.good()?;
        self.pids.clear();
        Ok(())
    }
}

/// Load that never stops.
struct Load {
    ledger: Arc<Ledger>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Load {
    async fn start(client: &Client) -> Result<Self> {
        client.admin().create_topic(NewTopic::new(TOPIC).partitions(6)).await?;
        let ledger = Arc::new(Ledger::new(TOPIC, dataset::lines(64)?));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(publish(client.clone(), Arc::clone(&ledger), stopped));
        Ok(Self { ledger, stop, task })
    }

    async fn end(self, client: &Client) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await??;
        let failed = self.ledger.failed();
        ensure!(failed.is_empty(), "{} records failed: {:?}", failed.len(), failed.first());
        let verdict = self.ledger.verify(client).await?;
        ensure!(verdict.acked > 100, "too little load: {verdict:?}");
        ensure!(verdict.duplicated == 0 && verdict.read == verdict.acked, "{verdict:?}");
        Ok(())
    }
}

async fn publish(
    client: Client,
    ledger: Arc<Ledger>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let producer = client.producer().delivery_timeout(DELIVERY_WAIT).build()?;
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let mut settling = tokio::task::JoinSet::new();
    while !*stopped.borrow() {
        pace.tick().await;
        let (number, record) = ledger.record();
        let delivery = producer.enqueue(record).await?;
        let ledger = Arc::clone(&ledger);
        settling.spawn(async move { ledger.settle(number, delivery).await });
        while settling.try_join_next().is_some() {}
    }
    producer.close(DELIVERY_WAIT).await?;
    settling.join_all().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_is_restarted_under_load_and_nothing_is_lost() -> Result<()> {
    let mut local = Local::up("3").await?;
    let before = local.note_pids().await?;
    let client = local.client().await?;
    let load = Load::start(&client).await?;
    let ended = local.rolling_restart(&[]).await?;
    let after = local.note_pids().await?;
    ensure!(ended.code == Some(0), "{ended:?}");
    for node in [1, 2, 3] {
        ensure!(before[&node] != after[&node], "node {node} was not restarted: {ended:?}");
        let back = format!("[{node}/3] node {node}: back");
        ensure!(ended.stderr.contains(&back), "{ended:?}");
    }
    let cluster = client.admin().describe_cluster().await?;
    ensure!(cluster.is_healthy, "{:?}", cluster.problems);
    ensure!(cluster.nodes.iter().all(|node| node.state == "active"), "{:?}", cluster.nodes);
    ensure!(!local.path("rolling-restart.json").exists(), "nothing is left to do");
    load.end(&client).await?;
    // A node that is named, and no other.
    let ended = local.rolling_restart(&["--node", "2"]).await?;
    let last = local.note_pids().await?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let changed: Vec<&u64> = after.keys().filter(|node| after[node] != last[node]).collect();
    ensure!(changed == [&2], "{changed:?}");
    local.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_added_is_there_once_the_command_says_so() -> Result<()> {
    let mut local = Local::up("3").await?;
    let added = local.operator.run(&["local", "add", "--dir", "c"]).await?;
    local.note_pids().await?;
    added.good()?;
    let nodes = local.operator.run(&["node", "list", "-o", "json"]).await?.good()?.json()?;
    ensure!(nodes.as_array().is_some_and(|nodes| nodes.len() == 4), "{nodes}");
    let words = ["topic", "create", TOPIC, "--replication", "4"];
    local.operator.run(&words).await?.good()?;
    local.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_at_a_node_that_does_not_come_back_and_goes_on_when_called_again() -> Result<()> {
    let mut local = Local::up("3").await?;
    let before = local.note_pids().await?;
    let config = local.path("node-2/quipu.toml");
    let good = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("{good}\n[nonsense]\nkey = 1\n"))?;
    let ended = local.rolling_restart(&[]).await?;
    let middle = local.note_pids().await?;
    ensure!(ended.code == Some(1), "{ended:?}");
    ensure!(ended.stderr.contains("error: node 2: its process ended"), "{ended:?}");
    ensure!(ended.stderr.contains("nonsense"), "the end of its log: {ended:?}");
    ensure!(ended.stderr.contains("left are nodes 2, 3"), "{ended:?}");
    ensure!(middle[&1] != before[&1] && middle[&3] == before[&3], "{before:?} {middle:?}");
    ensure!(!middle.contains_key(&2), "{middle:?}");
    // Another node is not risked while one is down.
    let other = local.rolling_restart(&["--node", "3", "--timeout", "5s"]).await?;
    ensure!(other.code == Some(1), "{other:?}");
    ensure!(other.stderr.contains("node 2 does not run"), "{other:?}");
    std::fs::write(&config, good)?;
    let ended = local.rolling_restart(&[]).await?;
    let after = local.note_pids().await?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(ended.stderr.contains("going on with node 2"), "{ended:?}");
    ensure!(after[&1] == middle[&1], "it was done");
    ensure!(after[&3] != middle[&3] && after.contains_key(&2), "{middle:?} {after:?}");
    let cluster = local.client().await?.admin().describe_cluster().await?;
    ensure!(cluster.is_healthy, "{:?}", cluster.problems);
    ensure!(cluster.nodes.iter().all(|node| node.state == "active"), "{:?}", cluster.nodes);
    local.end().await
}
