//! RabbitMQ, with quorum queues and streams: one Erlang node each, with a name service of our own
//! beside them, so that nothing is shared with other Erlang programs on the machine.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use quipu_runtime::free_ports;

use super::{Cluster, NODES, Server, System};
use crate::fetch;
use crate::shell::run;

const READY_WAIT: Duration = Duration::from_secs(120);
const COOKIE: &str = "bench";
/// Of the Erlang machine that does the work.
const WORKER: &str = "beam.smp";

/// What a node and the tools that talk to it must agree on.
struct Node {
    id: usize,
    dir: PathBuf,
    amqp: SocketAddr,
    distribution: SocketAddr,
    stream: SocketAddr,
}

pub(super) fn start(cluster: &mut Cluster) -> Result<()> {
    let scripts = fetch::rabbitmq()?;
    let ports = free_ports(3 * NODES + 1)?;
    let (names, ports) = ports.split_first().context("there are ports")?;
    let home = cluster.dir.join("home");
    write_cookie(&home)?;
    let epmd = Server::new("epmd", Path::new("/usr/bin/epmd"), &home);
    cluster.help(epmd.args(["-port".to_owned(), names.port().to_string()]))?;
    let mut nodes = Vec::new();
    for (id, ports) in (1..=NODES).zip(ports.chunks(3)) {
        let (amqp, distribution, stream) = (ports[0], ports[1], ports[2]);
        let dir = cluster.dir_of(id)?;
        nodes.push(Node { id, dir, amqp, distribution, stream });
    }
    for node in &nodes {
        let text = configuration(node);
        cluster.configure(&node.dir.join("rabbitmq.conf"), text)?;
        cluster.configure(&node.dir.join("plugins"), "[rabbitmq_stream].\n".to_owned())?;
        let server = Server::new(
            format!("rabbitmq {}", node.id),
            &scripts.join("rabbitmq-server"),
            &node.dir,
        );
        let server = environment(node, &home, names.port())
            .into_iter()
            .fold(server, |server, (name, value)| server.env(name, value));
        cluster.launch(server.worker(WORKER))?;
        let ours = if cluster.system == System::RabbitmqStreams { node.stream } else { node.amqp };
        cluster.addresses.push(ours.to_string());
        // The others join the first: it must be there.
        cluster.wait(READY_WAIT, Cluster::answers)?;
    }
    let mut control = Command::new(scripts.join("rabbitmqctl"));
    control.envs(environment(&nodes[0], &home, names.port()));
    control.args(["--node", "r1@localhost", "await_online_nodes", &NODES.to_string()]);
    run(control.args(["--timeout", "60"])).context("wait for the cluster")?;
    let mut control = Command::new(scripts.join("rabbitmqctl"));
    control.envs(environment(&nodes[0], &home, names.port()));
    cluster.version = run(control.arg("version"))?.trim().to_owned();
    Ok(())
}

fn configuration(node: &Node) -> String {
    let nodes: String = (1..=NODES)
        .map(|id| format!("cluster_formation.classic_config.nodes.{id} = r{id}@localhost\n"))
        .collect();
    format!(
        "listeners.tcp.1 = {}\n\
         stream.listeners.tcp.1 = {}\n\
         stream.advertised_host = {}\n\
         stream.advertised_port = {}\n\
         cluster_formation.peer_discovery_backend = classic_config\n{nodes}\
         disk_free_limit.absolute = 1GB\n\
         log.console.level = warning\n",
        node.amqp,
        node.stream,
        node.stream.ip(),
        node.stream.port()
    )
}

fn environment(node: &Node, home: &Path, names: u16) -> Vec<(&'static str, String)> {
    let path = |name: &str| node.dir.join(name).display().to_string();
    vec![
        ("HOME", home.display().to_string()),
        ("ERL_EPMD_PORT", names.to_string()),
        ("RABBITMQ_NODENAME", format!("r{}@localhost", node.id)),
        ("RABBITMQ_DIST_PORT", node.distribution.port().to_string()),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
        ("RABBITMQ_CONF_ENV_FILE", path("none")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
        ("RABBITMQ_MNESIA_BASE", path("data")),
        ("RABBITMQ_LOG_BASE", path("logs")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2".to_owned()),
    ]
}

/// Erlang refuses a cookie that others may read.
fn write_cookie(home: &Path) -> Result<()> {
    std::fs::create_dir_all(home)?;
    let cookie = home.join(".erlang.cookie");
    std::fs::write(&cookie, COOKIE)?;
    Ok(std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400))?)
}
