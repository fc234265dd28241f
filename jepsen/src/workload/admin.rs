//! Questions about logs and the group, and a deletion of records now and then.

use std::time::Duration;

use anyhow::Result;
use quipu_client::{Client, TopicPartition};
use quipu_runtime::Rng;
use tokio::sync::watch;

use super::bare::Bare;
use super::member::{GROUP, epoch};
use super::place::{EVENTS, Place, TRIMMED};
use super::refusal::of_client;
use crate::history::{Call, Failure, Outcome, Session};

/// Between two questions at least.
const PACE: Duration = Duration::from_millis(200);
/// Records that a deletion leaves at least.
const KEPT: u64 = 100;

/// Asks, and deletes.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) session: Session,
    pub(super) rng: Rng,
    pub(super) bare: Bare,
    pub(super) client: Client,
}

impl Admin {
    /// Goes on until told to stop.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let mut pace = tokio::time::interval(PACE);
        loop {
            tokio::select! {
                biased;
                _ = stop.changed() => return Ok(()),
                _ = pace.tick() => {}
            }
            match self.rng.below(8) {
                0..4 => {
                    let place = self.pick(&Place::all());
                    self.offsets(&place).await;
                }
                4 | 5 => self.committed().await,
                6 => self.describe().await,
                _ => self.delete().await,
            }
        }
    }

    fn pick(&mut self, places: &[Place]) -> Place {
        let count = u64::try_from(places.len()).unwrap_or(1);
        let place = usize::try_from(self.rng.below(count)).unwrap_or_default();
        places[place].clone()
    }

    /// Log start and end of a partition, if its leader answers.
    async fn offsets(&mut self, place: &Place) -> Option<(u64, u64)> {
        if self.bare.leader(place).is_none() {
            self.bare.look().await.ok()?;
        }
        let node = self.bare.leader(place)?;
        let found = offsets(&self.session, &self.bare, node, place).await;
        if found.is_err() {
            // Whoever does not answer now answers later.
            let _nobody = self.bare.look().await;
        }
        found.ok()
    }

    async fn committed(&self) {
        let places: Vec<Place> = Place::all_of(EVENTS).collect();
        let partitions = places.iter().map(Place::name).collect();
        let call = Call::FetchCommitted { group: GROUP.to_owned(), partitions };
        let id = self.session.invoke(call);
        match self.client.admin().fetch_offsets(GROUP).await {
            Ok(stored) => {
                let offset = |place: &Place| {
                    let name = TopicPartition::new(place.topic.clone(), place.index);
                    (place.name(), stored.get(&name).map(|stored| stored.offset))
                };
                let offsets = places.iter().map(offset).collect();
                self.session.ok(id, Outcome::Positions { offsets });
            }
            Err(error) => self.session.failed(id, of_client(&error)),
        }
    }

    async fn describe(&self) {
        let id = self.session.invoke(Call::Describe { group: GROUP.to_owned() });
        match self.client.admin().describe_group(GROUP).await {
            Ok(group) => {
                let known = group.partitions.iter().filter(|it| !it.topic.is_empty());
                let owners = known
                    .map(|it| (Place::new(&it.topic, it.partition).name(), it.owner.clone()))
                    .collect();
                let lag = group.partitions.iter().map(|it| it.lag).sum();
                let epoch = epoch(group.summary.epoch);
                self.session.ok(id, Outcome::Described { epoch, owners, lag });
            }
            Err(error) => self.session.failed(id, of_client(&error)),
        }
    }

    async fn delete(&mut self) {
        let places: Vec<Place> = Place::all_of(TRIMMED).collect();
        let place = self.pick(&places);
        let Some((log_start, end)) = self.offsets(&place).await else { return };
        let before = log_start + self.rng.below(end.saturating_sub(log_start + KEPT));
        let id = self.session.invoke(Call::DeleteRecords { partition: place.name(), before });
        match self.client.admin().delete_records(&place.topic, place.index, Some(before)).await {
            Ok(log_start) => self.session.ok(id, Outcome::Deleted { log_start }),
            Err(error) => self.session.failed(id, of_client(&error)),
        }
    }
}

/// One question for bounds, written down.
pub(super) async fn offsets(
    session: &Session,
    bare: &Bare,
    node: u64,
    place: &Place,
) -> Result<(u64, u64), Failure> {
    let session = session.at(node);
    let id = session.invoke(Call::ListOffsets { partition: place.name() });
    let found = bare.offsets(node, place).await;
    match &found {
        Ok((log_start, high_watermark)) => {
            let (log_start, high_watermark) = (*log_start, *high_watermark);
            session.ok(id, Outcome::Offsets { log_start, high_watermark });
        }
        Err(error) => session.failed(id, error.clone()),
    }
    found
}
