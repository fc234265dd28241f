//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

/// Measures Quipu and others side by side on this machine.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(name = "cargo xtask bench", version)]
pub(crate) struct Options {
    /// Whom to compare with. Scenarios that need none of them run without.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "nats")]
    pub(crate) peers: Vec<Peer>,
    /// What to measure, by name or by the beginning of names (`nats-`); `all`, or `list` to see
    /// them.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    pub(crate) scenario: Vec<String>,
    /// Rounds; each measures every system once. The medians count.
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: u32,
    /// Measured seconds of each load.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Seconds of load before that. A quarter of --seconds unless set.
    #[arg(long)]
    pub(crate) warm_up: Option<u64>,
    /// Records sent and not acknowledged in saturating loads, the same for every system.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) in_flight: usize,
    /// How long clients that batch wait for more records, in saturating loads (microseconds).
    #[arg(long, default_value_t = 1_000)]
    pub(crate) linger_us: u64,
    /// Share of a record that cannot be compressed.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) random_ratio: f64,
    /// Seconds of the soak.
    #[arg(long, default_value_t = 3_600)]
    pub(crate) soak_seconds: u64,
    /// Kills in the failover scenario, per run.
    #[arg(long, default_value_t = 6)]
    pub(crate) kills: u32,
    /// Measures although other processes keep the machine busy, and marks it.
    #[arg(long)]
    pub(crate) even_if_busy: bool,
    /// Settings for Quipu's nodes, as key=value.
    #[arg(long)]
    pub(crate) quipu_set: Vec<String>,
    /// Where servers keep their data; a directory of its own is made there and removed.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Keeps the servers' directories.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Leaves out measuring K and k (two short runs of Quipu with small and large batches).
    #[arg(long)]
    pub(crate) no_steering: bool,
    /// Where results go, in a directory named after the time.
    #[arg(long, default_value = "benches/results")]
    pub(crate) results: PathBuf,
    /// Writes the report of a directory of results again, and measures nothing.
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
    /// The server under test.
    #[arg(long, env = "QUIPU_BIN", default_value = "target/release/quipu")]
    pub(crate) quipu_bin: PathBuf,
    /// The load generator.
    #[arg(long, env = "QUIPU_LOAD")]
    pub(crate) generator: Option<PathBuf>,
}

/// A system to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// NATS JetStream.
    Nats,
    /// Apache Kafka, in its KRaft mode.
    Kafka,
    /// RabbitMQ quorum queues and streams.
    Rabbitmq,
    /// Redis streams: what a protocol costs, without consensus.
    Redis,
}

impl Options {
    pub(crate) fn warm_up(&self) -> u64 {
        self.warm_up.unwrap_or_else(|| (self.seconds / 4).max(1))
    }
}
