//! A trace crosses the log: what an event carries, whoever handles it passes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quipu_client::{End, Message, NewRecord, NewTopic, Record, Start, TRACEPARENT, TraceContext};
use quipu_testkit::{Cluster, ClusterOptions};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const WAIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_handler_publishes_carries_the_trace_of_its_event() -> Result<()> {
    let cluster =
        Cluster::start_with(ClusterOptions { nodes: 1, ..ClusterOptions::default() }).await?;
    let client = cluster.client().await?;
    for topic in ["fees", "letters"] {
        client.admin().create_topic(NewTopic::new(topic)).await?;
    }
    let context = TraceContext::default()
        .with_span(PARENT.parse()?)
        .with_state("vendor=1")
        .with_correlation_id("C-991");
    context.clone().scope(client.publish(NewRecord::new("fees", "in the scope"))).await?;
    // What nobody can read is no trace, and no error either.
    let malformed = NewRecord::new("fees", "malformed").header(TRACEPARENT, "00-nonsense");
    client.publish(malformed).await?;

    let mut consumer = client.subscribe(["fees"]).group("letters").join().await?;
    let (seen, mut all_seen) = tokio::sync::mpsc::channel(2);
    let handler = |message: Message| {
        let (client, seen) = (client.clone(), seen.clone());
        async move {
            let letter = NewRecord::new("letters", message.value.clone().unwrap_or_default());
            client.publish(letter).await?;
            seen.send(()).await.map_err(|_| quipu_client::Error::Closed)
        }
    };
    let both = async {
        all_seen.recv().await;
        all_seen.recv().await;
    };
    consumer.run_until(handler, both).await?;
    consumer.shutdown(WAIT).await?;

    let mut letters =
        client.replay("letters").from(Start::Earliest).until(End::Latest).open().await?;
    let first: Record = letters.next().await.context("the first")??;
    ensure!(first.trace_context() == context, "{first:?}");
    let header = first.header(TRACEPARENT).flatten().context("it has one")?;
    ensure!(header == PARENT, "{header:?}");
    let second = letters.next().await.context("the second")??;
    ensure!(second.trace_context().is_empty() && second.headers.is_empty(), "{second:?}");
    Ok(())
}
