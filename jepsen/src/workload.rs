//! The load of a run: appenders, readers, a consumer group, questions. All of it is written into
//! the history.
//!
//! The recorder waits when its file is slower than the load. Its writer is a thread of its own,
//! so that a worker of the runtime that waits for it stops the load for a moment and nothing else.

mod admin;
mod appender;
mod bare;
mod fetcher;
mod last_reads;
mod member;
mod observer;
mod payload;
mod place;
mod refusal;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use quipu_client::{Client, NewTopic};
use quipu_runtime::Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, connect};
use crate::history::Recorder;
use crate::nemesis::Leads;
use crate::say::say;
use admin::Admin;
use appender::Appender;
use bare::Bare;
use fetcher::Fetcher;
use member::Crew;
use observer::Observer;
use place::{EVENTS, Place, TOPICS, Topic};

/// Appenders per partition of the topic that the group reads; elsewhere one.
const APPENDERS: usize = 2;
/// Shares of the rate. An appender of the topic that the group reads has two of them, elsewhere one:
/// there is less to learn.
const SHARES: u32 = 20;
/// Small segments, so that a short run seals some.
const SETTINGS: [(&str, &str); 2] = [("segment-bytes", "1MiB"), ("segment-time", "10s")];
/// Between two lines about it.
const TELL: Duration = Duration::from_secs(10);
/// Sessions that read by bare fetches.
const FETCHERS: u64 = 2;
/// Places in the consumer group.
const MEMBERS: u64 = 3;

/// A load that runs.
#[derive(Debug)]
pub(crate) struct Workload {
    tasks: JoinSet<Result<()>>,
    members: Vec<JoinHandle<Result<()>>>,
    stop: watch::Sender<bool>,
    leads: watch::Receiver<Leads>,
    acked: Arc<AtomicU64>,
}

impl Workload {
    /// Makes the topics and starts the load.
    pub(crate) async fn start(
        recorder: &Recorder,
        cluster: &Cluster,
        seed: u64,
        rate: u32,
    ) -> Result<Self> {
        let url = cluster.url();
        let client = connect(&url).await?;
        for topic in TOPICS {
            let new = NewTopic::new(topic.name).partitions(topic.partitions);
            let new = SETTINGS.iter().fold(new, |new, (key, value)| new.set(*key, *value));
            client.admin().create_topic(new).await?;
        }
        let (stop, stopped) = watch::channel(false);
        let (leads_in, leads) = watch::channel(Leads::new());
        let observer = Observer::new(recorder.clone(), client.clone(), leads_in).await?;
        let (tasks, members, acked) = (JoinSet::new(), Vec::new(), Arc::default());
        let mut load = Self { tasks, members, stop, leads, acked };
        load.tasks.spawn(observer.run(stopped.clone()));
        load.tasks.spawn(tell(load.acked.clone(), stopped.clone()));
        load.append(recorder, (&url, rate), &stopped).await?;
        load.read(recorder, cluster, (&client, seed), &stopped)?;
        let (grants, recorder) = (Arc::default(), recorder.clone());
        let crew = Crew { url, recorder, stop: stopped, grants };
        for number in 0..MEMBERS {
            load.members.push(crew.hire(seed.wrapping_mul(MEMBERS).wrapping_add(number))?);
        }
        Ok(load)
    }

    async fn append(
        &mut self,
        recorder: &Recorder,
        (url, rate): (&str, u32),
        stopped: &watch::Receiver<bool>,
    ) -> Result<()> {
        let numbers = Arc::new(AtomicU64::new(1));
        let client = connect(url).await?;
        for topic in TOPICS {
            let count = if topic == EVENTS { APPENDERS } else { 1 };
            for place in Place::all_of(topic).flat_map(|place| vec![place; count]) {
                let appender = Appender {
                    session: recorder.session(None),
                    place,
                    acks: topic.acks,
                    pace: pace(topic, rate),
                    numbers: numbers.clone(),
                    acked: self.acked.clone(),
                };
                self.tasks.spawn(appender.run(client.clone(), stopped.clone()));
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        recorder: &Recorder,
        cluster: &Cluster,
        (client, seed): (&Client, u64),
        stopped: &watch::Receiver<bool>,
    ) -> Result<()> {
        let mut rng = Rng::seeded(seed);
        let addresses = cluster.addresses();
        for _ in 0..FETCHERS {
            let (session, bare) = (recorder.session(None), Bare::new(&addresses)?);
            let rng = Rng::seeded(rng.next_u64());
            self.tasks.spawn(Fetcher { session, rng, bare }.run(stopped.clone()));
        }
        let (session, bare) = (recorder.session(None), Bare::new(&addresses)?);
        let admin = Admin { session, rng, bare, client: client.clone() };
        self.tasks.spawn(admin.run(stopped.clone()));
        Ok(())
    }

    /// Who leads how many partitions, as it changes.
    pub(crate) fn leads(&self) -> watch::Receiver<Leads> {
        self.leads.clone()
    }

    /// Records that were acknowledged so far.
    pub(crate) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Ends the load; resolves when the last answer is written down.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a task of the load")??;
        }
        for member in self.members {
            let ended = tokio::task::spawn_blocking(move || member.join()).await?;
            ended.map_err(|_panic| anyhow!("a member of the group panicked"))??;
        }
        Ok(())
    }
}

/// Says how far the load is.
async fn tell(acked: Arc<AtomicU64>, mut stopped: watch::Receiver<bool>) -> Result<()> {
    let mut pace = tokio::time::interval(TELL);
    let begun = pace.tick().await;
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => return Ok(()),
            _ = pace.tick() => {}
        }
        let (acked, passed) = (acked.load(Ordering::Relaxed), begun.elapsed().as_secs_f64());
        say(&format!("{passed:>5.1} s  {acked} records acknowledged"));
    }
}

/// Between two appends of an appender at least.
fn pace(topic: Topic, rate: u32) -> Duration {
    let shares = if topic == EVENTS { 2 } else { 1 };
    Duration::from_secs(1) * SHARES / (rate * shares)
}

/// Reads everything once more and compares the replicas.
pub(crate) async fn finish(recorder: &Recorder, cluster: &Cluster, client: &Client) -> Result<()> {
    last_reads::read_all(recorder, &mut Bare::new(&cluster.addresses())?).await?;
    last_reads::compare(recorder, client).await
}
