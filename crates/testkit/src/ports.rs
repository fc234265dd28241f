//! Ports for nodes that are killed and started again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};

/// Below the ports the system gives to outgoing connections: while a node is down, no connection
/// of a client or a peer may take the port it will listen on again.
const RANGE: Range<u16> = 10_000..32_000;

/// How many ports this process has looked at.
static LOOKED_AT: AtomicU16 = AtomicU16::new(0);

/// `count` ports nobody listens on, each given once by this process. Processes begin at different
/// places.
///
/// # Errors
/// When there are not as many.
pub(crate) fn free(count: usize) -> Result<Vec<SocketAddr>> {
    let ports: Vec<SocketAddr> =
        (0..RANGE.len()).map(|_| next()).filter(is_free).take(count).collect();
    (ports.len() == count)
        .then_some(ports)
        .with_context(|| format!("fewer than {count} free ports in {RANGE:?}"))
}

fn next() -> SocketAddr {
    let width = u32::from(RANGE.end - RANGE.start);
    // A prime apart, so that neighbours in ids are no neighbours in ports.
    let begin = std::process::id().wrapping_mul(7919) % width;
    let place = (begin + u32::from(LOOKED_AT.fetch_add(1, Ordering::Relaxed))) % width;
    let port = RANGE.start + u16::try_from(place).expect("below the width");
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn is_free(address: &SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}
