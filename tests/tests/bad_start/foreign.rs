//! Data directories of another cluster, or of an earlier time.

use anyhow::{Context, Result, ensure};

use crate::directory::swap;
use crate::node::{cluster, copy, gives_up, holds, publish, recover};
use crate::version::{Version, resealed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_another_cluster_does_not_join() -> Result<()> {
    let (mut cluster, client) = cluster(3, 50).await?;
    let data = cluster.node(3).dir().join("data");
    cluster.node(3).kill()?;
    let path = data.join("VERSION");
    let own = std::fs::read_to_string(&path)?;
    let (ours, theirs) = (Version::read(&data)?.cluster, "11111111-2222-4333-8444-555555555555");
    std::fs::write(&path, resealed(&own, &ours, theirs)?)?;
    gives_up(&mut cluster, 3, &["WRONG_CLUSTER", &ours, theirs]).await?;
    publish(&client, 50..60).await.context("the others go on without it")?;
    std::fs::write(&path, own)?;
    recover(&mut cluster).await.context("with its own name again")?;
    holds(&client, 60).await
}

/// The directory was that of a whole cluster of one node, which needs nobody's consent to serve.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_cluster_does_not_serve_in_this_one() -> Result<()> {
    let (mut ours, client) = cluster(3, 50).await?;
    let (mut theirs, _) = cluster(1, 10).await?;
    let foreign = theirs.node(1).dir().join("data");
    theirs.node(1).kill()?;
    ours.node(1).kill()?;
    let own = ours.node(1).dir().join("data");
    let aside = tempfile::tempdir()?;
    swap(&own, &foreign, aside.path())?;
    let clusters = (Version::read(&own)?.cluster, Version::read(&foreign)?.cluster);
    ensure!(clusters.0 != clusters.1, "two clusters of one id: {clusters:?}");
    gives_up(&mut ours, 1, &["WRONG_CLUSTER", &clusters.0, &clusters.1]).await?;
    publish(&client, 50..60).await.context("the others go on without it")?;
    swap(&own, &foreign, aside.path())?;
    recover(&mut ours).await.context("on its own directory again")?;
    holds(&client, 60).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_two_starts_old_does_not_join() -> Result<()> {
    old_copy(2).await
}

/// The copy's next start has the number of the start it does not know of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_one_start_old_does_not_join() -> Result<()> {
    old_copy(1).await
}

/// What the node promised since the copy was made is not in it.
async fn old_copy(starts: usize) -> Result<()> {
    let (mut cluster, client) = cluster(3, 50).await?;
    let data = cluster.node(3).dir().join("data");
    let aside = tempfile::tempdir()?;
    cluster.node(3).kill()?;
    let old = aside.path().join("old");
    copy(&data, &old)?;
    for start in 0..starts {
        recover(&mut cluster).await?;
        let next = 50 + 10 * start;
        publish(&client, next..next + 10).await?;
        cluster.node(3).kill()?;
    }
    let newest = aside.path().join("newest");
    std::fs::rename(&data, &newest)?;
    std::fs::rename(&old, &data)?;
    gives_up(&mut cluster, 3, &["node 3", "it is an old copy"]).await.context("an old copy")?;
    std::fs::remove_dir_all(&data)?;
    std::fs::rename(&newest, &data)?;
    recover(&mut cluster).await.context("on the newest directory again")?;
    holds(&client, 50 + 10 * starts).await
}
