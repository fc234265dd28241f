//! What is compared, and what must hold.

use crate::cluster::System;
use crate::options::{Options, Peer};

mod table;

pub(crate) use table::all;

/// One comparison.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) claims: Vec<Claim>,
}

/// A system under a load. The same system may stand in a scenario with different loads.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) system: System,
    /// One after the other, on the same servers.
    pub(crate) steps: Vec<Step>,
}

/// One load.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) partitions: u32,
    pub(crate) record_bytes: u32,
    pub(crate) producers: u32,
    pub(crate) groups: u32,
    pub(crate) members: u32,
    pub(crate) batch_bytes: u32,
    pub(crate) rate: Rate,
    pub(crate) arrivals: &'static str,
    /// Unlike the command line's.
    pub(crate) in_flight: Option<usize>,
    /// Unlike the command line's.
    pub(crate) linger_us: Option<u64>,
    /// Unlike the command line's.
    pub(crate) seconds: Option<u64>,
    /// Goes on with the topic of an earlier step.
    pub(crate) topic_of: Option<&'static str>,
    /// Bytes a partition keeps.
    pub(crate) retention_bytes: Option<u64>,
    /// Servers are killed meanwhile.
    pub(crate) kills: u32,
}

/// How fast an open loop is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rate {
    /// It is no open loop.
    None,
    /// Records per second.
    Fixed(f64),
    /// Of what an earlier step reached.
    Of(&'static str, f64),
}

/// A figure of one contender, held against another's or against a number.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) text: String,
    pub(crate) metric: Metric,
    pub(crate) step: &'static str,
    pub(crate) ours: String,
    /// None: the figure itself is judged.
    pub(crate) theirs: Option<String>,
    pub(crate) goal: Goal,
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Must and aim.
    AtLeast(f64, f64),
    /// Must and aim.
    AtMost(f64, f64),
    /// Told, not judged.
    Reported,
}

/// A figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    AckedPerSecond,
    PublishP50,
    PublishP99,
    ReadPerSecond,
    CaughtUpSeconds,
    PercentOfLimit,
    FailoverP99,
}

impl Metric {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::AckedPerSecond => "records/s acknowledged",
            Self::PublishP50 => "publish p50, ms",
            Self::PublishP99 => "publish p99, ms",
            Self::ReadPerSecond => "records/s read",
            Self::CaughtUpSeconds => "s until caught up",
            Self::PercentOfLimit => "% of min(X_cpu, X_disk)",
            Self::FailoverP99 => "last to first ack p99, ms",
        }
    }
}

impl Step {
    /// As many records of 1 KiB as --in-flight allows.
    pub(crate) const fn saturate(name: &'static str, partitions: u32) -> Self {
        let many = if partitions > 1 { 4 } else { 1 };
        Self {
            name,
            mode: "saturate",
            partitions,
            record_bytes: 1_024,
            producers: many,
            groups: 1,
            members: many,
            batch_bytes: 65_536,
            rate: Rate::None,
            arrivals: "constant",
            in_flight: None,
            linger_us: None,
            seconds: None,
            topic_of: None,
            retention_bytes: None,
            kills: 0,
        }
    }

    /// At a rate.
    pub(crate) const fn open(name: &'static str, partitions: u32, rate: Rate) -> Self {
        Self { mode: "open", rate, ..Self::saturate(name, partitions) }
    }

    /// The topic it writes to or reads.
    pub(crate) fn topic(&self) -> &'static str {
        self.topic_of.unwrap_or(self.name)
    }
}

/// The scenarios asked for, or why a name says nothing.
pub(crate) fn chosen(options: &Options) -> anyhow::Result<Vec<Scenario>> {
    let all = all(options);
    let mut chosen: Vec<Scenario> = Vec::new();
    for name in &options.scenario {
        let fits = |it: &&Scenario| name == "all" || it.name == *name || begins(&it.name, name);
        let found: Vec<Scenario> = all.iter().filter(fits).cloned().collect();
        anyhow::ensure!(
            !found.is_empty(),
            "no scenario is called {name:?}, or its peer is not among --peers; there are: {}",
            all.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ")
        );
        for scenario in found {
            if !chosen.iter().any(|it| it.name == scenario.name) {
                chosen.push(scenario);
            }
        }
    }
    Ok(chosen)
}

fn begins(name: &str, with: &str) -> bool {
    with.ends_with('-') && name.starts_with(with)
}

/// Whether a system can be measured with these peers.
fn is_wanted(system: System, peers: &[Peer]) -> bool {
    system.peer().is_none_or(|peer| peers.contains(&peer))
}
