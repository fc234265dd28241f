//! What all families know of the run: its limits, its course, its logs.

use std::collections::HashMap;

use super::family::{Moment, Seen};
use super::log::Logs;
use crate::history::{Event, Fault, Limits, Partition, Phase, Stage};

/// What all families know.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub limits: Limits,
    pub course: Course,
    pub logs: Logs,
}

/// Phases, faults and changes of leaders.
#[derive(Debug, Default)]
pub(crate) struct Course {
    phases: Vec<(Phase, Moment)>,
    /// Every fault event.
    pub faults: Vec<(Moment, Fault)>,
    leaders: HashMap<Partition, Vec<(Moment, u64)>>,
    /// Last line of the history so far.
    pub last: Moment,
}

impl Course {
    pub(crate) fn observe(&mut self, seen: &Seen<'_>) {
        match seen.event {
            Event::Phase(phase) => self.phases.push((*phase, seen.now)),
            Event::Fault(fault) => self.faults.push((seen.now, fault.clone())),
            Event::Leader(leader) => {
                let known = self.leaders.entry(leader.partition.clone()).or_default();
                if known.last().is_none_or(|(_, term)| *term != leader.term) {
                    known.push((seen.now, leader.term));
                }
            }
            _ => {}
        }
    }

    /// Whether a partition's leader changed, or a fault hit a leader, after a moment.
    pub(crate) fn leader_disturbed_after(&self, partition: &Partition, from: Moment) -> bool {
        let known = self.leaders.get(partition);
        let changed = known.is_some_and(|all| all.iter().skip(1).any(|(at, _)| *at > from));
        changed || self.fault_between(from, Moment::NEVER, |fault| fault.leader).is_some()
    }

    /// When a phase began.
    pub(crate) fn began(&self, phase: Phase) -> Option<Moment> {
        self.phases.iter().find(|(name, _)| *name == phase).map(|(_, at)| *at)
    }

    /// Whether the final reads have begun.
    pub(crate) fn in_final_reads(&self) -> bool {
        self.began(Phase::FinalReads).is_some()
    }

    /// The first fault between two moments that satisfies a condition.
    pub(crate) fn fault_between(
        &self,
        from: Moment,
        to: Moment,
        wanted: impl Fn(&Fault) -> bool,
    ) -> Option<Moment> {
        let start = self.faults.partition_point(|(at, _)| *at <= from);
        let behind = self.faults[start..].iter().take_while(|(at, _)| *at < to);
        behind
            .filter(|(_, fault)| fault.stage == Stage::Injected && wanted(fault))
            .map(|(at, _)| *at)
            .next()
    }
}
