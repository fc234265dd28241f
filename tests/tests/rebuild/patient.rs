//! What is asked of the node that was damaged.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_testkit::until;

use crate::damage::{Damage, quarantines};
use crate::field::{Field, MOVE_WAIT};

/// Ids of nodes end below; new replicas have ids above.
const REPLICA_ID_FIRST: u64 = 1 << 32;
/// How long a node may ask before it gives up, and longer.
const GIVE_UP_WAIT: Duration = Duration::from_secs(90);

/// The node that leads the fewest shards.
pub(crate) async fn leads_least(field: &Field) -> Result<u64> {
    let led = led(field).await?;
    led.into_iter().min_by_key(|(_, led)| *led).map(|(node, _)| node).context("nodes")
}

/// The node that leads most but one.
pub(crate) async fn busiest(field: &Field, but: u64) -> Result<u64> {
    let led = led(field).await?.into_iter().filter(|(node, _)| *node != but);
    led.max_by_key(|(_, led)| *led).map(|(node, _)| node).context("nodes")
}

async fn led(field: &Field) -> Result<BTreeMap<u64, usize>> {
    let cluster = field.admin().describe_cluster().await?;
    let mut led: BTreeMap<u64, usize> =
        cluster.nodes.iter().map(|node| (node.node_id, 0)).collect();
    for leader in cluster.shards.iter().filter_map(|shard| shard.leader) {
        *led.entry(leader).or_default() += 1;
    }
    Ok(led)
}

/// Waits until the node holds all its replicas again; gives its id in the metadata group.
pub(crate) async fn is_rebuilt(field: &mut Field, damage: &Damage) -> Result<u64> {
    let node = damage.node;
    until("a rebuilt node", MOVE_WAIT, async || {
        let cluster = field.admin().describe_cluster().await?;
        ensure!(cluster.problems.is_empty(), "{:?}", cluster.problems);
        let moving = cluster.shards.iter().find(|shard| !shard.leaving.is_empty());
        ensure!(moving.is_none(), "{moving:?}");
        Ok(())
    })
    .await
    .with_context(|| field.cluster.tails())?;
    field.cluster.wait_healthy().await?;
    let data = field.cluster.node(node).dir().join("data");
    let version = std::fs::read_to_string(data.join("VERSION"))?;
    let (json, _) = version.trim_end().rsplit_once('\n').context("a line with a checksum")?;
    let version: serde_json::Value = serde_json::from_str(json)?;
    ensure!(version.get("rebuild").is_none(), "it has not ended: {version}");
    let replica = version["replica"].as_u64().with_context(|| format!("no new id: {version}"))?;
    ensure!(replica >= REPLICA_ID_FIRST, "{version}");

    let folders = quarantines(&data)?;
    ensure!(folders.len() == damage.quarantines + 1, "{folders:?}");
    let folder = folders.last().context("a folder")?;
    for name in ["journal", "meta", "partitions"] {
        ensure!(std::fs::read_dir(folder.join(name))?.next().is_some(), "{name} is empty");
    }
    let reason = std::fs::read_to_string(folder.join("REASON"))?;
    ensure!(reason.contains("damaged"), "{reason}");

    let log = field.cluster.node(node).log().split_off(damage.log);
    let opened: Vec<u64> = log
        .lines()
        .filter(|line| line.contains("opened a shard"))
        .map(|line| {
            let id = line.split("replica=").nth(1).and_then(|rest| rest.split(' ').next());
            Ok(id.with_context(|| line.to_owned())?.parse()?)
        })
        .collect::<Result<_>>()?;
    ensure!(!opened.is_empty(), "it opened nothing: {log}");
    // A run before it asked in earnest may have been with the old ones: there is none, for it
    // was damaged from its first start on.
    ensure!(opened.iter().all(|id| *id > REPLICA_ID_FIRST), "{opened:?}");
    let last = opened.iter().rev().take(field.admin().describe_cluster().await?.shards.len() - 1);
    let last: Vec<u64> = last.copied().collect();
    ensure!(last.iter().all(|id| *id > replica), "{replica} and {last:?}");
    field.goes_on().await?;
    Ok(replica)
}

/// The node ends by itself, and its last line has all of these words.
pub(crate) async fn gives_up(field: &mut Field, node: u64, words: &[&str]) -> Result<()> {
    let process = field.cluster.node(node);
    let status = process.wait_exit(GIVE_UP_WAIT).await;
    let log = process.log();
    let last = log.lines().last().unwrap_or_default();
    let status = status.with_context(|| last.to_owned())?;
    ensure!(status.code() == Some(1), "{status}: {last}");
    for word in words {
        ensure!(last.contains(word), "wanted {word:?}: {last}");
    }
    Ok(())
}
