//! Redis: one server that flushes every append before it answers, and two that follow behind.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use quipu_runtime::free_ports;

use super::{Cluster, NODES, Server};
use crate::fetch;
use crate::shell::run;

const READY_WAIT: Duration = Duration::from_secs(30);

pub(super) fn start(cluster: &mut Cluster) -> Result<()> {
    let program = fetch::redis()?;
    cluster.version = run(Command::new(&program).arg("--version"))?.trim().to_owned();
    let ports = free_ports(NODES)?;
    let first = ports[0];
    for (id, address) in (1..=NODES).zip(&ports) {
        let dir = cluster.dir_of(id)?;
        let follows = match id {
            1 => String::new(),
            _follower => format!("replicaof {} {}\n", first.ip(), first.port()),
        };
        let text = format!(
            "bind {}\nport {}\nappendonly yes\nappendfsync always\nsave \"\"\n{follows}",
            address.ip(),
            address.port()
        );
        cluster.configure(&dir.join("redis.conf"), text)?;
        let server = Server::new(format!("redis {id}"), &program, &dir).args(["redis.conf"]);
        cluster.launch(server)?;
    }
    cluster.addresses.push(first.to_string());
    cluster.wait(READY_WAIT, Cluster::answers)
}
