//! Quipu as it comes, but for what the command line sets.

use std::time::Duration;

use anyhow::{Result, ensure};
use quipu_runtime::free_ports;

use super::{Cluster, NODES, Server, System};
use crate::http;
use crate::options::Options;
use crate::shell::run;

const READY_WAIT: Duration = Duration::from_secs(60);

pub(super) fn start(cluster: &mut Cluster, options: &Options) -> Result<()> {
    let program = std::path::absolute(&options.quipu_bin)?;
    ensure!(program.is_file(), "there is no {}; QUIPU_BIN names another", program.display());
    cluster.version = run(std::process::Command::new(&program).arg("--version"))?.trim().to_owned();
    let ports = free_ports(3 * NODES)?;
    let peers: Vec<String> = (1..=NODES)
        .zip(ports.iter().skip(1).step_by(3))
        .map(|(id, peer)| format!("{id}@{peer}"))
        .collect();
    for (id, ports) in (1..=NODES).zip(ports.chunks(3)) {
        let dir = cluster.dir_of(id)?;
        let mut settings = vec![
            format!("node.id={id}"),
            format!("node.data-dir={}", dir.join("data").display()),
            format!("cluster.bootstrap={}", peers.join(",")),
            format!("listeners.client={}", ports[0]),
            format!("listeners.peer={}", ports[1]),
            format!("listeners.metrics={}", ports[2]),
        ];
        if cluster.system == System::QuipuInterval {
            settings.push("journal.flush=10ms".to_owned());
        }
        settings.extend(options.quipu_set.iter().cloned());
        let words = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
        let server = Server::new(format!("quipu {id}"), &program, &dir).args(["serve"]);
        cluster.launch(server.args(words))?;
        cluster.addresses.push(ports[0].to_string());
        cluster.metrics.push(ports[2].to_string());
    }
    cluster.wait(READY_WAIT, |cluster| {
        for address in &cluster.metrics {
            http::get(address, "/health/cluster")?;
        }
        Ok(())
    })
}
