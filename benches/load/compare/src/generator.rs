//! Starting the load generator for one step.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::Cluster;
use crate::options::Options;
use crate::outcome::Outcome;
use crate::scenario::{Rate, Step};
use crate::shell;

const LOOK: Duration = Duration::from_millis(200);
/// Servers that fill the disk take the machine with them.
const FREE_LEAST: u64 = 3 << 30;
/// Pauses of acknowledgements worth telling when servers are killed.
const GAPS_MS: u64 = 50;
/// Seconds for what is on its way, and for readers to catch up.
const DRAIN: u64 = 60;
/// Reading what another step wrote may take much longer than writing it.
const READ_SECONDS: u64 = 1_800;

/// What came out of earlier steps of the same servers.
pub(crate) type Done = Vec<(Step, Outcome)>;

/// A step to be run.
pub(crate) struct Job<'a> {
    pub(crate) options: &'a Options,
    pub(crate) cluster: &'a Cluster,
    pub(crate) step: &'a Step,
    pub(crate) done: &'a Done,
    pub(crate) out: &'a Path,
    pub(crate) data: &'a Path,
}

/// A generator that runs.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    out: PathBuf,
    data: PathBuf,
}

impl Job<'_> {
    pub(crate) fn seconds(&self) -> u64 {
        seconds(self.step, self.options)
    }

    pub(crate) fn start(&self) -> Result<Running> {
        std::fs::create_dir_all(self.out)?;
        let words = self.words()?;
        let program = program(self.options)?;
        let line = format!("{} {}\n", program.display(), words.join(" "));
        std::fs::write(self.out.join("command"), line)?;
        let log = self.out.join("generator.log");
        let file = File::create(&log)?;
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context("start the load generator")?;
        Ok(Running { child, log, out: self.out.to_owned(), data: self.data.to_owned() })
    }

    fn words(&self) -> Result<Vec<String>> {
        let Self { options, cluster, step, .. } = self;
        let pids: Vec<String> = cluster.pids().iter().map(u32::to_string).collect();
        ensure!(!pids.is_empty(), "no process of {} found", cluster.system.label());
        let in_flight = step.in_flight.unwrap_or(options.in_flight);
        let linger = step.linger_us.unwrap_or(options.linger_us);
        let mut words: Vec<String> = Vec::new();
        let mut say = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        say("system", cluster.system.driver().to_owned());
        say("servers", cluster.addresses.join(","));
        say("mode", step.mode.to_owned());
        say("topic", step.topic().to_owned());
        say("partitions", step.partitions.to_string());
        say("record-bytes", step.record_bytes.to_string());
        say("random-ratio", options.random_ratio.to_string());
        say("producers", step.producers.to_string());
        say("groups", step.groups.to_string());
        say("members", step.members.to_string());
        say("in-flight", in_flight.to_string());
        say("linger-us", linger.to_string());
        say("batch-bytes", step.batch_bytes.to_string());
        say("arrivals", step.arrivals.to_owned());
        say("warm-up", options.warm_up().to_string());
        say("seconds", self.seconds().to_string());
        say("drain", if step.mode == "read" { READ_SECONDS } else { DRAIN }.to_string());
        say("server-pids", pids.join(","));
        say("own-pids", std::process::id().to_string());
        say("disk", self.data.display().to_string());
        say("out", self.out.display().to_string());
        if !cluster.metrics.is_empty() {
            say("metrics", cluster.metrics.join(","));
        }
        for setting in cluster.system.topic_config() {
            say("topic-config", (*setting).to_owned());
        }
        if let Some(bytes) = step.retention_bytes {
            say("retention-bytes", bytes.to_string());
        }
        if let Some(rate) = self.rate()? {
            say("rate", format!("{rate:.1}"));
        }
        if let Some(of) = step.topic_of {
            let filled = self.done.iter().find(|(step, _)| step.name == of);
            let (_, filled) = filled.with_context(|| format!("step {of} was not run"))?;
            // Failed sends may be there, too: a reader must not stop short of them.
            ensure!(filled.failed == 0, "step {of} had {} failed records", filled.failed);
            say("existing", filled.acked.to_string());
        }
        if step.kills > 0 {
            say("gaps-ms", GAPS_MS.to_string());
        }
        Ok(words)
    }

    fn rate(&self) -> Result<Option<f64>> {
        match self.step.rate {
            Rate::None => Ok(None),
            Rate::Fixed(rate) => Ok(Some(rate)),
            Rate::Of(name, factor) => {
                let of = self.done.iter().find(|(step, _)| step.name == name);
                let (_, of) = of.with_context(|| format!("step {name} was not run"))?;
                Ok(Some(of.acked_per_second * factor))
            }
        }
    }
}

impl Running {
    /// Waits for its end, and looks after the disk meanwhile.
    pub(crate) fn wait(mut self, mut beside: impl FnMut() -> Result<()>) -> Result<Outcome> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            shell::go_on()?;
            beside()?;
            let free = free_bytes(&self.data)?;
            if free < FREE_LEAST {
                bail!(
                    "only {} MiB are free in {}: the run was ended; free some, name another disk \
                     with --data, or measure fewer --seconds",
                    free >> 20,
                    self.data.display()
                );
            }
            std::thread::sleep(LOOK);
        };
        ensure!(status.success(), "the load generator: {status}\n{}", shell::tail(&self.log, 12));
        Outcome::load(&self.out)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Measured seconds of a step.
pub(crate) fn seconds(step: &Step, options: &Options) -> u64 {
    step.seconds.unwrap_or(options.seconds)
}

fn program(options: &Options) -> Result<PathBuf> {
    if let Some(program) = &options.generator {
        return Ok(std::path::absolute(program)?);
    }
    let ours = std::env::current_exe()?;
    Ok(ours.with_file_name("quipu-load"))
}

fn free_bytes(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir).with_context(|| format!("look at {}", dir.display()))?;
    Ok(stat.f_bavail * stat.f_frsize)
}
