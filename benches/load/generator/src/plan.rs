//! What is to be done, as the command line says it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::payload;

/// Loads one system and writes what was measured as JSON and histograms.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(name = "quipu-load")]
pub(crate) struct Plan {
    /// The system under load.
    #[arg(long, value_enum)]
    pub(crate) system: System,
    /// Where its servers answer: host:port,host:port.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) servers: Vec<String>,
    /// How records are sent.
    #[arg(long, value_enum)]
    pub(crate) mode: Mode,
    /// The topic; streams and queues are named after it.
    #[arg(long, default_value = "load")]
    pub(crate) topic: String,
    /// Partitions of the topic; where a system has none, streams or queues of their own.
    #[arg(long, default_value_t = 1)]
    pub(crate) partitions: u32,
    /// Replicas of each.
    #[arg(long, default_value_t = 3)]
    pub(crate) replicas: u32,
    /// The topic is there already, and holds so many records.
    #[arg(long)]
    pub(crate) existing: Option<u64>,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    pub(crate) record_bytes: usize,
    /// Share of the value that cannot be compressed.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) random_ratio: f64,
    /// Connections that publish.
    #[arg(long, default_value_t = 1)]
    pub(crate) producers: u32,
    /// Independent readers of everything.
    #[arg(long, default_value_t = 1)]
    pub(crate) groups: u32,
    /// Connections each group divides the partitions between.
    #[arg(long, default_value_t = 1)]
    pub(crate) members: u32,
    /// Readers begin so many seconds after the first record was sent.
    #[arg(long, default_value_t = 0)]
    pub(crate) read_after: u64,
    /// Records per second of all producers (open loop).
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// When records are due (open loop).
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    pub(crate) arrivals: Arrivals,
    /// Records sent and not acknowledged, at most, by all producers together.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) in_flight: usize,
    /// Which partition comes next.
    #[arg(long, value_enum, default_value_t = Spread::Sticky)]
    pub(crate) spread: Spread,
    /// A client that batches waits so long for more (microseconds).
    #[arg(long, default_value_t = 1_000)]
    pub(crate) linger_us: u64,
    /// A client that batches sends a batch of this size at once; also how long --spread sticky
    /// stays.
    #[arg(long, default_value_t = 65_536)]
    pub(crate) batch_bytes: usize,
    /// Seconds before anything is counted.
    #[arg(long, default_value_t = 5)]
    pub(crate) warm_up: u64,
    /// Seconds that count.
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u64,
    /// Seconds for what is on its way when sending ends.
    #[arg(long, default_value_t = 30)]
    pub(crate) drain: u64,
    /// Report pauses of a partition's acknowledgements longer than this (milliseconds).
    #[arg(long)]
    pub(crate) gaps_ms: Option<u64>,
    /// Processes of the servers: their CPU time is measured.
    #[arg(long, value_delimiter = ',')]
    pub(crate) server_pids: Vec<u32>,
    /// A process that belongs to the measurement and is not counted as foreign.
    #[arg(long, value_delimiter = ',')]
    pub(crate) own_pids: Vec<u32>,
    /// Prometheus pages kept from the beginning and the end: host:port,host:port.
    #[arg(long, value_delimiter = ',')]
    pub(crate) metrics: Vec<String>,
    /// A directory on the disk whose flushes are counted.
    #[arg(long)]
    pub(crate) disk: Option<PathBuf>,
    /// Topic configuration as key=value, where the system has it.
    #[arg(long = "topic-config")]
    pub(crate) topic_config: Vec<String>,
    /// Bytes a partition keeps; older records are removed.
    #[arg(long)]
    pub(crate) retention_bytes: Option<u64>,
    /// Where results go.
    #[arg(long)]
    pub(crate) out: PathBuf,
}

/// A system there is a driver for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// Quipu, by its Rust client.
    Quipu,
    /// NATS JetStream: a replicated file stream per partition.
    Nats,
    /// Apache Kafka, by librdkafka.
    Kafka,
    /// RabbitMQ quorum queues: one per partition and group.
    RabbitmqQuorum,
    /// RabbitMQ streams: one per partition.
    RabbitmqStreams,
    /// Redis streams: one key per partition; a protocol's floor, not consensus.
    Redis,
}

/// How records are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// At a fixed rate, whatever is answered.
    Open,
    /// As many as --in-flight allows: throughput.
    Saturate,
    /// Each after the answer to the one before: a closed loop of one.
    OneByOne,
    /// Nothing is sent; what --existing says is read from the start.
    Read,
}

/// When records are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Arrivals {
    /// Evenly.
    Constant,
    /// Independently of each other.
    Poisson,
}

/// Which partition comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Spread {
    /// The same for a batch's worth of records, as records without keys go.
    Sticky,
    /// Another for each record, as records with many keys go.
    RoundRobin,
}

impl Plan {
    pub(crate) fn validate(&self) -> Result<()> {
        let least = payload::HEADER_BYTES;
        ensure!(self.record_bytes >= least, "--record-bytes must be at least {least}");
        ensure!((0.0..=1.0).contains(&self.random_ratio), "--random-ratio is between 0 and 1");
        ensure!(self.partitions > 0, "--partitions must be at least 1");
        ensure!(self.seconds > 0, "--seconds must be at least 1");
        let counts = [("--producers", self.producers), ("--members", self.members)];
        for (name, count) in counts {
            ensure!(count > 0, "{name} must be at least 1");
        }
        ensure!(self.in_flight > 0, "--in-flight must be at least 1");
        let has_rate = self.rate.is_some_and(|rate| rate > 0.0);
        ensure!(self.mode != Mode::Open || has_rate, "an open loop needs --rate");
        let reads = self.mode == Mode::Read;
        ensure!(!reads || self.existing.is_some(), "reading needs --existing");
        ensure!(!reads || self.groups > 0, "reading needs --groups");
        Ok(())
    }

    /// For people, and for the reason of an error.
    pub(crate) fn title(&self) -> String {
        format!("{:?}, {:?}, {} partition(s)", self.system, self.mode, self.partitions)
    }

    pub(crate) fn linger(&self) -> Duration {
        Duration::from_micros(self.linger_us)
    }

    /// Records a producer sends to one partition before it turns to the next.
    pub(crate) fn run_length(&self) -> usize {
        match self.spread {
            Spread::RoundRobin => 1,
            Spread::Sticky => (self.batch_bytes / self.record_bytes).max(1),
        }
    }

    /// Records that may be on their way, by the mode. An open loop has a bound for memory's sake
    /// alone; who meets it is overloaded.
    pub(crate) fn in_flight_max(&self) -> usize {
        const OPEN_BYTES: usize = 256 << 20;
        match self.mode {
            Mode::OneByOne => 1,
            Mode::Saturate | Mode::Read => self.in_flight,
            Mode::Open => (OPEN_BYTES / self.record_bytes).clamp(1_000, 1 << 20),
        }
    }

    /// The partitions of one member of a group.
    pub(crate) fn share(&self, member: u32) -> Vec<u32> {
        (0..self.partitions).filter(|partition| partition % self.members == member).collect()
    }
}
