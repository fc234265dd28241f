//! A cluster of real processes, each in a network of its own when the machine allows it.

mod command;
mod disk;
mod fake_clock;
mod lab;
mod layer;
mod node;
mod packets;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NodeId};
use quipu_testkit::until;

use disk::Disk;
use fake_clock::FakeClock;
pub use lab::{CLIENTS, Lab};
use layer::Layer;
pub(crate) use layer::{Class, Loss, Operation, Trouble};
pub(crate) use node::{FileLimit, Node};
pub(crate) use packets::{Packets, Treatment};

/// How long a cluster may take until every shard has a leader.
const READY_WAIT: Duration = Duration::from_secs(120);
/// Client, peers, metrics.
const PORTS: [u16; 3] = [9192, 9292, 9644];
/// Small files and frequent checkpoints: a short run crosses every border, snapshots included.
const SETTINGS: [&str; 6] = [
    "cluster.shards-per-node=2",
    "journal.file-bytes=8MiB",
    "storage.checkpoint-interval=5s",
    "storage.checkpoint-bytes=4MiB",
    "storage.journal-entries-kept=200",
    "log.format=text",
];

/// What nodes get so that it can be broken. It costs time, so that only those get it who need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gear {
    /// Wall clocks that can be wrong.
    pub has_clocks: bool,
    /// Disks that forget and fail; needs a lab.
    pub has_layers: bool,
}

impl Gear {
    /// What this machine has no clocks for, that can be wrong; installs what is missing.
    #[must_use]
    pub fn clocks_obstacle() -> Option<String> {
        FakeClock::obstacle()
    }

    /// Why this machine has no disks that forget.
    #[must_use]
    pub fn layers_obstacle() -> Option<&'static str> {
        Layer::obstacle()
    }
}

/// A cluster of real processes. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    // Before the lab: processes end first.
    nodes: Vec<Node>,
    lab: Option<Lab>,
}

impl Cluster {
    /// Lays out a cluster under a directory; nothing runs yet. With a lab every node has a
    /// network and a disk of its own, else all are on loopback.
    ///
    /// # Errors
    /// When there is no free port, no disk, or no `quipu` program.
    pub fn lay_out(dir: &Path, nodes: u64, lab: Option<Lab>, gear: Gear) -> Result<Self> {
        let program = std::path::absolute(quipu_testkit::quipu_binary()?)?;
        let places = places(nodes, lab.is_some())?;
        let peers: Vec<String> =
            (1..).zip(&places).map(|(id, ports)| format!("{id}@{}", ports[1])).collect();
        let nodes = (1..=nodes)
            .zip(&places)
            .map(|(id, ports)| {
                let dir = std::path::absolute(dir)?;
                let (log, home) =
                    (dir.join(format!("node-{id}.log")), dir.join(format!("node-{id}")));
                let disk = match lab {
                    Some(_) => Disk::mounted(&home, gear.has_layers)?,
                    None => Disk::plain(&home.join("disk"))?,
                };
                let mut settings = vec![
                    format!("node.id={id}"),
                    format!("cluster.bootstrap={}", peers.join(",")),
                    format!("listeners.client={}", ports[0]),
                    format!("listeners.peer={}", ports[1]),
                    format!("listeners.metrics={}", ports[2]),
                ];
                settings.extend(SETTINGS.map(str::to_owned));
                let before = lab.as_ref().map(|lab| lab.at(id)).unwrap_or_default();
                let (client, program) = (ports[0], program.clone());
                let clock = gear.has_clocks.then(|| FakeClock::create(home.join("clock")));
                let clock = clock.transpose()?;
                let (child, ended) = (None, None);
                Ok(Node { id, log, disk, client, before, program, settings, clock, child, ended })
            })
            .collect::<Result<Vec<Node>>>()?;
        Ok(Self { nodes, lab })
    }

    /// Its network, when it has one of its own.
    #[must_use]
    pub const fn lab(&self) -> Option<&Lab> {
        self.lab.as_ref()
    }

    /// Where clients connect, by node.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<u64, SocketAddr> {
        self.nodes.iter().map(|node| (node.id(), node.client)).collect()
    }

    /// What a client connects to.
    #[must_use]
    pub fn url(&self) -> String {
        let all: Vec<String> = self.addresses().values().map(SocketAddr::to_string).collect();
        format!("quipu://{}", all.join(","))
    }

    /// Ends all processes and deletes what they kept; logs stay.
    ///
    /// # Errors
    /// When a directory cannot be deleted.
    pub fn remove(self) -> Result<()> {
        let homes: Vec<PathBuf> =
            self.nodes.iter().filter_map(|node| Some(node.disk().dir().parent()?.into())).collect();
        drop(self);
        homes.iter().try_for_each(|home| {
            std::fs::remove_dir_all(home).with_context(|| format!("delete {}", home.display()))
        })
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.nodes.iter().map(Node::id).collect()
    }

    pub(crate) fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    pub(crate) fn node(&mut self, id: u64) -> Result<&mut Node> {
        let found = self.nodes.iter_mut().find(|node| node.id() == id);
        found.with_context(|| format!("the cluster has no node {id}"))
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_all(&mut self) -> Result<()> {
        self.nodes.iter_mut().filter(|node| !node.runs()).try_for_each(Node::start)
    }

    /// Waits until every node calls the cluster healthy. A node that ended by itself is an error.
    ///
    /// # Errors
    /// The problems that were left when the time was over, with the ends of the logs.
    pub async fn wait_ready(&mut self) -> Result<Client> {
        let url = self.url();
        let ids = self.ids();
        let ready = until("a healthy cluster", READY_WAIT, || async {
            let client = connect(&url).await?;
            for id in &ids {
                let seen = client.admin().describe_cluster_at(NodeId::new(*id)).await?;
                ensure!(seen.is_healthy, "node {id}: {}", seen.problems.join("; "));
                ensure!(seen.shards.len() > 1, "no shards yet");
            }
            Ok(client)
        });
        ready.await.with_context(|| self.last_words())
    }

    fn last_words(&self) -> String {
        let all =
            self.nodes.iter().map(|node| format!("node {}: {}", node.id(), node.last_words()));
        all.collect::<Vec<_>>().join("\n")
    }
}

/// A client with patience for one question, not for a whole fault.
///
/// # Errors
/// When no node answers.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let client = Client::builder(url)
        .service("chaos")
        .connect_timeout(Duration::from_secs(2))
        .request_timeout(Duration::from_secs(10))
        .metadata_refresh(Duration::from_secs(2));
    Ok(client.connect().await?)
}

fn places(nodes: u64, is_lab: bool) -> Result<Vec<[SocketAddr; 3]>> {
    if is_lab {
        return (1..=nodes)
            .map(|id| lab::address(id).map(|ip| PORTS.map(|port| (ip, port).into())))
            .collect();
    }
    // Bound together and let go together, so that they differ.
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let count = usize::try_from(nodes)? * PORTS.len();
    let bound = (0..count).map(|_| bind()).collect::<std::io::Result<Vec<_>>>()?;
    let ports = bound.iter().map(TcpListener::local_addr).collect::<std::io::Result<Vec<_>>>()?;
    let (chunks, _) = ports.as_chunks();
    Ok(chunks.to_vec())
}
