//! A file of a stopped node rots: bits flip, its end is missing, chunks of it change places. It must
//! be noticed and never be served; the node may refuse to start. Undamaged bytes come back at the
//! end, where the node has not written over the damage.

mod damage;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use quipu_client::{ErrorCode, NodeId};
use quipu_testkit::until;

use super::kill::{kill_at_once, start_again};
use super::{Fault, Hit, World};
use crate::cluster::connect;
use damage::Damage;

/// How long a node may take to look at its files.
const LOOK_WAIT: Duration = Duration::from_secs(5);

/// How long a node may take until it reads a partition.
const READ_WAIT: Duration = Duration::from_secs(4);

/// How long damage may take until it is noticed or written over: longer than until a checkpoint.
const NOTICE_WAIT: Duration = Duration::from_secs(20);

/// What kind of file rots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Journal,
    Segment,
    Index,
    Table,
}

/// Damage in one file of one node.
#[derive(Debug)]
pub(super) struct Rot {
    target: Target,
    hit: Option<u64>,
    damage: Option<Damage>,
}

impl Rot {
    pub(super) const fn of(target: Target) -> Self {
        Self { target, hit: None, damage: None }
    }
}

impl Rot {
    /// What a node that runs says of the damage when it is read. Who reads over a damaged segment
    /// would serve it; what it did not trust at its start it writes anew.
    async fn notice(&self, node: u64, world: &mut World<'_>) -> Vec<String> {
        let Some(damage) = &self.damage else { return Vec::new() };
        let is_segment = self.target == Target::Segment;
        // Among other faults nobody may get an answer at all, which proves nothing.
        let is_read_over = AtomicBool::new(false);
        let noticed = until("the damage to be noticed", NOTICE_WAIT, || async {
            let told = probe(node, world).await?;
            let silent = is_segment && told.is_empty() && damage.is_there();
            is_read_over.store(silent, Ordering::Relaxed);
            ensure!(!silent, "not yet");
            Ok(told)
        });
        noticed.await.unwrap_or_else(|error| {
            if is_read_over.load(Ordering::Relaxed) {
                world.remarks.deaths.push(format!("node {node} reads over {damage}"));
            }
            vec![format!("{error:#}")]
        })
    }
}

impl Target {
    fn draw(self, node: u64, world: &mut World<'_>) -> Result<Damage> {
        let mut found = files(&world.cluster.node(node)?.data())?;
        // What was put aside when the node was rebuilt is read by nobody.
        found.retain(|path| self.is(path) && !is_below(path, "quarantine"));
        while !found.is_empty() {
            let place = usize::try_from(world.rng.below(u64::try_from(found.len())?))?;
            if let Some(damage) = Damage::draw(&found.swap_remove(place), &mut world.rng)? {
                return Ok(damage);
            }
        }
        bail!("node {node} has no such file")
    }

    fn is(self, path: &Path) -> bool {
        let ends = |ends: &[&str]| {
            path.extension().is_some_and(|found| ends.iter().any(|end| found == *end))
        };
        match self {
            Self::Journal => ends(&["journal"]),
            Self::Segment => ends(&["log"]) && is_below(path, "partitions"),
            Self::Index => ends(&["index", "timeindex"]),
            Self::Table => ends(&["sst"]),
        }
    }
}

impl Fault for Rot {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let node = world.any()?;
            kill_at_once(&[node], world).await?;
            self.hit = Some(node);
            let damage = self.target.draw(node, world)?;
            damage.inflict()?;
            let words = format!("{damage} of {node}");
            self.damage = Some(damage);
            let process = world.cluster.node(node)?;
            let before = process.log_length();
            process.start()?;
            if process.ends_within(LOOK_WAIT).await {
                world.note_end(node)?;
            } else {
                let mut told = world.cluster.node(node)?.complaints(before);
                told.extend(self.notice(node, world).await);
                let told = if told.is_empty() { "no word".to_owned() } else { told.join(" | ") };
                world.remarks.notes.push(format!("node {node} runs with {words}: {told}"));
            }
            Ok(Hit::out(&[node], true, words))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let Some(node) = self.hit else { return Ok(()) };
            let process = world.cluster.node(node)?;
            if process.runs() {
                process.kill()?;
            }
            if let Some(damage) = &self.damage
                && !damage.repair()?
            {
                let words = format!("node {node} wrote over {damage}");
                world.remarks.notes.push(words);
            }
            start_again(&[node], world)
        }
        .boxed()
    }
}

/// Lets a node that runs read everything it holds, and gives what it does not give out, and why. Who
/// has nothing to say of a damaged segment would serve it.
async fn probe(node: u64, world: &World<'_>) -> Result<Vec<String>> {
    let client = connect(&world.cluster.url()).await?;
    let (admin, id, mut told) = (client.admin(), NodeId::new(node), Vec::new());
    for topic in admin.list_topics().await? {
        for partition in topic.partitions.iter().filter(|it| it.replicas.contains(&node)) {
            let answer = until("a partition to be read", READ_WAIT, || async {
                match admin.partition_checksum(id, &topic.name, partition.index).await {
                    Err(error) if error.code() == Some(ErrorCode::DataCorrupt) => {
                        Ok(Some(error.to_string()))
                    }
                    answer => Ok(answer.map(|_| None)?),
                }
            });
            told.extend(answer.await.unwrap_or_else(|error| Some(format!("{error:#}"))));
        }
    }
    Ok(told)
}

fn is_below(path: &Path, folder: &str) -> bool {
    path.components().any(|it| it.as_os_str() == folder)
}

/// All files below a directory, in order of their names.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in dir.read_dir().with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
