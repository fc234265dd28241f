//! What a page shows of a history.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use crate::history::{Call, Event, Outcome, Phase, ReadError, Reader, Stage};

const NANOS: u64 = 1_000_000_000;

/// A second of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Appends that were acknowledged.
    pub ok: u64,
    /// That were refused.
    pub fail: u64,
    /// That may have happened.
    pub info: u64,
    /// Median of the acknowledged ones, in microseconds.
    pub median_us: u64,
    /// 99th percentile.
    pub slowest_us: u64,
}

/// Something that lasted; ends in nanoseconds of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What.
    pub name: String,
    /// Since when.
    pub from: u64,
    /// Until when.
    pub to: u64,
    /// Nodes it hit, or that led.
    pub nodes: Vec<u64>,
}

/// The course of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// Second by second.
    pub seconds: Vec<Second>,
    /// Faults in order of begin.
    pub faults: Vec<Span>,
    /// Who led, by partition.
    pub leaders: BTreeMap<String, Vec<Span>>,
    /// When phases began, in nanoseconds.
    pub phases: Vec<(Phase, u64)>,
    /// The last moment, in nanoseconds.
    pub end: u64,
}

/// Latencies of a second, in microseconds.
type Latencies = Vec<Vec<u64>>;

impl Course {
    /// Reads a history.
    ///
    /// # Errors
    /// When a line is damaged.
    pub fn read<R: BufRead>(mut reader: Reader<R>) -> Result<Self, ReadError> {
        let mut course = Self::default();
        let mut open: HashMap<u64, u64> = HashMap::new();
        let mut latencies = Latencies::new();
        while let Some((_, line)) = reader.read()? {
            course.end = line.at;
            match line.event {
                Event::Invoke { id, call: Call::Append { .. } } => {
                    open.insert(id, line.at);
                }
                Event::Ok { id, outcome: Outcome::Appended { .. } } => {
                    let took = open.remove(&id).map_or(0, |begun| (line.at - begun) / 1_000);
                    course.second(line.at).ok += 1;
                    at(&mut latencies, line.at).push(took);
                }
                Event::Fail { id, .. } if open.remove(&id).is_some() => {
                    course.second(line.at).fail += 1;
                }
                Event::Info { id, .. } if open.remove(&id).is_some() => {
                    course.second(line.at).info += 1;
                }
                Event::Phase(phase) => course.phases.push((phase, line.at)),
                Event::Fault(fault) => course.fault(&fault.name, fault.stage, fault.nodes, line.at),
                Event::Leader(seen) => {
                    course.leader(seen.partition.to_string(), seen.leader, line.at);
                }
                _ => {}
            }
        }
        course.settle(latencies);
        Ok(course)
    }

    fn second(&mut self, nanos: u64) -> &mut Second {
        at(&mut self.seconds, nanos)
    }

    fn fault(&mut self, name: &str, stage: Stage, nodes: Vec<u64>, now: u64) {
        match stage {
            Stage::Injected => {
                let span = Span { name: name.to_owned(), from: now, to: u64::MAX, nodes };
                self.faults.push(span);
            }
            Stage::Healed => {
                let begun = self.faults.iter_mut().rev().find(|span| span.name == name);
                if let Some(begun) = begun.filter(|span| span.to == u64::MAX) {
                    begun.to = now;
                }
            }
        }
    }

    fn leader(&mut self, partition: String, leader: u64, now: u64) {
        let known = self.leaders.entry(partition).or_default();
        if let Some(before) = known.last_mut() {
            before.to = now;
        }
        let name = format!("node {leader}");
        known.push(Span { name, from: now, to: u64::MAX, nodes: vec![leader] });
    }

    fn settle(&mut self, latencies: Latencies) {
        let end = self.end;
        let of_leaders = self.leaders.values_mut().flatten();
        self.faults.iter_mut().chain(of_leaders).for_each(|span| span.to = span.to.min(end));
        for (second, mut took) in self.seconds.iter_mut().zip(latencies) {
            took.sort_unstable();
            let place = |percent: usize| {
                took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)))
            };
            second.median_us = place(50).copied().unwrap_or_default();
            second.slowest_us = place(99).copied().unwrap_or_default();
        }
    }
}

/// The entry of a moment's second; those before are made.
fn at<T: Default + Clone>(list: &mut Vec<T>, nanos: u64) -> &mut T {
    let place = usize::try_from(nanos / NANOS).unwrap_or_default();
    if list.len() <= place {
        list.resize(place + 1, T::default());
    }
    &mut list[place]
}
