//! What a consumer group does for its users: events per second with 1, 2 and 4 members whose
//! handlers are slow, and how soon a killed member's process goes on after it was started again.
//!
//! `QUIPU_BIN=target/release/quipu cargo run --release -p quipu-benches --bin group_pace`

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quipu_client::{Client, NewRecord, NewTopic};
use quipu_testkit::{Cluster, until};

const TOPIC: &str = "pace";
const PARTITIONS: u32 = 8;
/// Of a handler that waits for another service.
const WORK: Duration = Duration::from_millis(10);
const RECORDS: usize = 2_000;
const SESSION: Duration = Duration::from_secs(6);
/// Kills of the restarted member.
const KILLS: usize = 10;
const WAIT: Duration = Duration::from_secs(120);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    if let (Some("reader"), Some(url)) = (words.next().as_deref(), words.next()) {
        return read(&url).await;
    }
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(PARTITIONS)).await?;
    publish(&client, RECORDS).await?;
    for members in [1, 2, 4] {
        let took = work_off(&client, members).await?;
        let rate = f64::from(u32::try_from(RECORDS)?) / took.as_secs_f64();
        note(&format!("{members} members, handler {WORK:?}: {rate:.0} events per second"));
    }
    restarts(&cluster, &client)
}

async fn publish(client: &Client, count: usize) -> Result<()> {
    let producer = client.producer().build()?;
    let mut deliveries = Vec::new();
    for number in 0..count {
        let record = NewRecord::new(TOPIC, number.to_string()).key(number.to_string());
        deliveries.push(producer.enqueue(record).await?);
    }
    for delivery in deliveries {
        delivery.await?;
    }
    producer.close(WAIT).await?;
    Ok(())
}

/// How long a group of so many takes for all records, from when everybody has its share.
async fn work_off(client: &Client, members: usize) -> Result<Duration> {
    let group = format!("crew-of-{members}");
    let handled = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut crew = Vec::new();
    for _ in 0..members {
        let mut consumer = client.subscribe([TOPIC]).group(group.as_str()).join().await?;
        let handled = handled.clone();
        crew.push(tokio::spawn(async move {
            let work = |_message| {
                let handled = handled.clone();
                async move {
                    tokio::time::sleep(WORK).await;
                    handled.fetch_add(1, Ordering::Relaxed);
                    Ok::<(), std::io::Error>(())
                }
            };
            let _ = consumer.run(work).await;
        }));
    }
    until("all events to be handled", WAIT, || async {
        let done = handled.load(Ordering::Relaxed);
        ensure!(done >= RECORDS, "{done} of {RECORDS}");
        Ok(())
    })
    .await?;
    let took = begun.elapsed();
    crew.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(took)
}

/// A member in a process of its own: says a word for each event.
async fn read(url: &str) -> Result<()> {
    let client = Client::connect(url).await?;
    let consumer = client.subscribe([TOPIC]).group("restarted").instance("one");
    let mut consumer = consumer.session_timeout(SESSION).join().await?;
    while let Some(message) = consumer.next().await {
        message?.ack_later();
        note("event");
    }
    Ok(())
}

fn restarts(cluster: &Cluster, client: &Client) -> Result<()> {
    let load = tokio::spawn(load(client.clone()));
    let mut reader = Reader::start(&cluster.url())?;
    reader.first_event()?;
    let mut after_kill = Vec::new();
    for _ in 0..KILLS {
        reader.kill()?;
        let killed = Instant::now();
        reader = Reader::start(&cluster.url())?;
        reader.first_event()?;
        after_kill.push(killed.elapsed());
    }
    load.abort();
    after_kill.sort();
    let (median, most) = (after_kill[KILLS / 2], after_kill[KILLS - 1]);
    note(&format!(
        "a static member, killed and started again under load, session {SESSION:?}: first event \
         p50 {median:.2?}, max {most:.2?} after the kill, of {KILLS}"
    ));
    Ok(())
}

async fn load(client: Client) -> Result<()> {
    loop {
        publish(&client, 100).await?;
    }
}

#[expect(clippy::print_stdout, reason = "the figures are the program's purpose")]
fn note(line: &str) {
    println!("{line}");
}

struct Reader {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Reader {
    fn start(url: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = command.args(["reader", url]).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(process.stdout.take().context("it is piped")?).lines();
        Ok(Self { process, lines })
    }

    fn first_event(&mut self) -> Result<()> {
        self.lines.next().context("the reader ended")??;
        Ok(())
    }

    fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // One that has ended already is fine.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
