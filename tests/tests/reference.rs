//! The generated pages of the reference say what the binary says, and the page of metrics has what a
//! node exports. `cargo xtask docs` writes them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use quipu_client::{NewRecord, NewTopic};
use quipu_testkit::{Cluster, ClusterOptions, metrics, until};
use tokio::process::Command;

#[tokio::test]
async fn the_reference_pages_are_those_of_this_release() -> Result<()> {
    for (words, page) in [
        (&["errors"][..], include_str!("../../docs/reference/errors.md")),
        (&["manual"][..], include_str!("../../docs/reference/cli.md")),
        (&["config", "reference"][..], include_str!("../../docs/reference/config.md")),
        (&["metrics"][..], include_str!("../../docs/reference/metrics.md")),
    ] {
        let command = Command::new(quipu_testkit::quipu_binary()?).args(words).output().await;
        let printed = String::from_utf8(command?.stdout).context("text")?;
        ensure!(printed == page, "`quipu {}` differs: run `cargo xtask docs`", words.join(" "));
    }
    Ok(())
}

const WAIT: Duration = Duration::from_secs(30);

/// What a node's page begins with only once something happened that this test does not bring about.
const LATER: &[&str] = &["quipu_raft_follower_lag_entries", "quipu_peer_connected"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_metrics_has_what_a_node_exports_and_nothing_else() -> Result<()> {
    let cluster =
        Cluster::start_with(ClusterOptions { nodes: 1, ..ClusterOptions::default() }).await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new("fees")).await?;
    client.publish(NewRecord::new("fees", "1")).await?;
    let mut reader = client.subscribe(["fees"]).group("sms").join().await?;
    reader.next().await.context("one is there")??.ack().await?;
    let address = cluster.nodes()[0].metrics_address();
    let exported = until("the group's series", WAIT, async || {
        let page = metrics::scrape(address).await?;
        ensure!(page.contains("quipu_group_members{"), "no group");
        Ok(page)
    });
    let exported = exported.await?;
    reader.shutdown(WAIT).await?;

    let described = described();
    let kinds: BTreeMap<&str, &str> =
        exported.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for (name, kind) in &kinds {
        let (described, _) = described.get(name).with_context(|| format!("{name} is not there"))?;
        ensure!(described == kind, "{name} is a {kind}, not a {described}");
    }
    let of_nodes = described
        .keys()
        .filter(|name| name.starts_with("quipu_") || name.starts_with("process_"))
        .filter(|name| !LATER.contains(name));
    let missing: Vec<_> = of_nodes.filter(|name| !kinds.contains_key(*name)).collect();
    ensure!(missing.is_empty(), "not exported: {missing:?}");
    for line in exported.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, labels)) = line.split_once('{') else { continue };
        let suffixes = ["_bucket", "_sum", "_count"];
        let base = suffixes.iter().find_map(|suffix| series.strip_suffix(suffix));
        let about = base.and_then(|base| described.get(base)).or_else(|| described.get(series));
        let Some((_, about)) = about else { bail!("{series} is not there") };
        for label in labels.split(',').filter_map(|pair| pair.split_once("=\"")).map(|it| it.0) {
            let is_told = label == "le" || about.to_lowercase().contains(label);
            ensure!(is_told, "what is said of {series} does not name its label {label}: {about}");
        }
    }
    Ok(())
}

/// Kind and meaning by name.
fn described() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    let page = include_str!("../../docs/reference/metrics.md");
    let rows = page.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let (kind, about) = rest.split_once(" | ")?;
        Some((name, (kind, about)))
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_of_deleted_topics_and_groups_vanish() -> Result<()> {
    let cluster =
        Cluster::start_with(ClusterOptions { nodes: 1, ..ClusterOptions::default() }).await?;
    let client = cluster.client().await?;
    let admin = client.admin();
    admin.create_topic(NewTopic::new("fees")).await?;
    client.publish(NewRecord::new("fees", "1")).await?;
    let mut reader = client.subscribe(["fees"]).group("sms").join().await?;
    reader.next().await.context("one is there")??.ack().await?;
    reader.shutdown(WAIT).await?;
    shows(&cluster, "group=\"sms\"", true).await?;
    admin.delete_group("sms").await?;
    shows(&cluster, "group=\"sms\"", false).await?;
    shows(&cluster, "topic=\"fees\"", true).await?;
    admin.delete_topic("fees").await?;
    shows(&cluster, "topic=\"fees\"", false).await
}

/// Waits until the node's page has series with a label, or has none.
async fn shows(cluster: &Cluster, label: &str, wanted: bool) -> Result<()> {
    let address = cluster.nodes()[0].metrics_address();
    let look = async || {
        let has = metrics::scrape(address).await?.contains(label);
        ensure!(has == wanted, "{label} is there: {has}");
        Ok(())
    };
    until(label, WAIT, look).await
}
