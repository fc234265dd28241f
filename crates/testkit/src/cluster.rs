//! A cluster of real processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_proto::v1::DescribeClusterRequest;
use quipu_proto::v1::cluster_client::ClusterClient;
use quipu_runtime::free_ports;

use crate::node::NodeProcess;
use crate::until;

/// How long a cluster may take until every shard has a leader.
const READY_WAIT: Duration = Duration::from_secs(60);

fn lay_out(
    id: u64,
    peers: &[String],
    ports: &[SocketAddr],
    settings: &[String],
    root: &Path,
) -> NodeProcess {
    let mut flags = vec![
        format!("node.id={id}"),
        format!("cluster.bootstrap={}", peers.join(",")),
        format!("listeners.client={}", ports[0]),
        format!("listeners.peer={}", ports[1]),
        format!("listeners.metrics={}", ports[2]),
        // How full the machine is that tests run on is none of theirs; what comes later counts.
        "storage.min-free=64MiB".to_owned(),
    ];
    flags.extend(settings.iter().cloned());
    NodeProcess::new(id, root.join(format!("node-{id}")), ports[0], ports[2], flags)
}

/// What kind of cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Number of nodes.
    pub nodes: u64,
    /// Settings for every node, as `key=value`.
    pub settings: Vec<String>,
    /// Directory to keep the nodes in; `None`: a temporary one, removed at the end of a good test.
    pub dir: Option<PathBuf>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        let settings = vec!["cluster.shards-per-node=2".to_owned(), "log.format=text".to_owned()];
        Self { nodes: 3, settings, dir: None }
    }
}

/// Real processes on loopback. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<NodeProcess>,
    /// The first nodes, as `id@host:port`.
    peers: Vec<String>,
    settings: Vec<String>,
    root: PathBuf,
    dir: Option<tempfile::TempDir>,
}

impl Cluster {
    /// Starts three nodes and waits until they serve.
    ///
    /// # Errors
    /// When a process cannot be started, dies, or the cluster is not healthy in time.
    pub async fn start() -> Result<Self> {
        Self::start_with(ClusterOptions::default()).await
    }

    /// Starts a cluster and waits until it serves.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(options: ClusterOptions) -> Result<Self> {
        let mut cluster = Self::prepare(options)?;
        for node in &mut cluster.nodes {
            node.start()?;
        }
        cluster.wait_healthy().await?;
        Ok(cluster)
    }

    /// Lays out the nodes without starting any.
    ///
    /// # Errors
    /// When there is no free port or directory.
    pub fn prepare(options: ClusterOptions) -> Result<Self> {
        let (dir, root) = match options.dir {
            Some(root) => (None, root),
            None => {
                let dir = tempfile::Builder::new().prefix("quipu-test-").tempdir()?;
                let root = dir.path().to_owned();
                (Some(dir), root)
            }
        };
        let ports = free_ports(3 * usize::try_from(options.nodes)?)?;
        let peers: Vec<String> = (1..=options.nodes)
            .zip(ports.iter().skip(1).step_by(3))
            .map(|(id, peer)| format!("{id}@{peer}"))
            .collect();
        let nodes = (1..=options.nodes)
            .zip(ports.chunks(3))
            .map(|(id, ports)| lay_out(id, &peers, ports, &options.settings, &root))
            .collect();
        Ok(Self { nodes, peers, settings: options.settings, root, dir })
    }

    /// Starts another node, which joins by the first ones. Returns its id: the lowest that no node
    /// had.
    ///
    /// # Errors
    /// When there is no free port, or the process cannot be started.
    pub fn add_node(&mut self) -> Result<u64> {
        let taken = |id: &u64| self.root.join(format!("node-{id}")).exists();
        let id = (1..).find(|id| !taken(id)).context("ids do not end")?;
        let ports = free_ports(3)?;
        let mut peers = self.peers.clone();
        peers.push(format!("{id}@{}", ports[1]));
        let mut node = lay_out(id, &peers, &ports, &self.settings, &self.root);
        node.start()?;
        self.nodes.push(node);
        Ok(id)
    }

    /// Ends a node for good; its directory stays.
    ///
    /// # Errors
    /// When it cannot be ended.
    ///
    /// # Panics
    /// When the cluster has no such node.
    pub fn retire(&mut self, id: u64) -> Result<()> {
        let place = self.nodes.iter().position(|node| node.id() == id).expect("a node");
        let mut node = self.nodes.remove(place);
        if node.pid().is_some() && !node.has_died() {
            node.kill()?;
        }
        Ok(())
    }

    /// The nodes, in order of id.
    #[must_use]
    pub fn nodes(&self) -> &[NodeProcess] {
        &self.nodes
    }

    /// The node of an id.
    ///
    /// # Panics
    /// When the cluster has no such node.
    pub fn node(&mut self, id: u64) -> &mut NodeProcess {
        self.nodes.iter_mut().find(|node| node.id() == id).expect("a node of the cluster")
    }

    /// What a client connects to.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses: Vec<String> =
            self.nodes.iter().map(|node| node.client_address().to_string()).collect();
        format!("quipu://{}", addresses.join(","))
    }

    /// A client that knows every node.
    ///
    /// # Errors
    /// When none answers.
    pub async fn client(&self) -> Result<quipu_client::Client> {
        Ok(quipu_client::Client::builder(&self.url()).service("test").connect().await?)
    }

    /// Waits until every node that runs calls the cluster healthy.
    ///
    /// # Errors
    /// When a process died, with the end of its log, or the time is over, with the problems.
    pub async fn wait_healthy(&mut self) -> Result<()> {
        for at in 0..self.nodes.len() {
            if self.nodes[at].pid().is_none() {
                continue;
            }
            let address = self.nodes[at].client_address();
            let nodes = &self.nodes;
            let healthy = until("a healthy cluster", READY_WAIT, || async {
                describe(address).await.and_then(|answer| {
                    ensure!(answer.is_healthy, "{}", answer.problems.join("; "));
                    ensure!(answer.shards.len() > 1, "no shards yet");
                    Ok(())
                })
            });
            healthy.await.with_context(|| tails(nodes))?;
        }
        Ok(())
    }

    /// The end of every node's log, for the reason of a failed test.
    #[must_use]
    pub fn tails(&self) -> String {
        tails(&self.nodes)
    }

    /// Kills every process at once.
    ///
    /// # Errors
    /// When one of them does not run.
    pub fn kill_all(&mut self) -> Result<()> {
        // Stop all first, so that none sees another die.
        for node in self.nodes.iter().filter(|node| node.pid().is_some()) {
            node.pause()?;
        }
        for node in self.nodes.iter_mut().filter(|node| node.pid().is_some()) {
            node.kill()?;
        }
        Ok(())
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_all(&mut self) -> Result<()> {
        for node in self.nodes.iter_mut().filter(|node| node.pid().is_none()) {
            node.start()?;
        }
        Ok(())
    }

    /// Stops every process; nothing is told of their logs, for nothing failed.
    pub fn end(mut self) {
        self.nodes.clear();
    }

    /// Keeps the directory for a look after the test.
    #[must_use]
    pub fn keep(mut self) -> Option<PathBuf> {
        self.dir.take().map(tempfile::TempDir::keep)
    }
}

impl Drop for Cluster {
    #[expect(clippy::print_stderr, reason = "shown of failed tests alone")]
    fn drop(&mut self) {
        if !self.nodes.is_empty() {
            eprintln!("{}", tails(&self.nodes));
        }
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("kept {} for a look", dir.keep().display());
        }
    }
}

async fn describe(address: SocketAddr) -> Result<quipu_proto::v1::DescribeClusterResponse> {
    let mut client = ClusterClient::connect(format!("http://{address}")).await?;
    Ok(client.describe(DescribeClusterRequest {}).await?.into_inner())
}

/// The end of every node's log.
fn tails(nodes: &[NodeProcess]) -> String {
    let mut text = String::new();
    for node in nodes {
        let log = node.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(15)..];
        text.push_str(&format!("--- node {}\n{}\n", node.id(), tail.join("\n")));
    }
    text
}
