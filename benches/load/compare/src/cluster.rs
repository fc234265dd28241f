//! Three servers of one system on loopback, with fresh directories.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::options::{Options, Peer};
use crate::shell;

mod kafka;
mod nats;
mod quipu;
mod rabbitmq;
mod redis;
pub(crate) mod server;

use server::Server;

const LOOK: Duration = Duration::from_millis(100);
pub(crate) const NODES: usize = 3;

/// A system with the settings that matter for durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// Flush before acknowledgement.
    Quipu,
    /// Flush every 10 ms, after acknowledgement.
    QuipuInterval,
    /// `sync_interval: always`.
    NatsAlways,
    /// Flush every two minutes.
    NatsDefault,
    /// `flush.messages=1`.
    KafkaFlush,
    /// The kernel flushes when it likes.
    KafkaDefault,
    /// Flush before acknowledgement.
    RabbitmqQuorum,
    /// Never flushed.
    RabbitmqStreams,
    /// `appendfsync always`, one server acknowledges: no consensus.
    Redis,
}

impl System {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Quipu => "Quipu (fsync)",
            Self::QuipuInterval => "Quipu (interval flush)",
            Self::NatsAlways => "NATS (sync_interval always)",
            Self::NatsDefault => "NATS (default, no fsync)",
            Self::KafkaFlush => "Kafka (flush.messages=1)",
            Self::KafkaDefault => "Kafka (default, no fsync)",
            Self::RabbitmqQuorum => "RabbitMQ quorum queues (fsync)",
            Self::RabbitmqStreams => "RabbitMQ streams (no fsync)",
            Self::Redis => "Redis streams (floor: no consensus)",
        }
    }

    /// As file names and results have it.
    pub(crate) const fn slug(self) -> &'static str {
        match self {
            Self::Quipu => "quipu",
            Self::QuipuInterval => "quipu-interval",
            Self::NatsAlways => "nats-always",
            Self::NatsDefault => "nats-default",
            Self::KafkaFlush => "kafka-flush",
            Self::KafkaDefault => "kafka-default",
            Self::RabbitmqQuorum => "rabbitmq-quorum",
            Self::RabbitmqStreams => "rabbitmq-streams",
            Self::Redis => "redis",
        }
    }

    /// What the load generator calls it.
    pub(crate) const fn driver(self) -> &'static str {
        match self {
            Self::Quipu | Self::QuipuInterval => "quipu",
            Self::NatsAlways | Self::NatsDefault => "nats",
            Self::KafkaFlush | Self::KafkaDefault => "kafka",
            Self::RabbitmqQuorum => "rabbitmq-quorum",
            Self::RabbitmqStreams => "rabbitmq-streams",
            Self::Redis => "redis",
        }
    }

    /// Whether an acknowledged record is on disks: what the flush count is held against.
    pub(crate) const fn is_durable(self) -> bool {
        match self {
            Self::Quipu | Self::NatsAlways | Self::KafkaFlush | Self::RabbitmqQuorum => true,
            Self::QuipuInterval | Self::NatsDefault | Self::KafkaDefault => false,
            Self::RabbitmqStreams | Self::Redis => false,
        }
    }

    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::Quipu | Self::QuipuInterval)
    }

    /// Who must be fetched for it.
    pub(crate) const fn peer(self) -> Option<Peer> {
        match self {
            Self::Quipu | Self::QuipuInterval => None,
            Self::NatsAlways | Self::NatsDefault => Some(Peer::Nats),
            Self::KafkaFlush | Self::KafkaDefault => Some(Peer::Kafka),
            Self::RabbitmqQuorum | Self::RabbitmqStreams => Some(Peer::Rabbitmq),
            Self::Redis => Some(Peer::Redis),
        }
    }

    /// Settings of the topic.
    pub(crate) const fn topic_config(self) -> &'static [&'static str] {
        match self {
            Self::KafkaFlush => &["flush.messages=1", "min.insync.replicas=2"],
            Self::KafkaDefault => &["min.insync.replicas=2"],
            Self::Quipu
            | Self::QuipuInterval
            | Self::NatsAlways
            | Self::NatsDefault
            | Self::RabbitmqQuorum
            | Self::RabbitmqStreams
            | Self::Redis => &[],
        }
    }
}

/// Servers that run. Dropping it ends them and removes their directories.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) system: System,
    /// Where clients connect.
    pub(crate) addresses: Vec<String>,
    /// Prometheus pages, where the system has them without another process.
    pub(crate) metrics: Vec<String>,
    pub(crate) servers: Vec<Server>,
    /// What they need beside them, and no client talks to.
    helpers: Vec<Server>,
    /// Every configuration file and command line.
    pub(crate) configuration: BTreeMap<String, String>,
    pub(crate) version: String,
    dir: PathBuf,
    keep: bool,
}

impl Cluster {
    /// Starts it and waits until clients are served.
    pub(crate) fn start(system: System, options: &Options, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let mut cluster = Self {
            system,
            addresses: Vec::new(),
            metrics: Vec::new(),
            servers: Vec::new(),
            helpers: Vec::new(),
            configuration: BTreeMap::new(),
            version: String::new(),
            dir: dir.to_owned(),
            keep: options.keep,
        };
        let started = match system {
            System::Quipu | System::QuipuInterval => quipu::start(&mut cluster, options),
            System::NatsAlways | System::NatsDefault => nats::start(&mut cluster),
            System::KafkaFlush | System::KafkaDefault => kafka::start(&mut cluster),
            System::RabbitmqQuorum | System::RabbitmqStreams => rabbitmq::start(&mut cluster),
            System::Redis => redis::start(&mut cluster),
        };
        started.with_context(|| format!("start {}{}", system.label(), cluster.tails()))?;
        Ok(cluster)
    }

    /// Processes whose CPU time counts.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().flat_map(Server::pids).collect()
    }

    /// A server's own directory, made.
    fn dir_of(&self, node: usize) -> Result<PathBuf> {
        let dir = self.dir.join(format!("node-{node}"));
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(dir)
    }

    /// Writes a configuration file and keeps its text for the results.
    fn configure(&mut self, path: &Path, text: String) -> Result<()> {
        std::fs::write(path, &text).with_context(|| format!("write {}", path.display()))?;
        let shown = path.strip_prefix(&self.dir).unwrap_or(path).display().to_string();
        self.configuration.insert(shown, text);
        Ok(())
    }

    /// Starts one more server.
    fn launch(&mut self, mut server: Server) -> Result<()> {
        let name = format!("{} (command)", server.name());
        self.configuration.insert(name, server.command_line());
        server.start()?;
        self.servers.push(server);
        Ok(())
    }

    /// Starts what servers need.
    fn help(&mut self, mut helper: Server) -> Result<()> {
        helper.start()?;
        self.helpers.push(helper);
        Ok(())
    }

    /// Whether something listens on every address.
    fn answers(&self) -> Result<()> {
        for address in &self.addresses {
            TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
        }
        Ok(())
    }

    /// Polls until `is_ready`, while every server lives.
    fn wait(&mut self, at_most: Duration, is_ready: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + at_most;
        loop {
            shell::go_on()?;
            if let Some(dead) = self.servers.iter_mut().find_map(Server::death) {
                bail!("{dead}");
            }
            let reason = match is_ready(self) {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            };
            if Instant::now() >= deadline {
                return Err(reason.context(format!("not ready after {at_most:?}")));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The ends of the servers' logs.
    pub(crate) fn tails(&self) -> String {
        let tail =
            |server: &Server| format!("\n--- {}\n{}", server.name(), shell::tail(&server.log(), 8));
        self.servers.iter().map(tail).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.servers.iter_mut().chain(&mut self.helpers).for_each(Server::terminate);
        if !self.keep {
            // What cannot be removed is seen at the next look at the disk.
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}
