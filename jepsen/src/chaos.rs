//! One run: load, faults, healing, final reads, verdict.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use quipu_client::Client;

use crate::checker::{Checker, Report, Verdict};
use crate::cluster::{Cluster, Gear, Lab};
use crate::figures::Figures;
use crate::history::{Event, Limits, Phase, Reader, Recorder, Start};
use crate::nemesis::{Kind, Needs, Nemesis, Plan, Remarks};
use crate::page;
use crate::say::say;
use crate::workload::{self, Workload};

/// How long the load goes on after everything was taken back.
const AFTERMATH: Duration = Duration::from_secs(4);
/// How long the history may take to be complete on disk.
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// Records that are acknowledged in a second, at least: what two busy cores do.
const ACKED_PER_SECOND: u64 = 166;

/// What is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides the plan, and everything else that is left to chance.
    pub seed: u64,
    /// How long load and faults last.
    pub time: Duration,
    /// Nodes.
    pub nodes: u64,
    /// The faults to draw from; those that the machine cannot do are left out.
    pub kinds: Vec<Kind>,
    /// Where the directory of the run is made; its name is the seed.
    pub dir: PathBuf,
    /// A network per node; without one all are on loopback.
    pub lab: Option<Lab>,
    /// Keeps what the nodes stored.
    pub keep: bool,
    /// Deletes the history of a valid run.
    pub lean: bool,
    /// Appends in a second, of all producers together, at most.
    pub rate: u32,
}

/// What came out.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    /// The directory of the run.
    pub dir: PathBuf,
    /// Decided the run.
    pub seed: u64,
    /// How long load and faults lasted.
    pub seconds: u64,
    /// What the checker says.
    pub report: Report,
    /// What the faults cost.
    pub figures: Figures,
    /// What nodes did that no fault excuses, in words: they ended, or went on where they had to
    /// end.
    pub deaths: Vec<String>,
    /// What they did that is excused: how they ended or refused.
    pub notes: Vec<String>,
}

impl Outcome {
    /// The checker's verdict; a node that ended by itself makes it invalid.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.deaths.is_empty() { self.report.verdict } else { Verdict::Invalid }
    }
}

/// Runs once.
///
/// # Errors
/// When the cluster does not start or heal, or the history cannot be written: the run proves
/// nothing then. What there is of it stays in its directory.
pub async fn run(options: &Options) -> Result<Outcome> {
    let dir = options.dir.join(options.seed.to_string());
    if dir.exists() {
        bail!("{} exists already: delete it, or take another seed", dir.display());
    }
    std::fs::create_dir_all(&dir)?;
    let kinds = possible(options);
    let plan = Plan::draw(options.seed, options.time, &kinds);
    let history = dir.join("history.jsonl");
    let start = Start { limits: limits(options, &plan), ..Start::named(&name(options)) };
    let (recorder, recording) = Recorder::create(&history, start)?;
    let lab = options.lab.clone();
    let mut cluster = Cluster::lay_out(&dir, options.nodes, lab, gear(&kinds))?;
    let remarks = load(&mut cluster, &plan, &recorder, options).await?;
    drop(recorder);
    let written = tokio::task::spawn_blocking(move || recording.finish());
    let written = tokio::time::timeout(WRITE_WAIT, written).await;
    written.context("somebody still holds the recorder")???;
    let outcome = judge(&history, dir, options, remarks)?;
    if outcome.verdict() == Verdict::Valid {
        if !options.keep {
            cluster.remove()?;
        }
        if options.lean {
            std::fs::remove_file(&history)?;
        }
    }
    Ok(outcome)
}

fn name(options: &Options) -> String {
    let kinds: Vec<&str> = options.kinds.iter().map(|kind| kind.name()).collect();
    format!("seed {} with {}", options.seed, kinds.join(", "))
}

/// The faults that this machine can do; the others are said.
fn possible(options: &Options) -> Vec<Kind> {
    let wants_clocks = options.kinds.iter().any(|kind| kind.needs() == Needs::Clocks);
    let clocks_obstacle = wants_clocks.then(Gear::clocks_obstacle).flatten();
    if let Some(why) = &clocks_obstacle {
        say(&format!("no clock can be wrong: {why}"));
    }
    let can = |kind: &Kind| {
        let has = match kind.needs() {
            Needs::Nothing => true,
            Needs::Lab => options.lab.is_some(),
            Needs::Iptables => options.lab.is_some() && Lab::has_iptables(),
            Needs::Layers => options.lab.is_some() && Gear::layers_obstacle().is_none(),
            Needs::Clocks => clocks_obstacle.is_none(),
        };
        has && kind.fits(options.nodes)
    };
    let (possible, left_out): (Vec<Kind>, Vec<Kind>) = options.kinds.iter().partition(|it| can(it));
    if !left_out.is_empty() {
        let names: Vec<&str> = left_out.iter().map(|kind| kind.name()).collect();
        say(&format!("LEFT OUT, not possible here: {}", names.join(", ")));
    }
    possible
}

/// What nodes need for some faults.
fn gear(kinds: &[Kind]) -> Gear {
    let has = |needs| kinds.iter().any(|kind| kind.needs() == needs);
    Gear { has_clocks: has(Needs::Clocks), has_layers: has(Needs::Layers) }
}

/// What a run of this length must reach to prove anything; never more than a release run.
fn limits(options: &Options, plan: &Plan) -> Limits {
    let full = Limits::default();
    let planned = u64::try_from(plan.steps().len()).unwrap_or(u64::MAX);
    let hits_leaders = plan.steps().iter().any(|step| step.kind.is_for_leaders());
    Limits {
        acked_min: full.acked_min.min(options.time.as_secs() * ACKED_PER_SECOND),
        // A fault may find nobody left to hit.
        faults_min: full.faults_min.min(planned * 2 / 3),
        leader_faults_min: full.leader_faults_min.min(u64::from(hits_leaders)),
        ..full
    }
}

async fn load(
    cluster: &mut Cluster,
    plan: &Plan,
    recorder: &Recorder,
    options: &Options,
) -> Result<Remarks> {
    cluster.start_all()?;
    cluster.wait_ready().await?;
    say(&format!("{}: {} faults planned", name(options), plan.steps().len()));
    let phase = |phase| recorder.observe(None, Event::Phase(phase));
    phase(Phase::Load);
    let end = tokio::time::Instant::now() + options.time;
    let load = Workload::start(recorder, cluster, options.seed, options.rate).await?;
    let nemesis = Nemesis::new(recorder.clone(), load.leads());
    let remarks = nemesis.follow(plan, cluster).await?;
    tokio::time::sleep_until(end).await;
    phase(Phase::Healed);
    let client = cluster.wait_ready().await?;
    tokio::time::sleep(AFTERMATH).await;
    let acked = load.acked();
    load.stop().await?;
    say(&format!("{acked} records acknowledged; reading everything once more"));
    phase(Phase::FinalReads);
    finish(recorder, cluster, &client).await?;
    phase(Phase::End);
    Ok(remarks)
}

async fn finish(recorder: &Recorder, cluster: &Cluster, client: &Client) -> Result<()> {
    workload::finish(recorder, cluster, client).await
}

/// Judges a history and writes `results.json` and `report.html` beside it.
fn judge(history: &Path, dir: PathBuf, options: &Options, remarks: Remarks) -> Result<Outcome> {
    let report = Checker::check(Reader::open(history)?)?;
    let figures = Figures::read(Reader::open(history)?)?;
    let (seed, seconds) = (options.seed, options.time.as_secs());
    let Remarks { deaths, notes } = remarks;
    let outcome = Outcome { dir, seed, seconds, report, figures, deaths, notes };
    let dir = &outcome.dir;
    std::fs::write(dir.join("results.json"), serde_json::to_vec_pretty(&outcome)?)?;
    let page = page::render(&page::Course::read(Reader::open(history)?)?, &outcome);
    std::fs::write(dir.join("report.html"), page)?;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kinds: &str, seconds: u64) -> Options {
        Options {
            seed: 1,
            time: Duration::from_secs(seconds),
            nodes: 3,
            kinds: Kind::parse(kinds).unwrap(),
            dir: PathBuf::from("runs"),
            lab: None,
            keep: false,
            lean: false,
            rate: 1_000,
        }
    }

    #[test]
    fn without_networks_only_processes_are_hit() {
        let possible = possible(&options("all", 60));
        assert!(possible.contains(&Kind::KillLeader) && possible.contains(&Kind::Rolling));
        let is_of_processes = |kind: &Kind| matches!(kind.needs(), Needs::Nothing | Needs::Clocks);
        assert!(possible.iter().all(is_of_processes), "{possible:?}");
    }

    #[test]
    fn a_short_run_must_reach_less_and_a_long_one_what_a_release_must() {
        let of = |kinds: &str, seconds: u64| {
            let options = options(kinds, seconds);
            limits(&options, &Plan::draw(1, options.time, &options.kinds))
        };
        let (short, long) = (of("kill", 30), of("all", 1200));
        assert_eq!(short.acked_min, 30 * ACKED_PER_SECOND);
        assert!((1..10).contains(&short.faults_min), "{short:?}");
        assert_eq!(long, Limits::default());
        assert_eq!(of("kill-one", 1200).leader_faults_min, 0, "no leader is aimed at");
    }
}
