//! `quipu local`: clusters of real processes on this machine.

mod layout;
mod process;
mod rolling;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::args::{Format, Global, LocalNode, LocalVerb};
use crate::exit::{CONFLICT, Failure, NOT_FOUND};
use crate::{connect, context, output};
use layout::{Layout, Node};
pub(crate) use rolling::restart as rolling_restart;

/// How long a node may take to serve.
const READY_WAIT: Duration = Duration::from_secs(60);
/// How long a node may take to stop.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// Runs the verb.
pub(crate) fn run(global: &Global, verb: LocalVerb) -> anyhow::Result<()> {
    match verb {
        LocalVerb::Up { nodes, dir, port, set } => up(nodes, &dir, port, &set),
        LocalVerb::Down { dir, purge } => down(&dir, purge),
        LocalVerb::Status { dir } => status(global, &dir),
        LocalVerb::Add { dir, set } => add(&dir, &set),
        LocalVerb::Start(node) => one(&node, process::start),
        LocalVerb::Kill(node) => one(&node, process::kill),
        LocalVerb::Pause(node) => one(&node, process::pause),
        LocalVerb::Resume(node) => one(&node, process::resume),
    }
}

fn up(nodes: u64, dir: &Path, port: Option<u16>, set: &[String]) -> anyhow::Result<()> {
    let layout = match Layout::load(dir)? {
        Some(layout) => {
            ensure_same_size(&layout, nodes, dir)?;
            layout
        }
        None => Layout::create(dir, nodes, port, set)?,
    };
    for node in layout.nodes.iter().filter(|node| process::find(node).is_none()) {
        process::start(node)?;
    }
    context::remember(&layout.context_name(), &layout.servers())?;
    wait_ready(&layout)?;
    layout.nodes.iter().for_each(show);
    output::note("ready; this cluster is the current context. Stop it: quipu local down");
    Ok(())
}

fn show(node: &Node) {
    output::note(&format!(
        "node {}   clients {}   metrics http://{}/metrics   log {}",
        node.id,
        node.client,
        node.metrics,
        node.log().display()
    ));
}

fn add(dir: &Path, set: &[String]) -> anyhow::Result<()> {
    let mut layout = existing(dir)?;
    let node = layout.add(set)?;
    process::start(node)?;
    show(node);
    context::remember(&layout.context_name(), &layout.servers())?;
    wait_ready(&layout)?;
    output::note("ready; new topics use it, existing partitions stay where they are");
    Ok(())
}

fn ensure_same_size(layout: &Layout, nodes: u64, dir: &Path) -> anyhow::Result<()> {
    let existing = layout.nodes.len();
    if u64::try_from(existing)? == nodes {
        return Ok(());
    }
    Err(Failure::with_code(
        CONFLICT,
        format!(
            "{} holds a cluster of {existing} nodes: start it with --nodes {existing}, or remove it \
             with `quipu local down --purge --dir {}`",
            dir.display(),
            dir.display()
        ),
    ))
}

/// Waits until all nodes are part of a cluster that calls itself healthy; fails at once when a
/// process died.
fn wait_ready(layout: &Layout) -> anyhow::Result<()> {
    let begun = now();
    let nodes: Vec<u64> = layout.nodes.iter().map(|node| node.id).collect();
    let mut last = "no answer yet".to_owned();
    while begun.elapsed() < READY_WAIT {
        for node in &layout.nodes {
            ensure!(
                process::find(node).is_some(),
                "node {} ended; the end of {}:\n{}",
                node.id,
                node.log().display(),
                node.log_tail()
            );
        }
        match connect::block_on(connect::healthy(&layout.servers(), &nodes)) {
            Ok(()) => return Ok(()),
            Err(error) => last = format!("{error:#}"),
        }
        process::pause_between_looks();
    }
    Err(anyhow::anyhow!("the cluster was not ready after {READY_WAIT:?}: {last}"))
}

fn down(dir: &Path, purge: bool) -> anyhow::Result<()> {
    let layout = existing(dir)?;
    for node in layout.nodes.iter().filter(|node| process::find(node).is_some()) {
        process::terminate(node)?;
    }
    let begun = now();
    for node in &layout.nodes {
        while process::find(node).is_some() {
            if begun.elapsed() > STOP_WAIT {
                output::note(&format!("node {} did not stop in time and is killed", node.id));
                process::kill(node)?;
            }
            process::pause_between_looks();
        }
    }
    context::forget(&layout.context_name())?;
    if purge {
        layout.remove()?;
    }
    Ok(())
}

fn status(global: &Global, dir: &Path) -> anyhow::Result<()> {
    let layout = existing(dir)?;
    let states: Vec<(&Node, Option<u32>, &'static str)> = layout
        .nodes
        .iter()
        .map(|node| {
            let pid = process::find(node);
            (node, pid, pid.map_or("stopped", process::state))
        })
        .collect();
    if global.output == Format::Json {
        let rows: Vec<_> = states
            .iter()
            .map(|(node, pid, state)| {
                serde_json::json!({ "node": node.id, "state": state, "pid": pid,
                    "client": node.client, "metrics": node.metrics })
            })
            .collect();
        return output::json(&rows);
    }
    let rows = states.iter().map(|(node, pid, state)| {
        vec![
            node.id.to_string(),
            (*state).to_owned(),
            pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            node.client.to_string(),
            node.metrics.to_string(),
        ]
    });
    output::table(&["node", "state", "pid", "clients", "metrics"], rows)
}

fn one(args: &LocalNode, act: fn(&Node) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let layout = existing(&args.dir)?;
    let node = layout.nodes.iter().find(|node| node.id == args.node).ok_or_else(|| {
        let message = format!("{} has no node {}", args.dir.display(), args.node);
        Failure::with_code(NOT_FOUND, message)
    })?;
    act(node).with_context(|| format!("node {}", node.id))
}

fn existing(dir: &Path) -> anyhow::Result<Layout> {
    Layout::load(dir)?.ok_or_else(|| {
        let message =
            format!("no local cluster in {}; start one with `quipu local up`", dir.display());
        Failure::with_code(NOT_FOUND, message)
    })
}

#[expect(clippy::disallowed_methods, reason = "the command waits for processes in real time")]
fn now() -> Instant {
    Instant::now()
}
