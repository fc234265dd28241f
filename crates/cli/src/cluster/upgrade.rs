//! `quipu cluster upgrade`: how far an upgrade is, and its end.

use quipu_client::{Admin, ClusterDescription};
use serde::Serialize;

use crate::args::{FinalizeArgs, Format, Global, UpgradeVerb};
use crate::output;
use crate::topic::confirm;

/// Runs the verb.
pub(super) async fn run(global: &Global, admin: &Admin, verb: UpgradeVerb) -> anyhow::Result<()> {
    match verb {
        UpgradeVerb::Status => show(global, &Status::of(&admin.describe_cluster().await?)),
        UpgradeVerb::Finalize(args) => finalize(global, admin, args).await,
    }
}

/// How far an upgrade is.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Status<'a> {
    /// What the cluster is finalized at.
    finalized_level: u32,
    /// The newest that any node has.
    newest_level: u32,
    /// Whether `finalize` would raise the level.
    can_finalize: bool,
    /// Nodes that lack the newest level.
    behind: Vec<u64>,
    nodes: Vec<Row<'a>>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row<'a> {
    node_id: u64,
    is_alive: bool,
    version: &'a str,
    level_min: u32,
    level_max: u32,
}

impl<'a> Status<'a> {
    fn of(cluster: &'a ClusterDescription) -> Self {
        let newest = cluster.nodes.iter().map(|node| node.level_max).max().unwrap_or(0);
        let newest = newest.max(cluster.format_level);
        let lacks = cluster.nodes.iter();
        let lacks = lacks.filter(|node| !(node.level_min..=node.level_max).contains(&newest));
        let behind: Vec<u64> = lacks.map(|node| node.node_id).collect();
        let nodes = cluster.nodes.iter().map(|node| Row {
            node_id: node.node_id,
            is_alive: node.is_alive,
            version: &node.version,
            level_min: node.level_min,
            level_max: node.level_max,
        });
        Self {
            finalized_level: cluster.format_level,
            newest_level: newest,
            can_finalize: behind.is_empty() && newest > cluster.format_level,
            behind,
            nodes: nodes.collect(),
        }
    }

    /// What `finalize` would do.
    fn words(&self) -> String {
        let Self { finalized_level: now, newest_level: newest, .. } = self;
        if now == newest {
            return format!("the cluster is finalized at level {now}: nothing to finalize");
        }
        if self.can_finalize {
            return format!(
                "`quipu cluster upgrade finalize` raises the level from {now} to {newest}; until \
                 then every node can go back to the old release"
            );
        }
        let behind: Vec<String> = self.behind.iter().map(u64::to_string).collect();
        format!(
            "level {newest} cannot be finalized yet: start the new release on node {}",
            behind.join(", ")
        )
    }
}

fn show(global: &Global, status: &Status<'_>) -> anyhow::Result<()> {
    match global.output {
        Format::Json => return output::json(status),
        Format::Raw => return output::line(&status.finalized_level.to_string()),
        Format::Table => {}
    }
    let rows = status.nodes.iter().map(|row| {
        vec![
            row.node_id.to_string(),
            if row.is_alive { "yes" } else { "no" }.to_owned(),
            row.version.to_owned(),
            levels(row.level_min, row.level_max),
            if status.behind.contains(&row.node_id) { "no" } else { "yes" }.to_owned(),
        ]
    });
    let ready = format!("ready for {}", status.newest_level);
    output::table(&["node", "alive", "version", "levels", &ready], rows)?;
    output::line(&format!("finalized level: {}", status.finalized_level))?;
    output::note(&status.words());
    Ok(())
}

fn levels(min: u32, max: u32) -> String {
    if min == max { min.to_string() } else { format!("{min} to {max}") }
}

async fn finalize(global: &Global, admin: &Admin, args: FinalizeArgs) -> anyhow::Result<()> {
    let preview = admin.preview_finalize_level(args.level).await?;
    if preview.before == preview.level {
        output::note(&format!("the cluster is finalized at level {}: no change", preview.level));
        return shown(global, preview);
    }
    if args.dry_run {
        output::note("nothing was changed (--dry-run)");
        return shown(global, preview);
    }
    let (before, level) = (preview.before, preview.level);
    confirm(
        "finalize",
        args.yes,
        &format!(
            "raises the format level from {before} to {level}; no node can go back to a release \
             without it"
        ),
    )?;
    let finalized = admin.finalize_level(Some(level)).await?;
    output::note(&format!("the cluster is finalized at level {}", finalized.level));
    shown(global, finalized)
}

fn shown(global: &Global, finalized: quipu_client::FinalizedLevel) -> anyhow::Result<()> {
    match global.output {
        Format::Json => output::json(&finalized),
        Format::Raw => output::line(&finalized.level.to_string()),
        Format::Table => {
            let row = vec![finalized.before.to_string(), finalized.level.to_string()];
            output::table(&["before", "level"], [row])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::samples;

    #[test]
    fn finalize_is_offered_once_every_node_has_the_newest_level() {
        let mut cluster = samples::cluster(3);
        let same = Status::of(&cluster);
        assert!(!same.can_finalize && same.words().ends_with("nothing to finalize"));
        cluster.nodes[0].level_max = 2;
        cluster.nodes[1].level_max = 2;
        let mixed = Status::of(&cluster);
        assert_eq!((mixed.newest_level, &mixed.behind[..]), (2, &[3][..]));
        assert!(!mixed.can_finalize && mixed.words().ends_with("on node 3"), "{}", mixed.words());
        cluster.nodes[2].level_max = 2;
        let all = Status::of(&cluster);
        assert!(all.can_finalize && all.words().contains("from 1 to 2"), "{}", all.words());
        cluster.format_level = 2;
        assert!(!Status::of(&cluster).can_finalize);
    }
}
