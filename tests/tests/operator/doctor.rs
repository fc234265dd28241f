//! `quipu doctor`: sick clusters, and the directories of stopped nodes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{NewRecord, NewTopic, NodeChange, NodeId};
use quipu_testkit::{Cluster, until};

use crate::quipu::Operator;

const WAIT: Duration = Duration::from_secs(60);
const TOPIC: &str = "fees";

/// Severity, kind and place of every finding, with the exit code.
type Diagnosis = (Option<i32>, Vec<(String, String, String)>);

async fn ask(operator: &Operator, flags: &[&str]) -> Result<Diagnosis> {
    let words = [&["doctor", "-o", "json"][..], flags].concat();
    let ended = operator.run(&words).await?;
    let document = ended.json()?;
    let findings = document["findings"].as_array().context("findings")?;
    let mut found = Vec::new();
    for finding in findings {
        let word = |key: &str| finding[key].as_str().map(str::to_owned).context("a word");
        ensure!(!word("what")?.is_empty() && !word("advice")?.is_empty(), "{finding}");
        found.push((word("severity")?, word("kind")?, word("place")?));
    }
    ensure!((document["is_healthy"] == true) == (ended.code == Some(0)), "{ended:?}");
    Ok((ended.code, found))
}

fn has((_, found): &Diagnosis, severity: &str, kind: &str, place: &str) -> Result<()> {
    let wanted = (severity.to_owned(), kind.to_owned(), place.to_owned());
    ensure!(found.contains(&wanted), "{wanted:?} is not in {found:?}");
    Ok(())
}

async fn becomes_healthy(operator: &Operator) -> Result<()> {
    until("nothing to be found", 2 * WAIT, async || {
        let diagnosis = ask(operator, &[]).await?;
        ensure!(diagnosis == (Some(0), Vec::new()), "{diagnosis:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sick_cluster_is_explained_and_a_healthy_one_is_called_so() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let operator = Operator::of(&cluster)?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(6)).await?;
    becomes_healthy(&operator).await?;

    // Drained and forgotten.
    let rest = NodeChange::Drain(Duration::from_secs(3600));
    client.admin().change_node(NodeId::new(2), rest).await?;
    until("the drain to be found", WAIT, async || {
        has(&ask(&operator, &[]).await?, "warning", "node-drained", "node 2")
    })
    .await?;
    client.admin().change_node(NodeId::new(2), NodeChange::Activate).await?;
    becomes_healthy(&operator).await?;

    // A node is gone: the others serve.
    cluster.node(3).kill()?;
    until("the loss to be found", WAIT, async || {
        let diagnosis = ask(&operator, &[]).await?;
        ensure!(diagnosis.0 == Some(1), "{diagnosis:?}");
        has(&diagnosis, "error", "node-down", "node 3")?;
        let short = diagnosis.1.iter().filter(|(_, kind, _)| kind == "under-replicated").count();
        ensure!(short == 1 && diagnosis.1.len() == 2, "{diagnosis:?}");
        Ok(())
    })
    .await?;

    // Two are gone: nothing can be written.
    cluster.node(2).kill()?;
    until("the lost quorum to be found", WAIT, async || {
        let diagnosis = ask(&operator, &[]).await?;
        has(&diagnosis, "error", "node-down", "node 2")?;
        has(&diagnosis, "error", "node-down", "node 3")?;
        ensure!(diagnosis.1.iter().any(|(_, kind, _)| kind == "no-quorum"), "{diagnosis:?}");
        Ok(())
    })
    .await?;

    // All are gone.
    cluster.node(1).kill()?;
    let (code, found) = ask(&operator, &[]).await?;
    let kinds: Vec<&str> = found.iter().map(|(_, kind, _)| kind.as_str()).collect();
    ensure!(code == Some(1) && kinds == ["cluster-unreachable"], "{found:?}");
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    becomes_healthy(&operator).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_nobody_reads_for_is_found_while_its_lag_grows() -> Result<()> {
    let cluster = Cluster::start().await?;
    let operator = Operator::of(&cluster)?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC)).await?;
    client.admin().commit_offsets("sms", [(TOPIC, 0, 0)]).await?;
    becomes_healthy(&operator).await?;
    client.publish(NewRecord::new(TOPIC, "1")).await?;
    until("the group to be noted", WAIT, async || {
        let diagnosis = ask(&operator, &[]).await?;
        has(&diagnosis, "note", "group-without-members", "group sms")?;
        ensure!(diagnosis.0 == Some(0), "worth knowing, and no more: {diagnosis:?}");
        Ok(())
    })
    .await?;
    let producer = client.producer().build()?;
    let load = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while producer.publish(NewRecord::new(TOPIC, "1")).await.is_ok() {
            pace.tick().await;
        }
    });
    until("its growth to be found", WAIT, async || {
        let diagnosis = ask(&operator, &[]).await?;
        has(&diagnosis, "warning", "group-without-members", "group sms")
    })
    .await?;
    load.abort();
    client.admin().delete_group("sms").await?;
    becomes_healthy(&operator).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_nodes_directory_is_looked_at_without_a_change() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let operator = Operator::new()?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(3)).await?;
    for number in 0..200 {
        let record = NewRecord::new(TOPIC, format!("{number} {}", "x".repeat(512)));
        client.publish(record).await?;
    }
    let data = cluster.node(2).dir().join("data");
    let dir = data.to_str().context("a path in text")?.to_owned();
    let running = operator.run(&["doctor", "--dir", &dir]).await?;
    ensure!(running.code == Some(6) && running.stderr.contains("is in use"), "{running:?}");
    cluster.node(2).terminate(WAIT).await?;
    let before = content(&data)?;
    let (code, found) = ask(&operator, &["--dir", &dir]).await?;
    ensure!(code == Some(0) && found.iter().all(|(severity, ..)| severity == "note"), "{found:?}");
    let told = operator.run(&["doctor", "--dir", &dir]).await?.good()?;
    ensure!(told.stderr.contains("node 2 of cluster "), "{told:?}");
    ensure!(content(&data)? == before, "a look changes nothing");

    let journal = first_file(&data.join("journal"))?;
    let good = std::fs::read(&journal)?;
    let mut bad = good.clone();
    bad[100] ^= 1;
    std::fs::write(&journal, bad)?;
    let diagnosis = ask(&operator, &["--dir", &dir]).await?;
    ensure!(diagnosis.1.iter().any(|(_, kind, _)| kind == "journal-damaged"), "{diagnosis:?}");
    std::fs::write(&journal, good)?;

    let aside = data.join("quarantine/2026-11-22T10-00-00Z-start-3");
    std::fs::create_dir_all(&aside)?;
    let diagnosis = ask(&operator, &["--dir", &dir]).await?;
    has(&diagnosis, "note", "quarantine", &aside.display().to_string())?;
    std::fs::remove_dir_all(data.join("quarantine"))?;

    let version = data.join("VERSION");
    let good = std::fs::read(&version)?;
    std::fs::write(&version, "{}\n")?;
    let diagnosis = ask(&operator, &["--dir", &dir]).await?;
    has(&diagnosis, "error", "identity", &version.display().to_string())?;
    std::fs::write(&version, good)?;

    let empty = operator.home().join("empty");
    std::fs::create_dir(&empty)?;
    let diagnosis = ask(&operator, &["--dir", empty.to_str().context("a path in text")?]).await?;
    ensure!(diagnosis.0 == Some(1) && diagnosis.1.len() == 1, "{diagnosis:?}");
    ensure!(std::fs::read_dir(&empty)?.next().is_none(), "a look makes no file");
    cluster.node(2).start()?;
    cluster.wait_healthy().await
}

fn first_file(dir: &std::path::Path) -> Result<PathBuf> {
    let mut files = std::fs::read_dir(dir)?.map(|it| Ok(it?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    files.into_iter().next().context("a journal has files")
}

/// Every file below a directory, with its length and its checksum.
fn content(dir: &std::path::Path) -> Result<Vec<(PathBuf, usize, u32)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(content(&path)?);
        } else {
            let bytes = std::fs::read(&path)?;
            found.push((path, bytes.len(), crc32c::crc32c(&bytes)));
        }
    }
    found.sort();
    Ok(found)
}
