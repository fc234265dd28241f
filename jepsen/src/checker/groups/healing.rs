//! After healing every partition has an owner and nothing is left to read.

use std::collections::HashMap;

use super::super::Anomaly;
use super::super::family::{Completed, Family, Moment};
use super::super::finding::Findings;
use super::super::run::Run;
use super::shown;
use crate::history::{Call, Outcome, Partition, Phase};

/// The last answer about a group.
#[derive(Debug)]
struct State {
    invoked: Moment,
    line: u64,
    ownerless: Vec<Partition>,
    lag: u64,
}

/// Groups after healing.
#[derive(Debug, Default)]
pub(crate) struct Healing {
    states: HashMap<String, State>,
    last_append: Moment,
}

impl Family for Healing {
    fn completed(&mut self, op: &Completed<'_>, _run: &mut Run, _out: &mut Findings) {
        match (&op.open.call, op.answer.ok()) {
            (Call::Append { .. }, Some(_)) => self.last_append = op.done,
            (Call::Describe { group }, Some(Outcome::Described { owners, lag, .. })) => {
                let ownerless = owners.iter().filter(|(_, owner)| owner.is_none());
                let state = State {
                    invoked: op.open.invoked,
                    line: op.done.line,
                    ownerless: ownerless.map(|(name, _)| name.clone()).collect(),
                    lag: lag.unwrap_or_default(),
                };
                self.states.insert(group.clone(), state);
            }
            _ => {}
        }
    }

    fn finish(&mut self, run: &mut Run, out: &mut Findings) {
        let Some(healed) = run.course.began(Phase::Healed) else { return };
        let patience = run.limits.heal_ms.saturating_mul(1_000_000);
        let mut states: Vec<_> = self.states.iter().collect();
        states.sort_by_key(|(group, _)| *group);
        for (group, state) in states {
            let is_due = |since: Moment| state.invoked.at >= since.at.saturating_add(patience);
            if !is_due(healed) {
                continue;
            }
            for partition in &state.ownerless {
                let subject = shown(group, partition);
                out.report(Anomaly::GroupNotHealed, &subject, &[], &[state.line], || {
                    "nobody owns it although all faults were taken back long before".to_owned()
                });
            }
            if state.lag > 0 && is_due(self.last_append) {
                out.report(Anomaly::GroupNotHealed, group, &[], &[state.line], || {
                    format!("{} records were not yet handled", state.lag)
                });
            }
        }
    }
}
