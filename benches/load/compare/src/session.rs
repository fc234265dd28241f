//! One session: rounds over scenarios, systems in turn.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;

use crate::cluster::{Cluster, System};
use crate::generator::{Done, Job};
use crate::judge::{self, Sample};
use crate::nemesis::{self, Nemesis};
use crate::options::Options;
use crate::results::{Results, Session};
use crate::scenario::{self, Contender, Scenario, Step};
use crate::shell::{bar, run, say};
use crate::{machine, probe, progress, quiet, report, shell};

/// Does what the command line says.
pub(crate) fn session(options: Options) -> Result<()> {
    if let Some(dir) = &options.report {
        let results = Results::open(dir);
        return report::write(
            &results,
            &results.load()?,
            &scenario::all(&with_all_peers(&options)),
        );
    }
    if options.scenario == ["list"] {
        for scenario in scenario::all(&with_all_peers(&options)) {
            say(&format!("{:20} {}", scenario.name, scenario.title));
        }
        return Ok(());
    }
    ensure!(options.runs > 0 && options.seconds > 0, "--runs and --seconds must be at least 1");
    let mut scenarios = scenario::chosen(&options)?;
    if !options.no_steering && !scenarios.iter().any(|it| it.name == "physical-limit") {
        scenarios.push(steering(&options));
    }
    // Refuses before anything is started.
    quiet::check(options.even_if_busy)?;
    shell::stop_on_signals()?;
    let mut bench = Bench::new(options)?;
    let outcome = bench.rounds(&scenarios);
    // What was measured is told, even if the rest failed.
    bench.finish(&scenarios)?;
    outcome
}

fn with_all_peers(options: &Options) -> Options {
    use clap::ValueEnum;
    Options { peers: crate::options::Peer::value_variants().to_vec(), ..options.clone() }
}

/// K and k need small and large batches.
fn steering(options: &Options) -> Scenario {
    let limit = scenario::all(options).into_iter().find(|it| it.name == "physical-limit");
    let mut limit = limit.expect("it needs no peer");
    let seconds = Some(options.seconds.min(10));
    for contender in &mut limit.contenders {
        contender.steps.retain(|step| ["batch-4k", "batch-256k"].contains(&step.name));
        contender.steps.iter_mut().for_each(|step| step.seconds = seconds);
    }
    let (name, title) = ("steering".to_owned(), "K and k: small and large batches".to_owned());
    Scenario { name, title, claims: Vec::new(), ..limit }
}

struct Bench {
    options: Options,
    results: Results,
    session: Session,
    data: PathBuf,
    bar: ProgressBar,
}

impl Bench {
    fn new(options: Options) -> Result<Self> {
        let when = jiff::Zoned::now().strftime("%Y-%m-%dT%H-%M-%S").to_string();
        let results = Results::create(&options, &when)?;
        let data = data_dir(&options)?;
        say(&format!("results: {}; data: {}", results.dir().display(), data.display()));
        say("measuring what the machine can do");
        let probe = probe::probe(&data).context("measure the machine")?;
        results.write("machine/probe.json", &serde_json::to_string_pretty(&probe)?)?;
        let mut git = std::process::Command::new("git");
        let commit = run(git.args(["describe", "--always", "--dirty"])).unwrap_or_default();
        let session = Session {
            when,
            machine: machine::summary(),
            commit: commit.trim().to_owned(),
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            probe: Some(probe),
            samples: Vec::new(),
            failures: Vec::new(),
            peers: options.peers.iter().map(|peer| format!("{peer:?}").to_lowercase()).collect(),
        };
        let bar = ProgressBar::hidden();
        Ok(Self { options, results, session, data, bar })
    }

    /// Rounds are outermost, so that minutes in which the machine is slow meet every scenario's
    /// runs alike; within a round systems follow each other at once.
    fn rounds(&mut self, scenarios: &[Scenario]) -> Result<()> {
        let contenders: usize = scenarios.iter().map(|scenario| scenario.contenders.len()).sum();
        self.bar = bar(u64::from(self.options.runs) * u64::try_from(contenders)?);
        for number in 1..=self.options.runs {
            for scenario in scenarios {
                self.round(number, scenario)?;
            }
        }
        self.bar.finish_and_clear();
        Ok(())
    }

    fn round(&mut self, number: u32, scenario: &Scenario) -> Result<()> {
        for contender in &scenario.contenders {
            shell::go_on()?;
            let (scenario, name) = (&scenario.name, &contender.name);
            self.bar.set_message(format!("{scenario}: {name}, run {number}"));
            let measured = self.measure(number, scenario, contender);
            if let Err(error) = measured {
                let text = format!("{scenario}, {name}, run {number}: {error:#}");
                self.bar.suspend(|| say(&text));
                self.session.failures.push(text);
            }
            self.bar.inc(1);
            // An interrupted session keeps what it has.
            self.results.save(&self.session)?;
        }
        Ok(())
    }

    /// One system, fresh, through its steps.
    fn measure(&mut self, number: u32, scenario: &str, contender: &Contender) -> Result<()> {
        settle_disk();
        let busy = quiet::check(self.options.even_if_busy)?;
        let dir = self.data.join("servers");
        let mut cluster = Cluster::start(contender.system, &self.options, &dir)?;
        self.results.configuration(&cluster)?;
        let mut done = Done::new();
        for step in &contender.steps {
            let place = format!("runs/{scenario}/{}/{number}/{}", contender.name, step.name);
            let out = self.results.dir().join(&place);
            let (step, kills, outcome) = self.step(&mut cluster, step, &done, &out)?;
            let marks =
                judge::marks(contender.system, &outcome, busy.as_deref(), !kills.is_empty());
            let sample = Sample {
                scenario: scenario.to_owned(),
                contender: contender.name.clone(),
                system: contender.system.slug().to_owned(),
                version: cluster.version.clone(),
                step: step.name.to_owned(),
                run: number,
                record_bytes: step.record_bytes,
                partitions: step.partitions,
                kills,
                marks,
                outcome: outcome.clone(),
                dir: place,
            };
            self.tell(contender.system, &sample);
            self.session.samples.push(sample);
            done.push((step, outcome));
        }
        Ok(())
    }

    fn step(
        &self,
        cluster: &mut Cluster,
        step: &Step,
        done: &Done,
        out: &Path,
    ) -> Result<(Step, Vec<u64>, crate::outcome::Outcome)> {
        let mut step = step.clone();
        if step.kills > 0 {
            step.seconds = Some(nemesis::seconds(step.kills));
        }
        let options = &self.options;
        let job = Job { options, cluster, step: &step, done, out, data: &self.data };
        let running = job.start()?;
        // Connections and topics take a moment before load begins.
        let first_kill = Duration::from_secs(options.warm_up() + 3);
        let mut nemesis = Nemesis::new(step.kills, first_kill);
        let outcome = running.wait(|| nemesis.act(cluster));
        let outcome = outcome.with_context(|| format!("step {}{}", step.name, cluster.tails()))?;
        Ok((step, nemesis.kills, outcome))
    }

    fn tell(&self, system: System, sample: &Sample) {
        let it = &sample.outcome;
        let text = format!(
            "{} {} {} #{}: {:.0} records/s ({:.1} MB/s), publish p50 {:.2} p99 {:.2} ms, {}{}",
            sample.scenario,
            sample.contender,
            sample.step,
            sample.run,
            it.acked_per_second,
            it.acked_mb_per_second,
            it.publish.p50_ms,
            it.publish.p99_ms,
            flushes(sample),
            marked(sample),
        );
        let steering = system.is_ours().then(|| report::steering_line(sample, &self.session));
        self.bar.suspend(|| {
            say(&text);
            if let Some(line) = steering.flatten() {
                say(&format!("    {line}"));
            }
        });
    }

    fn finish(&self, scenarios: &[Scenario]) -> Result<()> {
        self.results.save(&self.session)?;
        report::write(&self.results, &self.session, scenarios)?;
        if let Some(probe) = &self.session.probe {
            let path =
                self.options.results.parent().unwrap_or_else(|| Path::new(".")).join("PROGRESS.md");
            progress::append(&path, &self.session.when, &self.session.samples, probe)?;
        }
        // Empty by now, unless the servers' directories are kept.
        drop(std::fs::remove_dir(&self.data));
        say(&format!("report: {}", self.results.dir().join("report.md").display()));
        ensure!(!self.session.samples.is_empty(), "nothing was measured");
        Ok(())
    }
}

fn flushes(sample: &Sample) -> String {
    let flushes = sample.outcome.usage.disk.as_ref().map_or(0, |disk| disk.flushes);
    let per_flush = sample.outcome.acks_per_flush();
    per_flush.map_or_else(
        || format!("{flushes} flushes"),
        |per_flush| format!("{flushes} flushes ({per_flush:.1} acks each)"),
    )
}

fn marked(sample: &Sample) -> String {
    match sample.marks.as_slice() {
        [] => String::new(),
        marks => format!(" [{}]", marks.join("; ")),
    }
}

/// What an earlier run left to be written meets no later one.
fn settle_disk() {
    rustix::fs::sync();
}

fn data_dir(options: &Options) -> Result<PathBuf> {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let base = options.data.clone().unwrap_or_else(|| home.join(".cache/quipu/bench"));
    let dir = std::path::absolute(base)?.join(std::process::id().to_string());
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn every_claim_names_a_contender_and_its_step() {
        let options = Options::parse_from(["bench", "--peers", "nats,kafka,rabbitmq,redis"]);
        let scenarios = scenario::all(&options);
        assert!(scenarios.len() > 15);
        for scenario in &scenarios {
            for claim in &scenario.claims {
                for name in std::iter::once(&claim.ours).chain(&claim.theirs) {
                    let contender = scenario.contenders.iter().find(|it| it.name == *name);
                    let steps = &contender.expect("a contender").steps;
                    assert!(steps.iter().any(|step| step.name == claim.step), "{scenario:?}");
                }
            }
        }
    }

    #[test]
    fn a_scenario_is_chosen_by_name_or_beginning() {
        let chosen = |names: &str| {
            let options = Options::parse_from(["bench", "--scenario", names]);
            scenario::chosen(&options).map(|found| found.len())
        };
        assert_eq!(chosen("nats-always-1").expect("it is there"), 1);
        assert_eq!(chosen("nats-").expect("they are there"), 5);
        assert!(chosen("kafka-default-12").is_err(), "its peer was not asked for");
    }
}
