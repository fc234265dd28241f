//! Apache Kafka: three nodes, each broker and controller (KRaft).

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use quipu_runtime::free_ports;

use super::{Cluster, NODES, Server};
use crate::fetch;
use crate::shell::run;

const READY_WAIT: Duration = Duration::from_secs(120);
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

pub(super) fn start(cluster: &mut Cluster) -> Result<()> {
    let jars = fetch::kafka()?;
    let class_path = format!("{}/*", jars.display());
    let java = PathBuf::from("java");
    cluster.version = jars.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let ports = free_ports(2 * NODES)?;
    let voters: Vec<String> = (1..=NODES)
        .zip(ports.iter().skip(1).step_by(2))
        .map(|(id, controller)| format!("{id}@{controller}"))
        .collect();
    for (id, ports) in (1..=NODES).zip(ports.chunks(2)) {
        let dir = cluster.dir_of(id)?;
        let (clients, controller) = (ports[0], ports[1]);
        let text = format!(
            "process.roles=broker,controller\n\
             node.id={id}\n\
             controller.quorum.voters={}\n\
             listeners=PLAINTEXT://{clients},CONTROLLER://{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\n\
             num.network.threads=2\n\
             num.io.threads=2\n\
             num.replica.fetchers=1\n\
             default.replication.factor=3\n\
             min.insync.replicas=2\n\
             offsets.topic.replication.factor=3\n\
             auto.create.topics.enable=false\n",
            voters.join(","),
            dir.join("data").display()
        );
        let config = dir.join("server.properties");
        cluster.configure(&config, text)?;
        let mut format = Command::new(&java);
        format.current_dir(&dir).args(["-cp", &class_path, "kafka.tools.StorageTool", "format"]);
        run(format.args(["-t", CLUSTER_ID, "-c", "server.properties"])).context("format")?;
        let words = ["-Xmx1g", "-XX:+UseG1GC", "-cp", &class_path, "kafka.Kafka"];
        let server = Server::new(format!("kafka {id}"), &java, &dir).args(words);
        cluster.launch(server.args(["server.properties"]))?;
        cluster.addresses.push(clients.to_string());
    }
    cluster.wait(READY_WAIT, Cluster::answers)
}
