//! Ports for nodes of this machine that are stopped and started again.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports the system gives to outgoing connections: while a node is down, no connection
/// of a client or a peer may take the port it will listen on again.
const RANGE: Range<u16> = 10_000..32_000;

/// How many ports this process has looked at.
static LOOKED_AT: AtomicU16 = AtomicU16::new(0);

/// `count` ports nobody listens on, each given once by this process. Processes begin at different
/// places.
///
/// # Errors
/// `AddrInUse`: there are not as many.
pub fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let ports: Vec<SocketAddr> =
        (0..RANGE.len()).map(|_| next()).filter(is_free).take(count).collect();
    if ports.len() < count {
        let few = format!("{} ports from {RANGE:?} are free, {count} are needed", ports.len());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, few));
    }
    Ok(ports)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_differ_and_are_below_those_of_connections() {
        let mut ports = free_ports(50).unwrap();
        ports.extend(free_ports(50).unwrap());
        assert!(ports.iter().all(|address| RANGE.contains(&address.port())));
        let bound: Result<Vec<_>, _> = ports.iter().map(TcpListener::bind).collect();
        assert_eq!(bound.unwrap().len(), 100, "all at the same time");
        let too_many = free_ports(40_000).unwrap_err();
        assert_eq!(too_many.kind(), io::ErrorKind::AddrInUse);
    }
}
