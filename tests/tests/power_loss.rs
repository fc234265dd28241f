//! P1 against real power loss: data directories on an ext4 image that is copied right after the
//! processes are killed, so that everything the kernel had not flushed is gone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::NewTopic;
use quipu_testkit::{Cluster, ClusterOptions, Ledger, dataset, replicas, until};

const TOPIC: &str = "healthtech.patient.events";
const PARTITIONS: u32 = 3;
const RECORDS: usize = 60_000;

/// An ext4 file system in a file, mounted while this lives.
struct Image {
    file: PathBuf,
    mounted: PathBuf,
}

impl Image {
    fn create(dir: &Path) -> Result<Self> {
        let image = Self { file: dir.join("image"), mounted: dir.join("mounted") };
        let file = std::fs::File::create(&image.file)?;
        file.set_len(4 << 30)?;
        run("mkfs.ext4", &["-q", "-F", text(&image.file)?])?;
        image.mount()?;
        Ok(image)
    }

    fn mount(&self) -> Result<()> {
        std::fs::create_dir_all(&self.mounted)?;
        run("mount", &["-o", "loop", text(&self.file)?, text(&self.mounted)?])
    }

    /// What the disk would hold after a power loss now, mounted elsewhere.
    fn after_power_loss(&self, dir: &Path) -> Result<Self> {
        let copy = Self { file: dir.join("image-copy"), mounted: dir.join("mounted-copy") };
        run("cp", &["--sparse=always", text(&self.file)?, text(&copy.file)?])?;
        copy.mount()?;
        Ok(copy)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Ok(mounted) = text(&self.mounted) {
            let _ = run("umount", &["-l", mounted]);
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in text")
}

fn run(program: &str, words: &[&str]) -> Result<()> {
    let status = Command::new(program).args(words).status().with_context(|| program.to_owned())?;
    ensure!(status.success(), "{program} {}: {status}", words.join(" "));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_of_all_nodes_loses_nothing_acknowledged() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let image = Image::create(dir.path())?;
    let root = image.mounted.clone();
    let options = ClusterOptions { dir: Some(root), ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(options).await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(PARTITIONS)).await?;
    let ledger = Arc::new(Ledger::new(TOPIC, dataset::lines(RECORDS)?));
    let publishing = tokio::spawn({
        let (client, ledger) = (client.clone(), Arc::clone(&ledger));
        async move {
            let producer = client.producer().delivery_timeout(Duration::from_secs(120)).build()?;
            let mut settling = tokio::task::JoinSet::new();
            for _ in 0..RECORDS {
                let (number, record) = ledger.record();
                let delivery = producer.enqueue(record).await?;
                let ledger = Arc::clone(&ledger);
                settling.spawn(async move { ledger.settle(number, delivery).await });
                while settling.try_join_next().is_some() {}
            }
            producer.flush().await?;
            while settling.join_next().await.is_some() {}
            anyhow::Ok(())
        }
    });
    until("half of the records", Duration::from_secs(60), async || {
        ensure!(ledger.acked() >= RECORDS / 2, "{} are acknowledged", ledger.acked());
        Ok(())
    })
    .await?;
    cluster.kill_all()?;
    let copy = image.after_power_loss(dir.path())?;
    for id in 1..=3 {
        cluster.node(id).set_dir(copy.mounted.join(format!("node-{id}")));
    }
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    publishing.await??;
    ensure!(ledger.failed().is_empty(), "failed: {:?}", ledger.failed().first());
    ensure!(ledger.acked() == RECORDS, "{} acknowledged", ledger.acked());
    ledger.verify(&client).await?;
    replicas::are_identical(&cluster, TOPIC, PARTITIONS).await?;
    // The nodes are on the copied file system: they end before it is unmounted.
    drop(cluster);
    drop(copy);
    Ok(())
}
