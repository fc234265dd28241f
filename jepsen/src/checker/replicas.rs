//! Replicas are equal after healing, and none ever goes back.

use std::collections::HashMap;

use super::Anomaly;
use super::family::{Family, Seen};
use super::finding::Findings;
use super::run::Run;
use crate::history::{Event, LeaderSeen, Partition, ReplicaSeen};

/// Replicas, as seen from inside.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    // Partition and node to the last state and its line.
    states: HashMap<(Partition, Option<u64>), (ReplicaSeen, u64)>,
    // Partition and term to the leader and the line.
    leaders: HashMap<(Partition, u64), (u64, u64)>,
    // Partition and round to the first replica's state and its line.
    rounds: HashMap<(Partition, u64), (ReplicaSeen, u64)>,
}

impl Family for Replicas {
    fn observed(&mut self, seen: &Seen<'_>, _run: &mut Run, out: &mut Findings) {
        match seen.event {
            Event::Leader(leader) => self.leader(leader, seen.now.line, out),
            Event::Replica(state) => {
                self.rises(seen, state, out);
                self.agrees(state, seen.now.line, out);
            }
            _ => {}
        }
    }
}

impl Replicas {
    fn leader(&mut self, seen: &LeaderSeen, line: u64, out: &mut Findings) {
        let key = (seen.partition.clone(), seen.term);
        let (known, first) = *self.leaders.entry(key).or_insert((seen.leader, line));
        if known != seen.leader {
            let (term, leader) = (seen.term, seen.leader);
            out.report(Anomaly::StateWentBack, &seen.partition, &[], &[first, line], || {
                format!("term {term} had leaders {known} and {leader}")
            });
        }
    }

    fn rises(&mut self, seen: &Seen<'_>, state: &ReplicaSeen, out: &mut Findings) {
        let line = seen.now.line;
        let key = (state.partition.clone(), seen.node);
        let Some((before, first)) = self.states.insert(key, (state.clone(), line)) else { return };
        let figures = [
            ("term", before.term, state.term),
            ("committed index", before.committed, state.committed),
            ("applied index", before.applied, state.applied),
        ];
        for (name, old, new) in figures.into_iter().filter(|(_, old, new)| new < old) {
            out.report(Anomaly::StateWentBack, &state.partition, &[], &[first, line], || {
                format!("the {name} of a replica went from {old} to {new}")
            });
        }
        if before.term == state.term && before.vote.is_some() && before.vote != state.vote {
            out.report(Anomaly::StateWentBack, &state.partition, &[], &[first, line], || {
                format!("a replica changed its vote in term {}", state.term)
            });
        }
        if state.log_start < before.log_start {
            let offsets = [before.log_start, state.log_start];
            out.report(
                Anomaly::LogStartWentBack,
                &state.partition,
                &offsets,
                &[first, line],
                || "the log start of a replica went back".to_owned(),
            );
        }
    }

    fn agrees(&mut self, state: &ReplicaSeen, line: u64, out: &mut Findings) {
        let Some(round) = state.round else { return };
        let key = (state.partition.clone(), round);
        let (first, first_line) = self.rounds.entry(key).or_insert_with(|| (state.clone(), line));
        let pairs = [
            ("log start", Some(first.log_start), Some(state.log_start)),
            ("end", Some(first.end), Some(state.end)),
            ("bytes", first.digest, state.digest),
            ("producer table", first.producers, state.producers),
            ("groups", first.groups, state.groups),
        ];
        let lines = [*first_line, line];
        for (name, _, _) in pairs.into_iter().filter(|(_, one, two)| one != two) {
            out.report(Anomaly::ReplicasDiffer, &state.partition, &[], &lines, || {
                format!("two replicas differ in their {name}")
            });
        }
    }
}
