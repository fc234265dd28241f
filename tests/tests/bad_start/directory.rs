//! Data directories that are another's, old, or not whole.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use quipu_testkit::Cluster;

use crate::node::{cluster, copy, gives_up, holds, is_refused, publish, recover};
use crate::version::{Version, resealed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_used_by_its_own_node_and_once() -> Result<()> {
    let (mut cluster, client) = cluster(1, 200).await?;
    let data = cluster.node(1).dir().join("data");
    let shown = data.display().to_string();

    let in_use = format!(
        "data directory {shown} is in use by another process: stop that one, or give this node its own"
    );
    is_refused(1, &data, &in_use).await.context("two processes")?;
    is_refused(2, &data, &in_use).await.context("two processes, another node")?;
    holds(&client, 200).await.context("the one that was first goes on")?;

    // A killed process leaves its LOCK file behind; nobody holds it.
    cluster.node(1).kill()?;
    let other = format!(
        "data directory {shown} belongs to node 1, this is node 2: correct node.id or node.data-dir"
    );
    is_refused(2, &data, &other).await.context("another node")?;
    versions(&data).await?;
    recover(&mut cluster).await?;
    holds(&cluster.client().await?, 200).await
}

/// A `VERSION` file that is not as this release wrote it.
async fn versions(data: &Path) -> Result<()> {
    let path = data.join("VERSION");
    let shown = path.display();
    let good = std::fs::read_to_string(&path)?;
    let damaged = "do not delete it; restore it from a backup of this very directory, or replace \
                   the node with `quipu node replace` on a running node";
    let newer = format!(
        "{shown} has format 2, this release reads 1: start the newer release again, or restore a \
         backup made before the upgrade"
    );
    let body = Version::read(data)?;
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("a newer format", resealed(&good, "\"format\": 1", "\"format\": 2")?, &newer),
        (
            "a far newer format",
            resealed(&good, "\"format\": 1", "\"format\": 9999999999")?,
            "before the upgrade",
        ),
        ("a field nobody knows", resealed(&good, "{\n", "{\n  \"colour\": \"red\",\n")?, damaged),
        ("a text for a number", resealed(&good, "\"node\": 1", "\"node\": \"one\"")?, damaged),
        ("a flipped bit", good.replace(&body.directory[..2], "zz").into_bytes(), damaged),
        ("half of it", good.as_bytes()[..good.len() / 2].to_vec(), damaged),
        ("nothing", Vec::new(), damaged),
        ("zeros", vec![0; good.len()], damaged),
        ("two megabytes", vec![b'{'; 2 << 20], damaged),
    ];
    for (name, bytes, sentence) in cases {
        std::fs::write(&path, &bytes)?;
        is_refused(1, data, sentence).await.context(name)?;
        ensure!(std::fs::read(&path)? == bytes, "{name}: the file was written over");
    }
    std::fs::remove_file(&path)?;
    let missing = "but no VERSION file: restore the file, or move the data away to start with an \
                   empty directory";
    is_refused(1, data, missing).await.context("no VERSION")?;
    ensure!(!path.exists(), "a new identity was made up");
    std::fs::write(&path, good)?;
    Ok(())
}

#[tokio::test]
async fn what_is_no_directory_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory")?;
    is_refused(1, &file, "LOCK: Not a directory (os error 20)").await.context("a file")?;
    is_refused(1, &file.join("data"), "Not a directory (os error 20)")
        .await
        .context("below a file")?;
    ensure!(std::fs::read_to_string(&file)? == "not a directory");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_forgot_or_is_anothers_does_not_join() -> Result<()> {
    let (mut cluster, client) = cluster(3, 100).await?;
    let data = |cluster: &mut Cluster, id| cluster.node(id).dir().join("data");
    let aside = tempfile::tempdir()?;

    // Wiped: it would come back without its votes under its old name.
    let (two, three) = (data(&mut cluster, 2), data(&mut cluster, 3));
    cluster.node(3).kill()?;
    let kept = aside.path().join("kept");
    copy(&three, &kept)?;
    std::fs::remove_dir_all(&three)?;
    let wiped = ["node 3 is known with data directory", "it was wiped or swapped"];
    gives_up(&mut cluster, 3, &wiped).await.context("wiped")?;
    publish(&client, 100..150).await.context("the others go on without it")?;
    std::fs::remove_dir_all(&three)?;
    std::fs::rename(&kept, &three)?;
    recover(&mut cluster).await.context("on its own directory again")?;

    // Swapped: each finds the other's name.
    cluster.node(2).kill()?;
    cluster.node(3).kill()?;
    swap(&two, &three, aside.path())?;
    gives_up(&mut cluster, 2, &["belongs to node 3, this is node 2"]).await.context("swapped")?;
    gives_up(&mut cluster, 3, &["belongs to node 2, this is node 3"]).await.context("swapped")?;
    swap(&two, &three, aside.path())?;
    recover(&mut cluster).await.context("swapped back")?;

    holds(&client, 150).await
}

pub(crate) fn swap(one: &Path, two: &Path, aside: &Path) -> Result<()> {
    let between = aside.join("between");
    std::fs::rename(one, &between)?;
    std::fs::rename(two, one)?;
    std::fs::rename(&between, two)?;
    Ok(())
}
