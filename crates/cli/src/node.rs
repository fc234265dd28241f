//! `quipu node`: who is there, and who is to rest or to leave.

mod drain;

use quipu_client::{Admin, ClusterDescription, NodeChange, NodeId};
use serde::Serialize;

use crate::args::{Format, Global, NodeLeave, NodeVerb};
use crate::topic::confirm;
use crate::{connect, output, waiting};

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: NodeVerb) -> anyhow::Result<()> {
    connect::block_on(async {
        match verb {
            NodeVerb::List => list(global, &admin(global).await?.describe_cluster().await?),
            NodeVerb::Drain(args) => drain::run(global, args).await,
            NodeVerb::Undrain { node } => {
                let admin = admin(global).await?;
                admin.change_node(NodeId::new(node), NodeChange::Activate).await?;
                output::note(&format!("node {node} works again"));
                Ok(())
            }
            NodeVerb::Decommission(leave) => {
                remove(&admin(global).await?, leave, NodeChange::Decommission).await
            }
            NodeVerb::Replace(leave) => {
                remove(&admin(global).await?, leave, NodeChange::Replace).await
            }
        }
    })
}

async fn admin(global: &Global) -> anyhow::Result<Admin> {
    Ok(connect::client(global).await?.admin())
}

async fn remove(admin: &Admin, leave: NodeLeave, change: NodeChange) -> anyhow::Result<()> {
    let NodeLeave { node, no_wait, yes } = leave;
    if admin.describe_cluster().await?.removed_nodes.contains(&node) {
        output::note(&format!("node {node} is removed already"));
        return Ok(());
    }
    confirm(&node.to_string(), yes, "removes the node from the cluster for ever")?;
    admin.change_node(NodeId::new(node), change).await?;
    if no_wait { Ok(()) } else { waiting::for_removal(admin, node).await }
}

/// A node and what it does.
#[derive(Serialize)]
struct Row<'a> {
    node_id: u64,
    is_alive: bool,
    state: &'a str,
    drained_until_ms: Option<u64>,
    drained_until_restart: bool,
    is_controller: bool,
    replicas: usize,
    leads: usize,
    rack: &'a str,
    address: &'a str,
    version: &'a str,
}

fn list(global: &Global, cluster: &ClusterDescription) -> anyhow::Result<()> {
    let data = || cluster.shards.iter().filter(|shard| shard.shard != 0);
    let rows = cluster.nodes.iter().map(|node| {
        let id = node.node_id;
        let holds = data().filter(|it| it.replicas.contains(&id) || it.leaving.contains(&id));
        Row {
            node_id: id,
            is_alive: node.is_alive,
            state: node.state,
            drained_until_ms: node.drained_until_ms,
            drained_until_restart: node.drained_until_restart,
            is_controller: cluster.controller == Some(id),
            replicas: holds.count(),
            leads: data().filter(|shard| shard.leader == Some(id)).count(),
            rack: &node.rack,
            address: &node.address,
            version: &node.version,
        }
    });
    let rows: Vec<Row<'_>> = rows.collect();
    match global.output {
        Format::Json => output::json(&rows),
        Format::Raw => rows.iter().try_for_each(|row| output::line(&row.node_id.to_string())),
        Format::Table => {
            let cells = rows.iter().map(|row| {
                let answers = if row.is_alive { "yes" } else { "no" };
                let controls = if row.is_controller { "yes" } else { "" };
                vec![
                    row.node_id.to_string(),
                    row.state.to_owned(),
                    answers.to_owned(),
                    row.replicas.to_string(),
                    row.leads.to_string(),
                    controls.to_owned(),
                    row.rack.to_owned(),
                    row.address.to_owned(),
                    row.version.to_owned(),
                ]
            });
            let header = [
                "node",
                "state",
                "alive",
                "replicas",
                "leads",
                "controller",
                "rack",
                "address",
                "version",
            ];
            output::table(&header, cells)
        }
    }
}
