//! What faults cost: how long appends stood still, and how long recovery took.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use serde::{Deserialize, Serialize};

use crate::history::{Acks, Call, Event, Fault, Outcome, Partition, ReadError, Reader, Stage};

/// Faults this close to each other are not told apart.
const APART_MS: u64 = 500;
const NANOS_PER_MS: u64 = 1_000_000;

/// What the faults of one run cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Records that a quorum acknowledged.
    pub acked_by_quorum: u64,
    /// Faults, in order of begin.
    pub faults: Vec<FaultFigures>,
}

/// What one fault cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultFigures {
    /// As in the history.
    pub name: String,
    /// Milliseconds since the run began.
    pub began_ms: u64,
    /// Until it was taken back.
    pub lasted_ms: u64,
    /// It was seen to take effect.
    pub bit: bool,
    /// It hit a leader of a partition under load.
    pub leader: bool,
    /// No healthy majority was left while it lasted.
    pub no_majority: bool,
    /// No other fault was near.
    pub alone: bool,
    /// From the last to the next acknowledgement of a partition, over the fault: the longest.
    pub standstill_ms: u64,
    /// From the end of the fault until every partition had acknowledged something again.
    pub recovery_ms: Option<u64>,
}

/// When quorum appends were acknowledged, in milliseconds, and how many records.
#[derive(Debug, Default)]
struct Acked {
    open: HashMap<u64, (Partition, u64)>,
    at: BTreeMap<Partition, Vec<u64>>,
    records: u64,
}

impl Figures {
    /// Reads a history.
    ///
    /// # Errors
    /// When a line is damaged.
    pub fn read<R: BufRead>(mut reader: Reader<R>) -> Result<Self, ReadError> {
        let mut acked = Acked::default();
        let mut faults: Vec<FaultFigures> = Vec::new();
        while let Some((_, line)) = reader.read()? {
            let now = line.at / NANOS_PER_MS;
            match line.event {
                Event::Invoke { id, call } => acked.invoked(id, call),
                Event::Ok { id, outcome: Outcome::Appended { .. } } => acked.answered(id, now),
                Event::Fail { id, .. } | Event::Info { id, .. } => drop(acked.open.remove(&id)),
                Event::Fault(fault) => note(&mut faults, &fault, now),
                _ => {}
            }
        }
        for place in 0..faults.len() {
            let alone = is_alone(&faults, place);
            let fault = &mut faults[place];
            fault.alone = alone;
            (fault.standstill_ms, fault.recovery_ms) = acked.cost(fault);
        }
        Ok(Self { acked_by_quorum: acked.records, faults })
    }
}

fn note(faults: &mut Vec<FaultFigures>, fault: &Fault, now: u64) {
    if fault.stage == Stage::Injected {
        faults.push(FaultFigures {
            name: fault.name.clone(),
            began_ms: now,
            lasted_ms: 0,
            bit: fault.bit,
            leader: fault.leader,
            no_majority: fault.no_majority,
            alone: false,
            standstill_ms: 0,
            recovery_ms: None,
        });
    } else if let Some(begun) = faults.iter_mut().rev().find(|known| known.name == fault.name) {
        begun.lasted_ms = now - begun.began_ms;
    }
}

fn is_alone(faults: &[FaultFigures], place: usize) -> bool {
    let end = |fault: &FaultFigures| fault.began_ms + fault.lasted_ms;
    let of = &faults[place];
    let mut others = faults.iter().enumerate().filter(|(other, _)| *other != place);
    others.all(|(_, other)| {
        end(other) + APART_MS <= of.began_ms || end(of) + APART_MS <= other.began_ms
    })
}

impl Acked {
    fn invoked(&mut self, id: u64, call: Call) {
        if let Call::Append { partition, acks: Acks::Quorum, values, .. } = call {
            self.open.insert(id, (partition, values.len() as u64));
        }
    }

    fn answered(&mut self, id: u64, now: u64) {
        if let Some((partition, records)) = self.open.remove(&id) {
            self.at.entry(partition).or_default().push(now);
            self.records += records;
        }
    }

    /// Standstill and recovery.
    fn cost(&self, fault: &FaultFigures) -> (u64, Option<u64>) {
        let (from, to) = (fault.began_ms, fault.began_ms + fault.lasted_ms);
        let standstill = self.at.values().flat_map(|at| {
            // The acknowledgement before the fault, those during it, the one after it.
            let first = at.partition_point(|at| *at <= from).saturating_sub(1);
            let last = (at.partition_point(|at| *at <= to) + 1).min(at.len());
            at[first..last].windows(2).map(|pair| pair[1] - pair[0])
        });
        let recovery = self.at.values().map(|at| {
            let next = at.get(at.partition_point(|at| *at <= to))?;
            Some(next - to)
        });
        // None stands before all: a partition that never came back is worse than any.
        let recovery: Option<Vec<u64>> = recovery.collect();
        (standstill.max().unwrap_or_default(), recovery.and_then(|all| all.into_iter().max()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Line, Start, Value, Writer};

    const MS: u64 = NANOS_PER_MS;

    fn append(id: u64, at: u64, took: u64) -> Vec<Line> {
        let partition: Partition = format!("events/{}", id % 2).parse().unwrap();
        let values = vec![Value(id, 1), Value(id + 100, 1)];
        let call =
            Call::Append { partition, acks: Acks::Quorum, producer: None, resends: false, values };
        let line = |at, event| Line { at: at * MS, process: 1, node: None, event };
        vec![
            line(at, Event::Invoke { id, call }),
            line(at + took, Event::Ok { id, outcome: Outcome::Appended { offset: Some(id) } }),
        ]
    }

    fn fault(at: u64, stage: Stage) -> Line {
        let fault = Fault {
            name: "kill-leader".to_owned(),
            stage,
            nodes: vec![1],
            bit: true,
            leader: true,
            no_majority: false,
        };
        Line { at: at * MS, process: 0, node: None, event: Event::Fault(fault) }
    }

    fn read(mut lines: Vec<Line>) -> Figures {
        lines.sort_by_key(|line| line.at);
        let mut writer = Writer::new(Vec::new(), Start::named("figures")).unwrap();
        lines.iter().for_each(|line| writer.write(line).unwrap());
        let (_, text) = writer.finish().unwrap();
        Figures::read(Reader::new(text.as_slice())).unwrap()
    }

    #[test]
    fn standstill_is_the_longest_gap_over_the_fault_and_recovery_that_of_the_last_partition() {
        let mut lines = vec![fault(1_000, Stage::Injected), fault(2_000, Stage::Healed)];
        // Partition 0 answers at 900, 1400, 2050; partition 1 at 950 and 2300 only.
        for (id, at) in [(0, 890), (2, 1_390), (4, 2_040), (1, 940), (3, 2_290)] {
            lines.extend(append(id, at, 10));
        }
        let figures = read(lines);
        assert_eq!(figures.acked_by_quorum, 10);
        let [fault] = figures.faults.as_slice() else { panic!("{figures:?}") };
        assert_eq!((fault.began_ms, fault.lasted_ms, fault.alone), (1_000, 1_000, true));
        assert_eq!((fault.standstill_ms, fault.recovery_ms), (1_350, Some(300)));
    }

    #[test]
    fn a_partition_that_never_comes_back_has_no_recovery() {
        let mut lines = vec![fault(1_000, Stage::Injected), fault(2_000, Stage::Healed)];
        lines.extend(append(0, 500, 10).into_iter().chain(append(1, 510, 10)));
        lines.extend(append(2, 2_500, 10));
        let figures = read(lines);
        assert_eq!(figures.faults[0].recovery_ms, None);
    }

    #[test]
    fn faults_near_each_other_are_not_alone() {
        let near = |second: u64| {
            let at = |at, stage| fault(at, stage);
            read(vec![
                at(1_000, Stage::Injected),
                at(2_000, Stage::Healed),
                at(second, Stage::Injected),
                at(second + 100, Stage::Healed),
            ])
        };
        assert!(near(2_499).faults.iter().all(|fault| !fault.alone));
        assert!(near(2_500).faults.iter().all(|fault| fault.alone));
    }
}
