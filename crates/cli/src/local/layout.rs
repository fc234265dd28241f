//! What a local cluster is made of, on disk: `cluster.json`, and a directory per node.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use quipu_runtime::free_ports;
use serde::{Deserialize, Serialize};

/// A local cluster.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layout {
    /// Its directory, absolute.
    pub(super) dir: PathBuf,
    /// Its nodes.
    pub(super) nodes: Vec<Node>,
}

/// A node of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    /// Its id.
    pub(super) id: u64,
    /// Its directory: `quipu.toml`, `data/`, `log`, `pid`.
    pub(super) dir: PathBuf,
    /// Where clients connect.
    pub(super) client: SocketAddr,
    /// Where peers connect.
    pub(super) peer: SocketAddr,
    /// Metrics and health.
    pub(super) metrics: SocketAddr,
}

impl Node {
    fn new(dir: &Path, id: u64, ports: &[SocketAddr]) -> Self {
        Self {
            id,
            dir: dir.join(format!("node-{id}")),
            client: ports[0],
            peer: ports[1],
            metrics: ports[2],
        }
    }

    /// Its configuration file.
    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("quipu.toml")
    }

    /// Its output.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Its process id, while it runs.
    pub(super) fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// The last lines of its output.
    pub(super) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Layout {
    /// The cluster in a directory, if there is one.
    pub(super) fn load(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join("cluster.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("read {}", path.display()))
                .map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Lays out a new cluster.
    pub(super) fn create(
        dir: &Path,
        nodes: u64,
        port: Option<u16>,
        set: &[String],
    ) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir)?;
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let ports = ports(nodes, port)?;
        let nodes: Vec<Node> = (1..=nodes)
            .zip(ports.chunks(3))
            .map(|(id, ports)| Node::new(&dir, id, ports))
            .collect();
        let layout = Self { dir, nodes };
        for node in &layout.nodes {
            layout.prepare(node, set)?;
        }
        layout.save()?;
        Ok(layout)
    }

    /// Lays out one more node.
    pub(super) fn add(&mut self, set: &[String]) -> anyhow::Result<&Node> {
        let id = 1 + self.nodes.iter().map(|node| node.id).max().unwrap_or(0);
        // A stopped node wants its ports again.
        let taken: Vec<SocketAddr> =
            self.nodes.iter().flat_map(|node| [node.client, node.peer, node.metrics]).collect();
        let mut ports = free_ports(3 + taken.len())?;
        ports.retain(|port| !taken.contains(port));
        self.nodes.push(Node::new(&self.dir, id, &ports));
        let node = self.nodes.last().context("it was just added")?;
        self.prepare(node, set)?;
        self.save()?;
        Ok(node)
    }

    fn prepare(&self, node: &Node, set: &[String]) -> anyhow::Result<()> {
        std::fs::create_dir_all(&node.dir)?;
        std::fs::write(node.config(), self.config_of(node, set)?)?;
        Ok(())
    }

    fn save(&self) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let path = self.dir.join("cluster.json");
        quipu_disk::write_atomic(quipu_disk::real().as_ref(), &path, &text)?;
        Ok(())
    }

    /// Deletes the cluster's files, and the directory when nothing else is in it.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            std::fs::remove_dir_all(&node.dir)
                .with_context(|| format!("remove {}", node.dir.display()))?;
        }
        std::fs::remove_file(self.dir.join("cluster.json"))?;
        // Files that are not ours stay, and the directory with them.
        let _ = std::fs::remove_dir(&self.dir);
        Ok(())
    }

    /// Every node's address, for clients.
    pub(super) fn servers(&self) -> String {
        self.nodes.iter().map(|node| node.client.to_string()).collect::<Vec<_>>().join(",")
    }

    /// The name of its context.
    pub(super) fn context_name(&self) -> String {
        format!("local:{}", self.dir.display())
    }

    fn config_of(&self, node: &Node, set: &[String]) -> anyhow::Result<String> {
        let peers: Vec<String> =
            self.nodes.iter().map(|node| format!("{}@{}", node.id, node.peer)).collect();
        let mut root = toml::Table::new();
        let mut put = |key: &str, value: toml::Value| -> anyhow::Result<()> {
            let (section, key) = key.split_once('.').context("settings are section.key")?;
            root.entry(section)
                .or_insert_with(|| toml::Table::new().into())
                .as_table_mut()
                .context("sections are tables")?
                .insert(key.to_owned(), value);
            Ok(())
        };
        put("node.id", toml::Value::Integer(i64::try_from(node.id)?))?;
        put("node.data-dir", node.dir.join("data").display().to_string().into())?;
        put("cluster.bootstrap", peers.into())?;
        put("listeners.client", node.client.to_string().into())?;
        put("listeners.peer", node.peer.to_string().into())?;
        put("listeners.metrics", node.metrics.to_string().into())?;
        for flag in set {
            let (key, value) = flag
                .split_once('=')
                .with_context(|| format!("--set {flag}: write section.key=value"))?;
            put(key, value.into())?;
        }
        Ok(toml::to_string(&root)?)
    }
}

/// Three ports per node: fixed ones from `first` on, else free ones.
fn ports(nodes: u64, first: Option<u16>) -> anyhow::Result<Vec<SocketAddr>> {
    let count = usize::try_from(nodes)? * 3;
    if let Some(first) = first {
        let last = u64::from(first) + 10 * (nodes - 1) + 2;
        ensure!(last <= u64::from(u16::MAX), "port {first} is too high for {nodes} nodes");
        let port = |at: usize| {
            let port = usize::from(first) + 10 * (at / 3) + at % 3;
            u16::try_from(port).expect("the last one fits")
        };
        return Ok((0..count).map(|at| (Ipv4Addr::LOCALHOST, port(at)).into()).collect());
    }
    Ok(free_ports(count)?)
}
