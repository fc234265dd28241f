//! What lies between clients and nodes, and can be cut for one process.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Cluster;

/// What is read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Columns of `/proc/net/tcp` (Linux, `proc_net_tcp.txt`).
const LOCAL: usize = 1;
const REMOTE: usize = 2;
const INODE: usize = 9;

/// A relay before each node, which clients are told to dial. One process can be cut off: its bytes,
/// the end of its connections included, stand still in both directions until the network is healed,
/// and arrive late. Nobody else notices. Dropping it breaks all connections.
#[derive(Debug)]
pub struct Network {
    relays: Vec<SocketAddr>,
    cut: watch::Sender<Option<u32>>,
    _serving: JoinSet<()>,
}

/// The client's end of a connection, and the relay it dialled.
#[derive(Clone, Copy, Debug)]
struct Ends {
    client: u16,
    relay: u16,
}

impl Network {
    /// Puts relays before the nodes of a cluster that was prepared and not started.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn before(cluster: &mut Cluster) -> Result<Self> {
        let cut = watch::Sender::new(None);
        let (mut relays, mut serving) = (Vec::new(), JoinSet::new());
        let nodes = cluster.nodes().iter().map(|node| (node.id(), node.client_address()));
        for (id, node) in nodes.collect::<Vec<_>>() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let relay = listener.local_addr()?;
            cluster.node(id).set_flag(&format!("listeners.client-advertise={relay}"));
            serving.spawn(serve(listener, relay.port(), node, cut.subscribe()));
            relays.push(relay);
        }
        Ok(Self { relays, cut, _serving: serving })
    }

    /// What a client connects to that knows the relays alone.
    #[must_use]
    pub fn url(&self) -> String {
        let relays: Vec<String> = self.relays.iter().map(SocketAddr::to_string).collect();
        format!("quipu://{}", relays.join(","))
    }

    /// Cuts a process off from all nodes, in place of the one that was before.
    pub fn cut(&self, process: u32) {
        self.cut.send_replace(Some(process));
    }

    /// Lets everything through again, what stood still first.
    pub fn heal(&self) {
        self.cut.send_replace(None);
    }
}

async fn serve(
    listener: TcpListener,
    relay: u16,
    node: SocketAddr,
    cut: watch::Receiver<Option<u32>>,
) {
    let mut links = JoinSet::new();
    while let Ok((client, from)) = listener.accept().await {
        let ends = Ends { client: from.port(), relay };
        links.spawn(link(client, ends, node, cut.clone()));
        while links.try_join_next().is_some() {}
    }
}

/// Carries one connection until both sides are done or one fails.
async fn link(
    client: TcpStream,
    ends: Ends,
    node: SocketAddr,
    cut: watch::Receiver<Option<u32>>,
) -> std::io::Result<()> {
    let node = TcpStream::connect(node).await?;
    client.set_nodelay(true)?;
    node.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_node, to_node) = node.into_split();
    let there = carry(from_client, to_node, ends, cut.clone());
    let back = carry(from_node, to_client, ends, cut);
    tokio::try_join!(there, back)?;
    Ok(())
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    ends: Ends,
    mut cut: watch::Receiver<Option<u32>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        let is_through = |cut: &Option<u32>| cut.is_none_or(|process| is_of_another(ends, process));
        if cut.wait_for(is_through).await.is_err() {
            return Ok(());
        }
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// Whether somebody else than `process` holds the client's end. An end that nobody holds any more
/// may have been its: what it sent last stands still as well.
fn is_of_another(ends: Ends, process: u32) -> bool {
    inode(ends).is_some_and(|inode| inode != "0" && !holds(process, &inode))
}

/// The inode of the client's socket.
fn inode(ends: Ends) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let (client, relay) = (format!(":{:04X}", ends.client), format!(":{:04X}", ends.relay));
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(LOCAL)?.ends_with(&client) && fields.get(REMOTE)?.ends_with(&relay);
        is_it.then(|| fields.get(INODE).map(|inode| (*inode).to_owned()))?
    })
}

fn holds(process: u32, inode: &str) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    let socket = format!("socket:[{inode}]");
    let mut links = open.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    links.any(|link| link.as_os_str() == socket.as_str())
}
