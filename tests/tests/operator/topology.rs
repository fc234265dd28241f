//! `quipu cluster export` and `apply`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use quipu_client::{Admin, NewRecord, NewTopic};
use quipu_testkit::Cluster;

use crate::quipu::{Ended, Operator};

const FILE: &str = "\
apiVersion: quipu/v1
topics:
- name: fees
  partitions: 6
  config:
    retention-time: 90d
- name: permits
policies:
- pattern: 'per*'
  config:
    retention-time: 30d
";

/// A cluster, and a file that is applied to it.
struct Bench {
    _cluster: Cluster,
    operator: Operator,
    admin: Admin,
    client: quipu_client::Client,
}

impl Bench {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start().await?;
        let client = cluster.client().await?;
        let operator = Operator::of(&cluster)?;
        Ok(Self { _cluster: cluster, operator, admin: client.admin(), client })
    }

    fn file(&self) -> PathBuf {
        self.operator.home().join("topology.yaml")
    }

    async fn apply(&self, text: &str, flags: &[&str]) -> Result<Ended> {
        std::fs::write(self.file(), text)?;
        let words = ["cluster", "apply", "-f", "topology.yaml", "-o", "json"];
        self.operator.run(&[&words[..], flags].concat()).await
    }

    /// Names of topics with their partitions.
    async fn topics(&self) -> Result<Vec<(String, usize)>> {
        let topics = self.admin.list_topics().await?;
        Ok(topics.into_iter().map(|topic| (topic.name, topic.partitions.len())).collect())
    }

    async fn setting(&self, topic: &str, key: &str) -> Result<(String, Option<String>)> {
        let topic = self.admin.describe_topic(topic).await?;
        let entry = topic.config.into_iter().find(|entry| entry.key == key);
        entry.map(|entry| (entry.value, entry.policy)).context("a setting")
    }
}

fn results(ended: &Ended) -> Result<Vec<String>> {
    let document = ended.json()?;
    let changes = document["changes"].as_array().context("changes")?;
    let told = changes.iter().map(|it| {
        let word = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
        [word("action"), word("kind"), word("name"), word("result")].join(" ")
    });
    Ok(told.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_applied_once_and_then_nothing_changes() -> Result<()> {
    let bench = Bench::start().await?;
    let dry = bench.apply(FILE, &["--dry-run"]).await?.good()?;
    ensure!(bench.topics().await?.is_empty(), "{dry:?}");
    let unconfirmed = bench.apply(FILE, &[]).await?;
    ensure!(unconfirmed.code == Some(2) && unconfirmed.stderr.contains("--yes"), "{unconfirmed:?}");
    let first = bench.apply(FILE, &["--yes"]).await?.good()?;
    let made = ["create policy per* done", "create topic fees done", "create topic permits done"];
    ensure!(results(&first)? == made, "{first:?}");
    let topics = [("fees".to_owned(), 6), ("permits".to_owned(), 1)];
    ensure!(bench.topics().await? == topics, "{:?}", bench.topics().await?);
    ensure!(bench.setting("fees", "retention-time").await? == ("90d".to_owned(), None));
    let inherited = ("30d".to_owned(), Some("per*".to_owned()));
    ensure!(bench.setting("permits", "retention-time").await? == inherited);

    let second = bench.apply(FILE, &["--yes"]).await?.good()?;
    ensure!(second.json()?["is_changed"] == false && results(&second)?.is_empty(), "{second:?}");
    let words = ["cluster", "apply", "-f", "topology.yaml"];
    let told = bench.operator.run(&words).await?.good()?;
    ensure!(told.stderr.contains("no change: 3 items are as declared"), "{told:?}");

    // What is exported is what was declared, in full; applied again it changes nothing.
    let exported = bench.operator.run(&["cluster", "export"]).await?.good()?.stdout;
    let again = bench.apply(&exported, &["--prune", "--yes"]).await?.good()?;
    ensure!(again.json()?["is_changed"] == false, "{exported}\n{again:?}");
    let flags = ["cluster", "export", "--file", "out.yaml"];
    bench.operator.run(&flags).await?.good()?;
    ensure!(std::fs::read_to_string(bench.operator.home().join("out.yaml"))? == exported);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_declared_otherwise_is_changed_and_what_is_not_named_stays() -> Result<()> {
    let bench = Bench::start().await?;
    bench.apply(FILE, &["--yes"]).await?.good()?;
    bench.admin.create_topic(NewTopic::new("other").set("retention-time", "1d")).await?;
    bench.client.publish(NewRecord::new("fees", "120")).await?;

    let grown = FILE.replace("partitions: 6", "partitions: 8").replace("90d", "60d");
    let words = ["cluster", "apply", "-f", "topology.yaml", "--dry-run"];
    std::fs::write(bench.file(), &grown)?;
    let shown = bench.operator.run(&words).await?.good()?.stdout;
    let lines = "~ topic fees\n    ~ partitions 6 -> 8\n    ~ retention-time 90d -> 60d\n";
    ensure!(shown == lines, "{shown}");
    let applied = bench.apply(&grown, &["--yes"]).await?.good()?;
    ensure!(results(&applied)? == ["change topic fees done"], "{applied:?}");
    ensure!(applied.json()?["others"] == 1, "{applied:?}");
    ensure!(bench.setting("fees", "retention-time").await?.0 == "60d");

    // One impossible item, and nothing of the file is done.
    let fewer =
        FILE.replace("partitions: 6", "partitions: 4").replace("name: permits", "name: new");
    let refused = bench.apply(&fewer, &["--yes"]).await?;
    ensure!(refused.code == Some(1), "{refused:?}");
    let reason = refused.json()?["refused"][0]["reason"].to_string();
    ensure!(reason.contains("QP1206") && reason.contains("cannot have fewer"), "{reason}");
    let replicas = FILE.replace("partitions: 6", "replication: 9");
    let refused = bench.apply(&replicas, &["--yes"]).await?;
    let reason = refused.json()?["refused"][0]["reason"].to_string();
    ensure!(reason.contains("replication 9 does not fit"), "{reason}");
    let replicas = grown.replace("partitions: 8", "replication: 1");
    let applied = bench.apply(&replicas, &["--yes"]).await?.good()?;
    ensure!(results(&applied)? == ["change topic fees done"], "{applied:?}");
    ensure!(bench.admin.describe_topic("fees").await?.replication == 1, "it is wanted now");
    let setting = grown.replace("retention-time: 60d", "retention-tme: 60d");
    let refused = bench.apply(&setting, &["--yes"]).await?;
    let reason = refused.json()?["refused"][0]["reason"].to_string();
    ensure!(reason.contains("did you mean"), "{reason}");
    let names: Vec<String> = bench.topics().await?.into_iter().map(|(name, _)| name).collect();
    ensure!(names == ["fees", "other", "permits"], "{names:?}");

    let unknown = bench.apply(&FILE.replace("partitions", "partitons"), &["--yes"]).await?;
    ensure!(unknown.code == Some(2), "{unknown:?}");
    ensure!(unknown.stderr.contains("topology.yaml: line 4, "), "{unknown:?}");
    ensure!(unknown.stderr.contains("partitons"), "{unknown:?}");

    let small = "apiVersion: quipu/v1\ntopics:\n- name: fees\n";
    let kept = bench.apply(small, &["--yes"]).await?.good()?;
    ensure!(kept.json()?["is_changed"] == false && kept.json()?["others"] == 3, "{kept:?}");
    let pruned = bench.apply(small, &["--prune", "--yes"]).await?.good()?;
    let made = [
        "change topic fees done",
        "delete topic other done",
        "delete topic permits done",
        "delete policy per* done",
    ];
    ensure!(results(&pruned)? == made, "{pruned:?}");
    ensure!(bench.topics().await? == [("fees".to_owned(), 8)], "and its record");
    let records = quipu_testkit::read_all(&bench.client, "fees").await?;
    ensure!(records.len() == 1, "{records:?}");
    Ok(())
}
