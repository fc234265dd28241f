//! One consumer group with a thousand members on a thousand partitions: how long until everybody
//! has its share, when all join, one joins, one dies, and a tenth restarts.
//!
//! `QUIPU_BIN=target/release/quipu cargo run --release -p quipu-benches --bin group_scale -- 1000`
//!
//! Members speak the wire protocol themselves and hold what they are given at once, so that the
//! coordinator is measured and not a thousand readers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quipu_client::NewTopic;
use quipu_proto::v1;
use quipu_proto::v1::groups_client::GroupsClient;
use quipu_testkit::{Cluster, until};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

const TOPIC: &str = "wide";
const GROUP: &str = "crowd";
const SESSION_MS: u32 = 6_000;
const WAIT: Duration = Duration::from_secs(120);
/// Streams of one connection are bounded by the server.
const MEMBERS_PER_CONNECTION: usize = 50;

type Partition = (Vec<u8>, u32);

/// What every member holds by now.
#[derive(Default)]
struct Held {
    members: Mutex<BTreeMap<usize, BTreeSet<Partition>>>,
    /// Partitions that were taken from somebody who was to keep them, at any time.
    moved: Mutex<usize>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, BTreeSet<Partition>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every partition has exactly one holder, and everybody an even share.
    fn check(&self, members: usize, partitions: usize) -> Result<()> {
        let held = self.lock();
        ensure!(held.len() == members, "{} of {members} members", held.len());
        let total: usize = held.values().map(BTreeSet::len).sum();
        let distinct: BTreeSet<&Partition> = held.values().flatten().collect();
        ensure!(distinct.len() == partitions, "{} of {partitions} are held", distinct.len());
        ensure!(total == partitions, "{total} holders of {partitions} partitions");
        let most = held.values().map(BTreeSet::len).max().unwrap_or(0);
        ensure!(most <= partitions.div_ceil(members), "somebody has {most}");
        Ok(())
    }
}

struct Member {
    task: JoinHandle<()>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let count = std::env::args().nth(1).map(|word| word.parse()).transpose()?;
    let count: usize = count.unwrap_or(1_000);
    let partitions = u32::try_from(count)?;
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(partitions)).await?;
    client.admin().commit_offsets(GROUP, [(TOPIC, 0, 0)]).await?;
    let node = client.admin().describe_group(GROUP).await?.coordinator;
    let address = cluster.nodes().iter().find(|found| found.id() == node);
    let address = address.context("the coordinator is a node")?.client_address();
    let mut channels = Vec::new();
    for _ in 0..count.div_ceil(MEMBERS_PER_CONNECTION) + 1 {
        channels.push(Channel::from_shared(format!("http://{address}"))?.connect().await?);
    }
    let held = Arc::new(Held::default());
    let start = |number: usize| {
        let channel = channels[number / MEMBERS_PER_CONNECTION % channels.len()].clone();
        let held = Arc::clone(&held);
        Member { task: tokio::spawn(async move { drop(live(number, channel, held).await) }) }
    };
    let settled = async |what: &str, members: usize, begun: Instant| -> Result<()> {
        let check = || async { held.check(members, count) };
        until(what, WAIT, check).await?;
        note(&format!("{what}: {:.2?}", begun.elapsed()));
        Ok(())
    };

    let begun = Instant::now();
    let mut members: Vec<Option<Member>> = (0..count).map(|number| Some(start(number))).collect();
    settled("all join", count, begun).await?;
    let epochs = client.admin().describe_group(GROUP).await?.summary.epoch;
    note(&format!("  epochs for {count} joins: {epochs}"));

    let begun = Instant::now();
    kill(&mut members[0], &held, 0);
    settled("one dies (session 6 s)", count - 1, begun).await?;

    let begun = Instant::now();
    members[0] = Some(start(count));
    settled("one joins", count, begun).await?;

    let begun = Instant::now();
    for (number, member) in members.iter_mut().enumerate().skip(1).step_by(10) {
        kill(member, &held, number);
        *member = Some(start(count + number));
    }
    settled("a tenth dies and starts anew (session 6 s)", count, begun).await?;
    let moved = *held.moved.lock().unwrap_or_else(PoisonError::into_inner);
    note(&format!("partitions taken from members that stayed: {moved}"));
    Ok(())
}

/// Ends a member without a word.
fn kill(member: &mut Option<Member>, held: &Held, number: usize) {
    if let Some(member) = member.take() {
        member.task.abort();
    }
    held.lock().remove(&number);
}

async fn live(number: usize, channel: Channel, held: Arc<Held>) -> Result<()> {
    let (requests, receiver) = mpsc::channel(8);
    let subscription = v1::Subscription {
        topics: vec![TOPIC.to_owned()],
        session_timeout_ms: SESSION_MS,
        ..v1::Subscription::default()
    };
    let first = v1::JoinRequest {
        group: GROUP.to_owned(),
        member_id: format!("member-{number}"),
        subscription: Some(subscription),
        ..v1::JoinRequest::default()
    };
    requests.send(first).await?;
    let mut client = GroupsClient::new(channel);
    let mut answers = client.join(ReceiverStream::new(receiver)).await?.into_inner();
    let mut beat = tokio::time::interval(Duration::from_millis(600));
    let mut epoch = 0;
    loop {
        tokio::select! {
            _ = beat.tick() => {
                let heartbeat = v1::JoinRequest { epoch, ..v1::JoinRequest::default() };
                requests.send(heartbeat).await?;
            }
            answer = answers.message() => {
                let answer = answer?.context("the stream ended")?;
                ensure!(answer.error.is_none(), "{:?}", answer.error);
                epoch = answer.epoch;
                let Some(assignment) = answer.assignment else { continue };
                let assigned = flat(&assignment.assigned);
                let lost = held.lock().get(&number).map_or(0, |had| had.difference(&assigned).count());
                *held.moved.lock().unwrap_or_else(PoisonError::into_inner) += lost;
                held.lock().insert(number, assigned);
                let partitions = Some(v1::HeldPartitions { partitions: assignment.assigned });
                let confirm = v1::JoinRequest { epoch, held: partitions, ..v1::JoinRequest::default() };
                requests.send(confirm).await?;
            }
        }
    }
}

fn flat(topics: &[v1::TopicPartitions]) -> BTreeSet<Partition> {
    let all = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id.to_vec(), *index)));
    all.collect()
}

#[expect(clippy::print_stdout, reason = "the figures are the program's purpose")]
fn note(line: &str) {
    println!("{line}");
}
