//! `quipu cluster rolling-restart`: one node after the other, and the cluster serves all the time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use quipu_client::{Admin, NodeChange, NodeId};
use serde::{Deserialize, Serialize};

use super::layout::{Layout, Node};
use super::{existing, now, process};
use crate::args::RollingArgs;
use crate::doctor::views::Views;
use crate::exit::{Failure, NOT_FOUND};
use crate::{connect, output, start_point};

/// Beside `cluster.json`: what a call left to the next.
const PROGRESS: &str = "rolling-restart.json";
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(200);
/// Looks in a row that must find all well: nodes may not know of a change yet.
const CLEAR_MIN: u32 = 2;

/// What is left to do, on disk, so that another call goes on.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    /// In order; the first may have been begun.
    left: Vec<u64>,
}

/// Restarts the nodes.
pub(crate) async fn restart(args: &RollingArgs) -> anyhow::Result<()> {
    let layout = existing(&args.dir)?;
    let wait = start_point::duration(&args.timeout).context("--timeout")?;
    let path = layout.dir.join(PROGRESS);
    let mut left = begin(&layout, args, &path)?;
    let count = left.len();
    let crew = Crew { admin: admin(&layout, wait).await?, layout: &layout, wait };
    while let Some(id) = left.first().copied() {
        let node = crew.node(id)?;
        let place = count - left.len() + 1;
        let say = |words: &str| output::note(&format!("[{place}/{count}] node {id}: {words}"));
        let is_named = !args.nodes.is_empty();
        let restarted = crew.restart(node, &say).await;
        restarted.map_err(|error| stopped(&layout, node, &left, is_named, &error))?;
        left.remove(0);
        note_done(&path, id)?;
    }
    output::note("every node is back, healthy and up to date");
    Ok(())
}

/// Where to begin: with the nodes named, with those a call before left, or with all.
fn begin(layout: &Layout, args: &RollingArgs, path: &Path) -> anyhow::Result<Vec<u64>> {
    let all: Vec<u64> = layout.nodes.iter().map(|node| node.id).collect();
    if let Some(unknown) = args.nodes.iter().find(|node| !all.contains(node)) {
        let message = format!("{} has no node {unknown}", layout.dir.display());
        return Err(Failure::with_code(NOT_FOUND, message));
    }
    if !args.nodes.is_empty() {
        return Ok(args.nodes.clone());
    }
    let before = if args.again { None } else { load(path)? };
    let left = before.map(|before| before.left).unwrap_or_default();
    let left: Vec<u64> = left.into_iter().filter(|node| all.contains(node)).collect();
    let Some(first) = left.first() else {
        save(path, &Progress { left: all.clone() })?;
        return Ok(all);
    };
    output::note(&format!(
        "going on with node {first}, where the call before stopped; --again begins anew"
    ));
    Ok(left)
}

/// A node is done: whoever goes on leaves it out.
fn note_done(path: &Path, node: u64) -> anyhow::Result<()> {
    let Some(mut progress) = load(path)? else { return Ok(()) };
    progress.left.retain(|left| *left != node);
    if progress.left.is_empty() {
        return std::fs::remove_file(path).with_context(|| format!("remove {}", path.display()));
    }
    save(path, &progress)
}

fn load(path: &Path) -> anyhow::Result<Option<Progress>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("read {}; remove it to begin anew", path.display()))
            .map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn save(path: &Path, progress: &Progress) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(progress)?;
    quipu_disk::write_atomic(quipu_disk::real().as_ref(), path, &text)
        .with_context(|| format!("write {}", path.display()))
}

/// A client of the cluster; a node that was left stopped by a call before may be the one it lacks.
async fn admin(layout: &Layout, wait: Duration) -> anyhow::Result<Admin> {
    if layout.nodes.iter().all(|node| process::find(node).is_none()) {
        bail!(
            "no node of {} runs: start them with `quipu local up --nodes {} --dir {}`",
            layout.dir.display(),
            layout.nodes.len(),
            layout.dir.display()
        );
    }
    let servers = layout.servers();
    until("the cluster to answer", wait, async || Ok(connect::to(&servers).await?.admin())).await
}

/// What a person needs to know when it does not go on.
fn stopped(
    layout: &Layout,
    node: &Node,
    left: &[u64],
    is_named: bool,
    error: &anyhow::Error,
) -> anyhow::Error {
    let named: Vec<String> = left.iter().map(u64::to_string).collect();
    let flags: String = named.iter().map(|node| format!(" --node {node}")).collect();
    anyhow::anyhow!(
        "node {id}: {error:#}\nstopped here; left are nodes {}, the others are done or were not \
         touched. Look at {}; once the reason is gone, go on with it: quipu cluster \
         rolling-restart --dir {}{}. If node {id} is drained, that ends by itself, or with `quipu \
         node undrain {id}`",
        named.join(", "),
        node.log().display(),
        layout.dir.display(),
        if is_named { &flags } else { "" },
        id = node.id
    )
}

/// Who restarts nodes.
struct Crew<'a> {
    admin: Admin,
    layout: &'a Layout,
    /// How long each step may take.
    wait: Duration,
}

impl Crew<'_> {
    fn node(&self, id: u64) -> anyhow::Result<&Node> {
        let node = self.layout.nodes.iter().find(|node| node.id == id);
        node.with_context(|| format!("{} has no node {id}", self.layout.dir.display()))
    }

    /// One node: drained, stopped, started, caught up, back to work.
    async fn restart(&self, node: &Node, say: &dyn Fn(&str)) -> anyhow::Result<()> {
        let others: Vec<&Node> = self.layout.nodes.iter().filter(|it| it.id != node.id).collect();
        for other in &others {
            let (id, dir) = (other.id, self.layout.dir.display());
            ensure!(
                process::find(other).is_some(),
                "node {id} does not run: with this one down as well too few might be left. Start \
                 it: quipu local start {id} --dir {dir}"
            );
        }
        if process::find(node).is_some() {
            say("waiting until the other nodes can do without it");
            let mut target = None;
            until("the other nodes to be well", self.wait, async || {
                self.others_are_well(node.id, &mut target).await
            })
            .await?;
            if !others.is_empty() {
                say("draining");
                self.drain(node.id).await?;
            }
            say("stopping");
            self.stop(node).await?;
        }
        say("starting");
        process::start(node)?;
        say("catching up");
        let mut target = None;
        until("it to be healthy and caught up", self.wait, async || {
            ensure_runs(node)?;
            self.is_back(node.id, &mut target).await
        })
        .await?;
        if !others.is_empty() {
            self.admin.change_node(NodeId::new(node.id), NodeChange::Activate).await?;
        }
        say("back");
        Ok(())
    }

    /// Whether the others answer, hear each other, and have what was committed at the first look.
    async fn others_are_well(&self, node: u64, target: &mut Target) -> anyhow::Result<()> {
        let views = Views::collect(&self.admin).await?;
        let committed = target.get_or_insert_with(|| views.committed());
        for other in self.layout.nodes.iter().map(|it| it.id).filter(|other| *other != node) {
            ensure!(views.is_heard(other), "node {other} does not answer");
            let behind = views.behind(other, committed);
            let behind = behind.with_context(|| format!("node {other} does not answer"))?;
            ensure!(behind.is_empty(), "node {other} lacks {}", told(&behind));
        }
        Ok(())
    }

    async fn drain(&self, node: u64) -> anyhow::Result<()> {
        // It ends by itself, should nobody call the node back.
        let span = (4 * self.wait).max(Duration::from_secs(60));
        self.admin.change_node(NodeId::new(node), NodeChange::Drain(span)).await?;
        until("its leaderships to leave", self.wait, async || {
            let cluster = self.admin.describe_cluster().await?;
            let leads = cluster.shards.iter();
            // A shard of one replica has nowhere to go.
            let leads = leads.filter(|it| it.leader == Some(node) && it.replicas.len() > 1).count();
            ensure!(leads == 0, "it leads {leads} shards still");
            ensure!(cluster.shards.iter().all(|it| it.leader.is_some()), "an election runs");
            Ok(())
        })
        .await
    }

    async fn stop(&self, node: &Node) -> anyhow::Result<()> {
        process::terminate(node)?;
        until("it to stop", self.wait, async || {
            let pid = process::find(node);
            ensure!(
                pid.is_none(),
                "process {} runs still; it may be ended with `quipu local kill {} --dir {}`",
                pid.unwrap_or_default(),
                node.id,
                self.layout.dir.display()
            );
            Ok(())
        })
        .await
    }

    /// Whether the node calls the cluster healthy, and has what was committed when it first
    /// answered.
    async fn is_back(&self, node: u64, target: &mut Target) -> anyhow::Result<()> {
        let views = Views::collect(&self.admin).await?;
        let Some(own) = views.answers.get(&node) else {
            bail!("{}", views.silent.get(&node).map_or("it is not known yet", String::as_str));
        };
        ensure!(own.cluster.is_healthy, "{}", own.cluster.problems.join("; "));
        ensure!(views.is_heard(node), "the other nodes do not hear it yet");
        let committed = target.get_or_insert_with(|| views.committed());
        let behind = views.behind(node, committed).unwrap_or_default();
        ensure!(behind.is_empty(), "it lacks {}", told(&behind));
        Ok(())
    }
}

/// How far the shards' leaders were when it was first looked.
type Target = Option<BTreeMap<u32, u64>>;

fn told(behind: &BTreeMap<u32, u64>) -> String {
    let told = behind.iter().map(|(shard, lacks)| format!("{lacks} entries of shard {shard}"));
    told.collect::<Vec<_>>().join(", ")
}

fn ensure_runs(node: &Node) -> anyhow::Result<()> {
    if process::find(node).is_some() {
        return Ok(());
    }
    Err(Gone(format!("its process ended; the end of its log:\n{}", node.log_tail())).into())
}

/// Waiting longer helps nobody.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Gone(String);

/// Looks until all is well several times in a row, at most for so long.
async fn until<T>(
    what: &str,
    wait: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let begun: Instant = now();
    let mut clear = 0;
    loop {
        match look().await {
            Ok(seen) => {
                clear += 1;
                if clear >= CLEAR_MIN {
                    return Ok(seen);
                }
            }
            Err(error) if error.is::<Gone>() => return Err(error),
            Err(error) => {
                clear = 0;
                if begun.elapsed() > wait {
                    return Err(error.context(format!("waited {wait:?} for {what}")));
                }
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(nodes: &[u64], again: bool) -> RollingArgs {
        let (dir, timeout) = (std::path::PathBuf::new(), "1m".to_owned());
        RollingArgs { dir, nodes: nodes.to_vec(), again, timeout }
    }

    fn left(layout: &Layout, nodes: &[u64], again: bool) -> Vec<u64> {
        let path = layout.dir.join(PROGRESS);
        begin(layout, &args(nodes, again), &path).expect("nodes of the cluster")
    }

    #[test]
    fn a_call_goes_on_where_the_one_before_stopped() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::create(dir.path(), 3, None, &[]).expect("a layout");
        let path = layout.dir.join(PROGRESS);
        assert_eq!(left(&layout, &[], false), [1, 2, 3]);
        note_done(&path, 1).expect("noted");
        assert_eq!(left(&layout, &[], false), [2, 3]);
        assert_eq!(left(&layout, &[3], false), [3], "as named");
        note_done(&path, 3).expect("noted");
        assert_eq!(left(&layout, &[], false), [2], "the named one is done for the others too");
        assert_eq!(left(&layout, &[], true), [1, 2, 3], "anew");
        for node in [1, 2, 3, 3] {
            note_done(&path, node).expect("noted");
        }
        assert!(!path.exists());
        let unknown = begin(&layout, &args(&[4], false), &path).expect_err("no such node");
        assert!(unknown.to_string().ends_with("has no node 4"), "{unknown}");
        std::fs::write(&path, "{").expect("write");
        let damaged = begin(&layout, &args(&[], false), &path).expect_err("damaged");
        assert!(damaged.to_string().contains("remove it to begin anew"), "{damaged}");
    }

    #[tokio::test]
    async fn a_look_must_be_clear_several_times_and_a_dead_node_ends_the_wait() {
        let mut looks = [true, false, true, true].into_iter();
        let mut taken = 0;
        let seen = until("it", Duration::from_secs(60), async || {
            taken += 1;
            ensure!(looks.next().expect("no look too many"), "not yet");
            Ok(7)
        });
        assert_eq!(seen.await.expect("clear in the end"), 7);
        assert_eq!(taken, 4);
        let gone = until::<()>("it", Duration::from_secs(60), async || {
            Err(Gone("its process ended".to_owned()).into())
        });
        assert_eq!(gone.await.expect_err("gone").to_string(), "its process ended");
        let late = until::<()>("it", Duration::ZERO, async || bail!("not yet"));
        let late = format!("{:#}", late.await.expect_err("late"));
        assert_eq!(late, "waited 0ns for it: not yet");
    }
}
