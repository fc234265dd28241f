//! Looks who leads, for the history and for the nemesis.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use quipu_client::{Client, ClusterDescription};
use tokio::sync::watch;

use super::place::{Place, TOPICS};
use crate::history::{Event, LeaderSeen, Recorder};
use crate::nemesis::Leads;

/// Between two looks.
const PACE: Duration = Duration::from_millis(300);

/// Looks who leads.
#[derive(Debug)]
pub(super) struct Observer {
    recorder: Recorder,
    client: Client,
    leads: watch::Sender<Leads>,
    /// Which shard hosts a partition; that never changes.
    shards: BTreeMap<Place, u32>,
    known: BTreeMap<Place, (u64, u64)>,
}

impl Observer {
    /// Learns which shards there are.
    pub(super) async fn new(
        recorder: Recorder,
        client: Client,
        leads: watch::Sender<Leads>,
    ) -> Result<Self> {
        let mut shards = BTreeMap::new();
        for topic in TOPICS {
            for partition in client.admin().describe_topic(topic.name).await?.partitions {
                shards.insert(Place::new(topic.name, partition.index), partition.shard);
            }
        }
        Ok(Self { recorder, client, leads, shards, known: BTreeMap::new() })
    }

    /// Looks until told to stop.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let mut pace = tokio::time::interval(PACE);
        loop {
            tokio::select! {
                biased;
                _ = stop.changed() => return Ok(()),
                _ = pace.tick() => {}
            }
            // Nobody answers while all are down: what was known stays.
            if let Ok(cluster) = self.client.admin().describe_cluster().await {
                self.learn(&cluster);
            }
        }
    }

    fn learn(&mut self, cluster: &ClusterDescription) {
        let terms: BTreeMap<u32, (u64, u64)> = cluster
            .shards
            .iter()
            .filter_map(|shard| Some((shard.shard, (shard.term, shard.leader?))))
            .collect();
        let mut leads = Leads::new();
        for (place, shard) in &self.shards {
            let Some((term, leader)) = terms.get(shard).copied() else { continue };
            *leads.entry(leader).or_default() += 1;
            // A node that is behind tells old news.
            if self.known.get(place).is_some_and(|known| known.0 >= term) {
                continue;
            }
            self.known.insert(place.clone(), (term, leader));
            let seen = LeaderSeen { partition: place.name(), term, leader };
            self.recorder.observe(None, Event::Leader(seen));
        }
        self.leads.send_replace(leads);
    }
}
