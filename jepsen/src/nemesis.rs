//! Breaks the cluster by a plan and takes everything back, writing both into the history.
//!
//! A fault is a file with one type behind [`Fault`], and has a [`Kind`] in a family. What is not
//! there yet has its family's name reserved.

mod clients;
mod clock;
mod disk_error;
mod disk_full;
mod duplicate;
mod kill;
mod kind;
mod limits;
mod loss;
mod lost_writes;
mod membership;
mod memory;
mod packets;
mod part_kill;
mod partition;
mod pause;
mod plan;
mod power;
mod remarks;
mod rolling;
mod rot;
mod slow;
mod slow_disk;
mod swapped;
mod wiped;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use quipu_runtime::Rng;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::history::{Event, Fault as FaultLine, Recorder, Stage};
use crate::say::say;
pub use kind::{Kind, Needs, UnknownFault};
pub use plan::{Plan, Step};
pub(crate) use remarks::Remarks;
use world::{Hit, World};

/// How often processes are looked at that may have ended by themselves.
const LOOK: Duration = Duration::from_millis(500);
/// How long after its end a fault excuses the end of a node: an error may be on its way.
const AFTERMATH: Duration = Duration::from_secs(5);

/// Nodes by the number of partitions under load that they lead.
pub(crate) type Leads = BTreeMap<u64, usize>;

/// One fault. It is healed once, even when its start failed half-way.
pub(crate) trait Fault: fmt::Debug + Send {
    /// Does it; resolves once it took effect.
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>>;

    /// Takes it back.
    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>>;
}

/// A fault that lasts.
#[derive(Debug)]
struct Active {
    step: Step,
    fault: Box<dyn Fault>,
    hit: Hit,
}

/// Breaks the cluster by a plan.
#[derive(Debug)]
pub(crate) struct Nemesis {
    recorder: Recorder,
    leads: watch::Receiver<Leads>,
    active: Vec<Active>,
    /// When faults that may end nodes were taken back, and from whom.
    lately: Vec<(Instant, Hit)>,
    remarks: Remarks,
}

impl Nemesis {
    pub(crate) fn new(recorder: Recorder, leads: watch::Receiver<Leads>) -> Self {
        let (active, lately, remarks) = (Vec::new(), Vec::new(), Remarks::default());
        Self { recorder, leads, active, lately, remarks }
    }

    /// Goes through a plan; at the end everything is taken back. Gives what is to be said of it.
    pub(crate) async fn follow(mut self, plan: &Plan, cluster: &mut Cluster) -> Result<Remarks> {
        let begun = Instant::now();
        for step in plan.steps() {
            self.wait(begun + step.at, begun, cluster).await?;
            self.begin(*step, begun, cluster).await;
        }
        let last = plan.steps().iter().map(|step| step.until).max().unwrap_or_default();
        self.wait(begun + last, begun, cluster).await?;
        self.watch_over(cluster)?;
        cluster.start_all()?;
        Ok(self.remarks)
    }

    /// Waits for a moment; ends what is due until then and starts nodes that died.
    async fn wait(&mut self, until: Instant, begun: Instant, cluster: &mut Cluster) -> Result<()> {
        loop {
            self.watch_over(cluster)?;
            let due = self.active.iter().map(|active| begun + active.step.until).min();
            let next = due.map_or(until, |due| due.min(until));
            if Instant::now() < next {
                tokio::time::sleep_until(next.min(Instant::now() + LOOK)).await;
                continue;
            }
            let ended = self.active.iter().position(|it| begun + it.step.until <= next);
            match ended {
                Some(place) => self.end(place, cluster).await?,
                None => return Ok(()),
            }
        }
    }

    async fn begin(&mut self, step: Step, begun: Instant, cluster: &mut Cluster) {
        let out = self.out();
        let leads = self.leads.borrow().clone();
        let mut fault = step.kind.fault();
        let rng = Rng::seeded(step.seed);
        let remarks = &mut self.remarks;
        let mut world = World { cluster, leads: &leads, out: &out, rng, remarks };
        let hit = match fault.start(&mut world).await {
            Ok(hit) => hit,
            Err(error) => {
                say(&format!("{:>5.1} s  {} failed: {error:#}", seconds(begun), step.kind));
                Hit::default()
            }
        };
        say(&format!("{:>5.1} s  {}: {}", seconds(begun), step.kind, hit.words));
        self.note((step.kind, Stage::Injected), &hit, &leads, cluster);
        self.active.push(Active { step, fault, hit });
    }

    async fn end(&mut self, place: usize, cluster: &mut Cluster) -> Result<()> {
        let Active { step, mut fault, hit } = self.active.swap_remove(place);
        let (out, leads) = (self.out(), self.leads.borrow().clone());
        let rng = Rng::seeded(step.seed);
        let remarks = &mut self.remarks;
        fault.heal(&mut World { cluster, leads: &leads, out: &out, rng, remarks }).await?;
        self.note((step.kind, Stage::Healed), &hit, &leads, cluster);
        self.lately.retain(|(ended, _)| ended.elapsed() < AFTERMATH);
        if step.kind.may_end_nodes() {
            self.lately.push((Instant::now(), hit));
        }
        Ok(())
    }

    /// Nodes that faults keep from their work.
    fn out(&self) -> BTreeSet<u64> {
        self.active.iter().flat_map(|active| active.hit.out.iter().copied()).collect()
    }

    fn note(&self, (kind, stage): (Kind, Stage), hit: &Hit, leads: &Leads, cluster: &Cluster) {
        let all = cluster.ids().len();
        let out = self.out().union(&hit.out).count();
        self.recorder.observe(
            None,
            Event::Fault(FaultLine {
                name: kind.name().to_owned(),
                stage,
                nodes: hit.nodes.clone(),
                bit: hit.bit,
                leader: hit.nodes.iter().any(|node| leads.contains_key(node)),
                no_majority: all - out <= all / 2,
            }),
        );
    }

    /// Starts nodes again that ended by themselves.
    fn watch_over(&mut self, cluster: &mut Cluster) -> Result<()> {
        let active = self.active.iter().filter(|active| active.step.kind.may_end_nodes());
        let active: BTreeSet<u64> =
            active.flat_map(|active| active.hit.nodes.iter().copied()).collect();
        let lately = self.lately.iter().filter(|(ended, _)| ended.elapsed() < AFTERMATH);
        let lately: BTreeSet<u64> = lately.flat_map(|(_, hit)| hit.nodes.iter().copied()).collect();
        for node in cluster.nodes_mut() {
            if !node.has_died() {
                continue;
            }
            let words = format!("node {} ended by itself: {}", node.id(), node.end());
            say(&words);
            if active.contains(&node.id()) {
                // It is started again when the fault is taken back.
                self.remarks.notes.push(words);
            } else if lately.contains(&node.id()) {
                self.remarks.notes.push(words);
                node.start()?;
            } else {
                self.remarks.deaths.push(format!("{words}\n{}", node.last_words()));
                node.start()?;
            }
        }
        Ok(())
    }
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}
