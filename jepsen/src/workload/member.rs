//! Members of a consumer group that join, read, leave or die.
//!
//! A member is a thread with a runtime of its own. To die, the runtime is dropped with all its
//! tasks: nobody says goodbye, the coordinator hears silence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use quipu_client::{Consumer, ConsumerState, Message, Rebalance, TopicPartition};
use quipu_runtime::Rng;
use tokio::sync::watch;

use super::payload;
use super::place::{EVENTS, Place};
use super::refusal::{of_client, unclear};
use crate::cluster::connect;
use crate::history::{
    Batch, Call, Event, Membership, Outcome, Owned, Partition, Polled, Recorder, Session, Starts,
};

/// The group.
pub(super) const GROUP: &str = "crew";
/// The shortest there is.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// A poll gives so many records, or what is there after so long.
const POLL_RECORDS: usize = 200;
const POLL_WAIT: Duration = Duration::from_millis(250);
/// How long a member lives: at least, and how much more by chance.
const LIFE_MS: (u64, u64) = (6_000, 14_000);
/// How long a member that leaves takes to commit.
const FAREWELL: Duration = Duration::from_secs(5);
/// The client tells what was assigned, not in which epoch. Grants get a number of their own behind
/// the epoch that was known last, so that no two are taken for the same.
const GRANTS_PER_EPOCH: u64 = 1_000_000;

/// An epoch as the history has it: with room for grants before the next.
pub(super) const fn epoch(of_group: u64) -> u64 {
    of_group.saturating_mul(GRANTS_PER_EPOCH).saturating_add(GRANTS_PER_EPOCH - 1)
}

/// What all members of a run share.
#[derive(Clone, Debug)]
pub(super) struct Crew {
    pub(super) url: String,
    pub(super) recorder: Recorder,
    pub(super) stop: watch::Receiver<bool>,
    /// Counts grants.
    pub(super) grants: Arc<AtomicU64>,
}

impl Crew {
    /// Starts a place in the crew: one member after the other, until told to stop.
    pub(super) fn hire(&self, seed: u64) -> std::io::Result<JoinHandle<Result<()>>> {
        let crew = self.clone();
        let name = format!("member-{seed}");
        std::thread::Builder::new().name(name).spawn(move || crew.work(Rng::seeded(seed)))
    }

    fn work(&self, mut rng: Rng) -> Result<()> {
        while !*self.stop.borrow() {
            let life = Duration::from_millis(LIFE_MS.0 + rng.below(LIFE_MS.1));
            let dies = rng.below(2) == 0;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.live(life, dies));
            runtime.shutdown_background();
        }
        Ok(())
    }

    async fn live(&self, life: Duration, dies: bool) {
        let session = self.recorder.session(None);
        let member = Member::new(session, self.grants.clone());
        let mut stop = self.stop.clone();
        let end = async {
            tokio::select! {
                () = tokio::time::sleep(life) => {}
                _ = stop.changed() => {}
            }
        };
        tokio::pin!(end);
        let consumer = tokio::select! {
            () = &mut end => None,
            consumer = member.join(&self.url) => consumer,
        };
        let Some(mut consumer) = consumer else { return };
        tokio::select! {
            () = &mut end => {}
            () = member.read(&mut consumer) => {}
        }
        if !dies {
            member.leave(consumer).await;
        }
    }
}

/// One member, from join to end. Clones speak for the same member.
#[derive(Clone, Debug)]
struct Member {
    session: Session,
    name: String,
    grants: Arc<AtomicU64>,
    /// Epoch that was heard last, and the one of the last grant.
    heard: Arc<AtomicU64>,
    granted: Arc<AtomicU64>,
}

impl Member {
    fn new(session: Session, grants: Arc<AtomicU64>) -> Self {
        let name = format!("m{}", session.process());
        Self { session, name, grants, heard: Arc::default(), granted: Arc::default() }
    }

    /// Who it is, with the epoch of its last grant.
    fn by(&self) -> Membership {
        let epoch = self.granted.load(Ordering::Relaxed);
        Membership { group: GROUP.to_owned(), member: self.name.clone(), epoch }
    }

    async fn join(&self, url: &str) -> Option<Consumer> {
        let client = connect(url).await.ok()?;
        let told = self.clone();
        let builder = client
            .subscribe([EVENTS.name])
            .group(GROUP)
            .session_timeout(SESSION_TIMEOUT)
            .commit_interval(Duration::from_millis(500))
            .on_rebalance(move |change| told.told(change));
        let (by, starts) = (self.by(), Starts::Earliest);
        let id = self.session.invoke(Call::Join { by, instance: None, starts });
        match builder.join().await {
            Ok(consumer) => {
                let mut state = consumer.state();
                let settled = state.wait_for(|it| matches!(it, ConsumerState::Stable { .. })).await;
                if let Ok(settled) = settled
                    && let ConsumerState::Stable { epoch: heard } = &*settled
                {
                    self.heard.store(*heard, Ordering::Relaxed);
                    self.session.ok(id, Outcome::Joined { epoch: epoch(*heard) });
                }
                Some(consumer)
            }
            Err(error) => {
                self.session.failed(id, of_client(&error));
                None
            }
        }
    }

    /// Writes down what changed, from the consumer's own task.
    fn told(&self, change: Rebalance) {
        let event = match change {
            Rebalance::Assigned(partitions) => {
                let number = self.grants.fetch_add(1, Ordering::Relaxed) % GRANTS_PER_EPOCH;
                let heard = self.heard.load(Ordering::Relaxed);
                let grant = heard.saturating_mul(GRANTS_PER_EPOCH).saturating_add(number);
                self.granted.store(grant, Ordering::Relaxed);
                Event::Assigned(self.owned(&partitions))
            }
            Rebalance::Revoked(partitions) => Event::Revoked(self.owned(&partitions)),
            Rebalance::Lost(partitions) => Event::Lost(self.owned(&partitions)),
        };
        self.session.observe(event);
    }

    fn owned(&self, partitions: &[TopicPartition]) -> Owned {
        let name = |it: &TopicPartition| Place::new(&it.topic, it.partition).name();
        Owned { by: self.by(), partitions: partitions.iter().map(name).collect() }
    }

    /// Reads and acknowledges until the consumer is closed.
    async fn read(&self, consumer: &mut Consumer) {
        let state = consumer.state();
        loop {
            match &*state.borrow() {
                ConsumerState::Stable { epoch } => self.heard.store(*epoch, Ordering::Relaxed),
                ConsumerState::Closed => return,
                _ => {}
            }
            let id = self.session.invoke(Call::Poll { by: Some(self.by()), reads: Vec::new() });
            match consumer.next_batch(POLL_RECORDS, POLL_WAIT).await {
                Ok(batch) => {
                    let partitions = polled(&batch);
                    self.session.ok(id, Outcome::Polled { partitions });
                    self.ack(&batch).await;
                }
                Err(error) => self.session.failed(id, of_client(&error)),
            }
        }
    }

    /// Acknowledges all at once: the position that is committed is the one behind the last.
    async fn ack(&self, batch: &[Message]) {
        let mut last: BTreeMap<(&str, u32), &Message> = BTreeMap::new();
        for message in batch {
            let before = last.insert((&message.topic, message.partition), message);
            if let Some(before) = before {
                before.ack_later();
            }
        }
        let acks = last.into_values().map(|message| async move {
            let (partition, offset) = (name_of(message), message.offset);
            let id = self.session.invoke(Call::Ack { by: self.by(), partition, offset });
            match message.ack().await {
                Ok(()) => self.session.ok(id, Outcome::Done {}),
                // A commit may have been on its way when the partition went.
                Err(_gone) => self.session.failed(id, unclear("NOT_COMMITTED")),
            }
        });
        futures::future::join_all(acks).await;
    }

    async fn leave(&self, consumer: Consumer) {
        let id = self.session.invoke(Call::Leave { by: self.by() });
        match consumer.shutdown(FAREWELL).await {
            Ok(()) => self.session.ok(id, Outcome::Done {}),
            Err(error) => self.session.failed(id, of_client(&error)),
        }
    }
}

fn name_of(message: &Message) -> Partition {
    Place::new(&message.topic, message.partition).name()
}

/// What a poll brought, by partition; a gap begins a new batch.
fn polled(messages: &[Message]) -> Vec<Polled> {
    let mut found: BTreeMap<(&str, u32), Vec<Batch>> = BTreeMap::new();
    for message in messages {
        let at = message.timestamp.get();
        let value = payload::read(&message.key, &message.value, &message.headers, at);
        let batches = found.entry((&message.topic, message.partition)).or_default();
        let follows = |batch: &&mut Batch| {
            let count = u64::try_from(batch.values.len()).unwrap_or(u64::MAX);
            batch.offset + count == message.offset
        };
        match batches.last_mut().filter(follows) {
            Some(batch) => batch.values.push(value),
            None => {
                let (offset, values) = (message.offset, vec![value]);
                batches.push(Batch { offset, producer: None, values });
            }
        }
    }
    let of_partition = |((topic, index), batches): ((&str, u32), _)| Polled {
        partition: Place::new(topic, index).name(),
        log_start: None,
        high_watermark: None,
        batches,
    };
    found.into_iter().map(of_partition).collect()
}
