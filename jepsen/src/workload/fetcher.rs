//! Reads all partitions over and over while the run goes on, by bare fetches.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use quipu_runtime::Rng;
use tokio::sync::watch;

use super::bare::Bare;
use super::place::Place;
use crate::history::{Call, Failure, Outcome, Polled, Session};

/// Between two fetches at least.
const PACE: Duration = Duration::from_millis(25);
/// How long a node may wait for something new.
const WAIT_MS: u32 = 50;
/// One fetch in so many asks whatever node, one begins again further back.
const ASTRAY: u64 = 48;
const BACK: u64 = 96;
/// How far back.
const BACK_RECORDS: u64 = 300;

/// Reads all partitions.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) session: Session,
    pub(super) rng: Rng,
    pub(super) bare: Bare,
}

impl Fetcher {
    /// Reads until told to stop.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let mut positions: BTreeMap<Place, u64> =
            Place::all().into_iter().map(|place| (place, 0)).collect();
        let places = Place::all();
        let mut pace = tokio::time::interval(PACE);
        for place in places.iter().cycle() {
            tokio::select! {
                biased;
                _ = stop.changed() => break,
                _ = pace.tick() => {}
            }
            let position = positions.entry(place.clone()).or_default();
            if self.rng.below(BACK) == 0 {
                *position = position.saturating_sub(BACK_RECORDS);
            }
            self.fetch(place, position).await;
        }
        Ok(())
    }

    async fn fetch(&mut self, place: &Place, position: &mut u64) {
        let known = self.bare.leader(place).filter(|_| self.rng.below(ASTRAY) > 0);
        let chance = self.rng.next_u64();
        let Some(node) = known.or_else(|| self.bare.node(chance)) else { return };
        match fetch(&self.session, &self.bare, node, (place, *position), WAIT_MS).await {
            Ok(polled) => *position = next_of(&polled, *position),
            Err(error) => {
                if let Some(start) = error.log_start.filter(|start| *position < *start) {
                    *position = start;
                }
                // Whoever does not answer now answers later: the next turn asks again.
                let _nobody = self.bare.look().await;
            }
        }
    }
}

/// One fetch, written down.
pub(super) async fn fetch(
    session: &Session,
    bare: &Bare,
    node: u64,
    (place, from): (&Place, u64),
    wait_ms: u32,
) -> Result<Polled, Failure> {
    let session = session.at(node);
    let id = session.invoke(Call::Poll { by: None, reads: vec![(place.name(), from)] });
    let answer = bare.fetch(node, (place, from), wait_ms).await;
    match &answer {
        Ok(polled) => session.ok(id, Outcome::Polled { partitions: vec![polled.clone()] }),
        Err(error) => session.failed(id, error.clone()),
    }
    answer
}

/// Where reading goes on behind an answer.
pub(super) fn next_of(polled: &Polled, from: u64) -> u64 {
    let count = |values: usize| u64::try_from(values).unwrap_or(u64::MAX);
    polled.batches.last().map_or(from, |last| last.offset + count(last.values.len()))
}
