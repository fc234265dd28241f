//! Calls that precede each other in a circle, by position, by reading, by process, by time.

use std::collections::HashMap;

use super::Anomaly;
use super::family::{Completed, Family, Moment};
use super::finding::Findings;
use super::graph::{Graph, Reason};
use super::run::Run;
use crate::history::Outcome;

const WRITE: Reason = 1;
const READ: Reason = 2;
const PROCESS: Reason = 4;
const TIME: Reason = 8;

/// Which circles are named how: the first that has one names it. No call both appends and reads,
/// so that a circle through a read needs the order of calls: there is no plain G1c.
const NAMES: [(Reason, Anomaly); 5] = [
    (WRITE, Anomaly::CycleWrites),
    (WRITE | PROCESS, Anomaly::CycleWritesProcess),
    (WRITE | READ | PROCESS, Anomaly::CycleReadsProcess),
    (WRITE | TIME, Anomaly::CycleWritesRealtime),
    (WRITE | READ | PROCESS | TIME, Anomaly::CycleReadsRealtime),
];

/// Calls named as evidence of one circle.
const SHOWN: usize = 8;

/// A call as a node.
#[derive(Debug)]
struct Node {
    process: u64,
    invoked: Moment,
    done: Moment,
}

/// A read, with the last offset it got of each run of offsets.
#[derive(Debug)]
struct Read {
    call: Node,
    lasts: Vec<(usize, u64)>,
}

/// Calls that precede each other in a circle.
#[derive(Debug, Default)]
pub(crate) struct Cycles {
    reads: Vec<Read>,
}

impl Family for Cycles {
    fn completed(&mut self, op: &Completed<'_>, run: &mut Run, _out: &mut Findings) {
        let Some(Outcome::Polled { partitions }) = op.answer.ok() else { return };
        let mut lasts: Vec<(usize, u64)> = Vec::new();
        for polled in partitions {
            let place = run.logs.place(&polled.partition);
            for batch in polled.batches.iter().filter(|batch| !batch.values.is_empty()) {
                if let Some(behind) = lasts.last_mut()
                    && *behind == (place, batch.offset.wrapping_sub(1))
                {
                    lasts.pop();
                }
                lasts.push((place, batch.offset.saturating_add(batch.values.len() as u64 - 1)));
            }
        }
        if !lasts.is_empty() {
            let call = Node { process: op.open.process, invoked: op.open.invoked, done: op.done };
            self.reads.push(Read { call, lasts });
        }
    }

    fn finish(&mut self, run: &mut Run, out: &mut Findings) {
        let (mut graph, nodes) = self.build(run);
        let circles = graph.circles();
        for members in circles {
            name(&graph, &members, &nodes, out);
        }
    }
}

impl Cycles {
    /// Nodes of the graph: appends, then reads, then points in time.
    fn build(&self, run: &Run) -> (Graph, Vec<Node>) {
        let mut graph = Graph::default();
        let mut nodes = Vec::new();
        let mut firsts = Vec::new();
        for log in &run.logs.all {
            firsts.push(nodes.len());
            for append in &log.appends {
                let (process, invoked) = (append.process, append.invoked);
                // An acknowledgement by the leader alone says nothing of the order.
                let done = if append.is_final() { append.done } else { Moment::NEVER };
                nodes.push(Node { process, invoked, done });
                graph.node();
            }
        }
        writes(&mut graph, run, &firsts);
        for read in &self.reads {
            let reader = graph.node();
            for (place, last) in &read.lasts {
                let log = &run.logs.all[*place];
                if let Some(sent) = log.slots.get(last).and_then(|slot| slot.sent) {
                    let writer = node_of(firsts[*place], log.sent[sent].append);
                    graph.precede(writer, reader, READ);
                }
            }
            let Node { process, invoked, done } = read.call;
            nodes.push(Node { process, invoked, done });
        }
        in_time(&mut graph, &nodes);
        (graph, nodes)
    }
}

fn node_of(first: usize, append: usize) -> u32 {
    u32::try_from(first + append).expect("fewer than four billion calls fit into memory")
}

/// Appends at neighbouring offsets precede each other.
fn writes(graph: &mut Graph, run: &Run, firsts: &[usize]) {
    for (log, first) in run.logs.all.iter().zip(firsts) {
        // A duplicate is a finding of its own: only the first place of a value counts.
        let placed = log.slots.iter().filter_map(|(offset, slot)| {
            slot.sent.filter(|sent| log.sent[*sent].seen_at == Some(*offset))
        });
        let writers = placed.map(|sent| node_of(*first, log.sent[sent].append));
        let mut before = None;
        for writer in writers {
            if let Some(before) = before {
                graph.precede(before, writer, WRITE);
            }
            before = Some(writer);
        }
    }
}

/// Calls that ended precede those that begin later, in a process and in the whole.
fn in_time(graph: &mut Graph, nodes: &[Node]) {
    let mut moments: Vec<(u64, bool, u32)> = Vec::with_capacity(nodes.len() * 2);
    for (node, place) in nodes.iter().zip(0_u32..) {
        moments.push((node.invoked.line, false, place));
        if node.done != Moment::NEVER {
            moments.push((node.done.line, true, place));
        }
    }
    moments.sort_unstable();
    let mut ended: Vec<u32> = Vec::new();
    let mut last_of: HashMap<u64, u32> = HashMap::new();
    let mut point = None;
    for (_, is_end, node) in moments {
        let process = nodes[node as usize].process;
        if is_end {
            ended.push(node);
            last_of.insert(process, node);
            continue;
        }
        if let Some(before) = last_of.get(&process) {
            graph.precede(*before, node, PROCESS);
        }
        if !ended.is_empty() {
            let next = graph.node();
            if let Some(before) = point.replace(next) {
                graph.precede(before, next, TIME);
            }
            ended.drain(..).for_each(|call| graph.precede(call, next, TIME));
        }
        if let Some(point) = point {
            graph.precede(point, node, TIME);
        }
    }
}

fn name(graph: &Graph, members: &[u32], nodes: &[Node], out: &mut Findings) {
    for (reasons, anomaly) in NAMES {
        let mut part = graph.within(members, reasons);
        let circles = part.circles();
        let Some(start) = circles.first().and_then(|circle| circle.iter().min()) else { continue };
        let way = part.way_round(*start);
        let calls: Vec<&Node> =
            way.iter().filter_map(|node| nodes.get(members[*node as usize] as usize)).collect();
        let lines: Vec<u64> = calls.iter().take(SHOWN).map(|node| node.invoked.line).collect();
        out.report(anomaly, &"all partitions", &[], &lines, || {
            format!("{} calls precede each other in a circle", calls.len())
        });
        return;
    }
}
