//! NATS JetStream.

use std::time::Duration;

use anyhow::{Result, ensure};
use quipu_runtime::free_ports;

use super::{Cluster, NODES, Server, System};
use crate::shell::run;
use crate::{fetch, http};

const READY_WAIT: Duration = Duration::from_secs(60);

pub(super) fn start(cluster: &mut Cluster) -> Result<()> {
    let program = fetch::nats()?;
    cluster.version = run(std::process::Command::new(&program).arg("--version"))?.trim().to_owned();
    let ports = free_ports(3 * NODES)?;
    let routes: Vec<String> =
        ports.iter().skip(1).step_by(3).map(|route| format!("nats://{route}")).collect();
    let is_always = cluster.system == System::NatsAlways;
    let sync = if is_always { ", sync_interval: always" } else { "" };
    let mut monitors = Vec::new();
    for (id, ports) in (1..=NODES).zip(ports.chunks(3)) {
        let dir = cluster.dir_of(id)?;
        let (client, route, monitor) = (ports[0], ports[1], ports[2]);
        let text = format!(
            "server_name: n{id}\n\
             listen: {client}\n\
             http: {monitor}\n\
             cluster {{ name: c, listen: {route}, routes: [{}] }}\n\
             jetstream {{ store_dir: \"./data\", max_file_store: 40G, max_mem: 64M{sync} }}\n",
            routes.join(", ")
        );
        let config = dir.join("nats.conf");
        cluster.configure(&config, text)?;
        let server = Server::new(format!("nats {id}"), &program, &dir);
        cluster.launch(server.args(["-c", "nats.conf"]).env("GOMAXPROCS", "2"))?;
        cluster.addresses.push(client.to_string());
        monitors.push(monitor.to_string());
    }
    cluster.wait(READY_WAIT, |_| monitors.iter().try_for_each(|monitor| has_leader(monitor)))
}

/// The servers must have found each other before streams can be made.
fn has_leader(monitor: &str) -> Result<()> {
    let page: serde_json::Value = serde_json::from_str(&http::get(monitor, "/jsz")?)?;
    let group = &page["meta_cluster"];
    let leader = group["leader"].as_str().unwrap_or_default();
    let size = group["cluster_size"].as_u64().unwrap_or(0);
    ensure!(!leader.is_empty() && size == NODES as u64, "the servers form no cluster of {NODES}");
    Ok(())
}
