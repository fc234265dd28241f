//! `quipu cluster upgrade`. Nodes pass for those of the next release by a bend: they have one format
//! level more.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_testkit::{Cluster, until};

use crate::quipu::{Ended, Operator};

const NEXT: &str = "bend.level.next=return";
const WAIT: Duration = Duration::from_secs(60);

async fn restart(cluster: &mut Cluster, node: u64, is_next: bool) -> Result<()> {
    cluster.node(node).terminate(WAIT).await?;
    if is_next {
        cluster.node(node).arm(NEXT);
    }
    cluster.node(node).start()?;
    cluster.wait_healthy().await
}

fn level_of(node: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(node.join("data/VERSION"))?;
    let (body, _) = text.rsplit_once("crc32c ").context("no checksum")?;
    let body: serde_json::Value = serde_json::from_str(body)?;
    body["level"].as_u64().with_context(|| format!("no level in {body}"))
}

struct Bench {
    cluster: Cluster,
    operator: Operator,
}

impl Bench {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start().await?;
        let operator = Operator::of(&cluster)?;
        Ok(Self { cluster, operator })
    }

    async fn status(&self) -> Result<serde_json::Value> {
        let words = ["cluster", "upgrade", "status", "-o", "json"];
        self.operator.run(&words).await?.good()?.json()
    }

    async fn finalize(&self) -> Result<Ended> {
        self.operator.run(&["cluster", "upgrade", "finalize", "--yes", "-o", "json"]).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_is_finalized_once_all_have_it_and_keeps_the_old_release_out() -> Result<()> {
    let mut bench = Bench::start().await?;
    let status = bench.status().await?;
    ensure!(status["finalized_level"] == 1 && status["newest_level"] == 1, "{status}");
    let nothing = bench.finalize().await?.good()?.json()?;
    ensure!(nothing["before"] == 1 && nothing["level"] == 1, "{nothing}");

    restart(&mut bench.cluster, 1, true).await?;
    let status = bench.status().await?;
    ensure!(status["newest_level"] == 2 && status["can_finalize"] == false, "{status}");
    ensure!(status["behind"] == serde_json::json!([2, 3]), "{status}");
    let refused = bench.finalize().await?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("QP1705"), "{refused:?}");
    ensure!(refused.stderr.contains("node 2 has level 1, node 3 has level 1"), "{refused:?}");

    // The way back is open until then.
    restart(&mut bench.cluster, 1, false).await?;
    ensure!(bench.status().await?["newest_level"] == 1);
    for node in [1, 2, 3] {
        restart(&mut bench.cluster, node, true).await?;
    }
    ensure!(bench.status().await?["can_finalize"] == true);
    let words = ["cluster", "upgrade", "finalize", "--dry-run"];
    let dry = bench.operator.run(&words).await?.good()?;
    ensure!(bench.status().await?["finalized_level"] == 1, "{dry:?}");
    let done = bench.finalize().await?.good()?.json()?;
    ensure!(done["before"] == 1 && done["level"] == 2, "{done}");
    let again = bench.finalize().await?.good()?.json()?;
    ensure!(again["before"] == 2 && again["level"] == 2, "{again}");
    for node in [1, 2, 3] {
        let dir = bench.cluster.node(node).dir().to_owned();
        until("VERSION to name it", WAIT, async || {
            let found = level_of(&dir)?;
            ensure!(found == 2, "node {node}: {found}");
            Ok(())
        })
        .await?;
    }

    // By its directory, before it reads anything else.
    bench.cluster.node(2).terminate(WAIT).await?;
    bench.cluster.node(2).start()?;
    let ended = bench.cluster.node(2).wait_exit(WAIT).await?;
    ensure!(!ended.success());
    let log = bench.cluster.node(2).log();
    let sentence = "says that the cluster is finalized at format level 2, this release reads and \
                    writes level 1: start the node with a release that has level 2";
    ensure!(log.contains(sentence), "{log}");
    bench.cluster.node(2).arm(NEXT);
    bench.cluster.node(2).start()?;
    bench.cluster.wait_healthy().await?;

    // By the cluster, where the directory does not know: a new node of the old release.
    let new = bench.cluster.add_node()?;
    let ended = bench.cluster.node(new).wait_exit(WAIT).await?;
    ensure!(!ended.success());
    let log = bench.cluster.node(new).log();
    let sentence = format!(
        "the cluster is finalized at format level 2, node {new} reads and writes level 1: start it \
         with a release that has level 2"
    );
    ensure!(log.contains(&sentence), "{log}");
    Ok(())
}
