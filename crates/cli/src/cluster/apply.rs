//! `quipu cluster export` and `quipu cluster apply`: what a cluster holds, as a file.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use quipu_client::Admin;
use serde::Serialize;

use super::plan::{Change, Plan, Planned, Refused, Step, plan};
use super::topology::Topology;
use crate::args::{ApplyArgs, ExportArgs, Format, Global};
use crate::exit::{FAILED, Failure};
use crate::output;
use crate::topic::confirm;

/// Writes what the cluster has.
pub(super) async fn export(
    global: &Global,
    admin: &Admin,
    args: &ExportArgs,
) -> anyhow::Result<()> {
    let (topics, policies) = (admin.list_topics().await?, admin.list_policies().await?);
    let topology = Topology::of(&topics, &policies)?;
    let mut text = match global.output {
        Format::Json => serde_json::to_string_pretty(&topology)?,
        Format::Table | Format::Raw => topology.text()?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let Some(file) = &args.file else {
        return output::line(text.trim_end_matches('\n'));
    };
    let path = std::path::absolute(file)?;
    quipu_disk::write_atomic(quipu_disk::real().as_ref(), &path, text.as_bytes())
        .with_context(|| format!("write {}", file.display()))?;
    let (topics, policies) = (topology.topics.len(), topology.policies.len());
    output::note(&format!("wrote {topics} topics and {policies} policies to {}", file.display()));
    Ok(())
}

/// The answer for scripts.
#[derive(Serialize)]
struct Report<'a> {
    is_dry_run: bool,
    /// Whether anything was changed, or would be.
    is_changed: bool,
    /// Declared items that are as declared.
    unchanged: usize,
    /// Topics and policies that the file does not name; they stay.
    others: usize,
    changes: Vec<Item<'a>>,
    refused: &'a [Refused],
}

/// A change and what became of it.
#[derive(Serialize)]
struct Item<'a> {
    #[serde(flatten)]
    change: &'a Change,
    /// `planned`, `done`, `failed` or `skipped`.
    result: &'static str,
    error: Option<String>,
}

/// Makes the cluster as the file declares it.
pub(super) async fn apply(global: &Global, admin: &Admin, args: &ApplyArgs) -> anyhow::Result<()> {
    let topology = Topology::parse(&read(&args.file)?)
        .map_err(|error| Failure::usage(format!("{}: {error}", args.file.display())))?;
    let plan = plan(admin, &topology, args.prune).await?;
    if global.output != Format::Json {
        show(&plan)?;
    }
    let is_refused = !plan.refused.is_empty();
    if is_refused || args.dry_run || plan.changes.is_empty() {
        report(global, args, &plan, &[])?;
        if is_refused {
            let count = plan.refused.len();
            let message = format!("{count} of the declared items cannot be; nothing was changed");
            return Err(Failure::with_code(FAILED, message));
        }
        if args.dry_run && !plan.changes.is_empty() {
            output::note("nothing was changed (--dry-run)");
        }
        return Ok(());
    }
    confirm("apply", args.yes, &consequence(&plan))?;
    let results = make(admin, &plan).await;
    report(global, args, &plan, &results)?;
    let done = results.iter().filter(|result| matches!(result, Outcome::Done)).count();
    if done == results.len() {
        output::note(&format!("{done} changes made"));
        return Ok(());
    }
    let message = format!(
        "{done} of {} changes made, the others failed or were left out: what is made stays; \
         apply the file again once the reasons above are gone",
        results.len()
    );
    Err(Failure::with_code(FAILED, message))
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).context("read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

fn show(plan: &Plan) -> anyhow::Result<()> {
    for line in plan.changes.iter().flat_map(|planned| planned.change.lines()) {
        output::line(&line)?;
    }
    for Refused { kind, name, reason } in &plan.refused {
        output::line(&format!("! {kind} {name}: {reason}"))?;
    }
    if plan.changes.is_empty() && plan.refused.is_empty() {
        output::note(&format!("no change: {} items are as declared", plan.unchanged));
    }
    if plan.others > 0 {
        let count = plan.others;
        output::note(&format!(
            "{count} topics and policies are not in the file and stay (--prune)"
        ));
    }
    Ok(())
}

fn consequence(plan: &Plan) -> String {
    let deletions = plan.changes.iter().filter(|planned| planned.step.deletes()).count();
    let changes = plan.changes.len();
    if deletions == 0 {
        return format!("makes {changes} changes");
    }
    format!("makes {changes} changes, {deletions} of which delete, events of topics included")
}

/// What became of a change.
#[derive(Debug)]
enum Outcome {
    Done,
    Failed(String),
    /// Deletions are left out when something before them failed.
    Skipped,
}

async fn make(admin: &Admin, plan: &Plan) -> Vec<Outcome> {
    let mut results: Vec<Outcome> = Vec::new();
    for (number, Planned { change, step }) in plan.changes.iter().enumerate() {
        let has_failed = results.iter().any(|result| matches!(result, Outcome::Failed(_)));
        let result = if has_failed && step.deletes() {
            Outcome::Skipped
        } else {
            match take(admin, step).await {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Failed(error.to_string()),
            }
        };
        let words = match &result {
            Outcome::Done => "done".to_owned(),
            Outcome::Failed(reason) => format!("failed: {reason}"),
            Outcome::Skipped => "left out, since a change before it failed".to_owned(),
        };
        let (place, count) = (number + 1, plan.changes.len());
        let Change { kind, name, action, .. } = change;
        output::note(&format!("[{place}/{count}] {action} {kind} {name}: {words}"));
        results.push(result);
    }
    results
}

async fn take(admin: &Admin, step: &Step) -> quipu_client::Result<()> {
    match step {
        Step::SetPolicy(policy) => admin.set_policy(policy.clone()).await.map(drop),
        Step::CreateTopic(topic) => admin.create_topic(topic.clone()).await.map(drop),
        Step::ChangeTopic { name, replication, partitions, settings } => {
            if let Some(replicas) = replication {
                admin.set_replication(name, *replicas).await?;
            }
            if let Some(total) = partitions {
                admin.add_partitions(name, *total).await?;
            }
            match settings {
                Some(change) => admin.alter_topic(change.clone()).await.map(drop),
                None => Ok(()),
            }
        }
        Step::DeleteTopic(name) => admin.delete_topic(name).await.map(drop),
        Step::DeletePolicy(pattern) => admin.delete_policy(pattern).await.map(drop),
    }
}

fn report(
    global: &Global,
    args: &ApplyArgs,
    plan: &Plan,
    results: &[Outcome],
) -> anyhow::Result<()> {
    if global.output != Format::Json {
        return Ok(());
    }
    let changes = plan.changes.iter().enumerate().map(|(at, planned)| {
        let (result, error) = match results.get(at) {
            None => ("planned", None),
            Some(Outcome::Done) => ("done", None),
            Some(Outcome::Failed(reason)) => ("failed", Some(reason.clone())),
            Some(Outcome::Skipped) => ("skipped", None),
        };
        Item { change: &planned.change, result, error }
    });
    let is_refused = !plan.refused.is_empty();
    output::json(&Report {
        is_dry_run: args.dry_run,
        is_changed: !plan.changes.is_empty() && !is_refused,
        unchanged: plan.unchanged,
        others: plan.others,
        changes: changes.collect(),
        refused: &plan.refused,
    })
}
