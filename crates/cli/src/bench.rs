//! `quipu bench`: throughput and latency, open loop.
//!
//! With `--rate` every record has an intended send time on a fixed schedule, and its latency counts
//! from there, so that a stall is not hidden by the records that were not sent during it
//! (coordinated omission). Without a rate the client's buffer is kept full; latencies are then those
//! of a full queue and are labelled so.

mod load;
mod nodes;

use std::time::Duration;

use quipu_client::{Client, NewTopic};
use quipu_types::Acks;

use crate::args::{BenchArgs, Format, Global};
use crate::exit::Failure;
use crate::{connect, output, start_point};
use load::{Load, Outcome};
use nodes::Counters;

/// Runs the verb.
pub(crate) fn run(global: &Global, args: BenchArgs) -> anyhow::Result<()> {
    let load = parse(&args)?;
    connect::block_on(async {
        let client = connect::client(global).await?;
        let topic = topic(&client, &args).await?;
        let addresses = nodes::addresses(args.metrics.as_deref())?;
        let outcome = measure(global, &load, &topic, &addresses).await;
        if args.topic.is_none() && !args.keep {
            client.admin().delete_topic(&topic).await?;
        }
        let (outcome, counters) = outcome?;
        report(global, &args, &load, &outcome, counters)
    })
}

fn parse(args: &BenchArgs) -> anyhow::Result<Load> {
    let acks = match args.acks.as_str() {
        "leader" => Acks::Leader,
        "quorum" => Acks::Quorum,
        other => return Err(Failure::usage(format!("--acks {other}: leader or quorum"))),
    };
    let record_bytes = start_point::bytes(&args.record_bytes)?;
    if record_bytes == 0 {
        return Err(Failure::usage("--record-bytes 0: a record has at least one byte"));
    }
    Ok(Load {
        acks,
        rate: args.rate,
        record_bytes,
        batch_bytes: start_point::bytes(&args.batch_bytes)?,
        linger: start_point::duration(&args.linger)?,
        producers: args.producers.max(1),
        warmup: start_point::duration(&args.warmup)?,
        duration: start_point::duration(&args.duration)?,
    })
}

async fn topic(client: &Client, args: &BenchArgs) -> anyhow::Result<String> {
    if let Some(topic) = &args.topic {
        return Ok(topic.clone());
    }
    let name = format!("bench-{}", uuid::Uuid::now_v7());
    let topic = NewTopic::new(name.clone()).partitions(args.partitions);
    client.admin().create_topic(topic).await?;
    Ok(name)
}

/// Runs the load; counts what the nodes spent on its measured part.
async fn measure(
    global: &Global,
    load: &Load,
    topic: &str,
    addresses: &[String],
) -> anyhow::Result<(Outcome, Option<Counters>)> {
    let mut clients = Vec::new();
    for _ in 0..load.producers {
        clients.push(connect::client(global).await?);
    }
    let at_boundaries = async |before: Option<Counters>| -> anyhow::Result<Option<Counters>> {
        if addresses.is_empty() {
            return Ok(None);
        }
        let now = nodes::read(addresses).await?;
        Ok(Some(before.map_or(now, |before| now.since(before))))
    };
    load::run(load, clients, topic, at_boundaries).await
}

fn report(
    global: &Global,
    args: &BenchArgs,
    load: &Load,
    outcome: &Outcome,
    counters: Option<Counters>,
) -> anyhow::Result<()> {
    let seconds = outcome.elapsed.as_secs_f64();
    let records_per_second = outcome.acked as f64 / seconds;
    let bytes = outcome.acked as f64 * load.record_bytes as f64;
    let quantile = |q: f64| outcome.latency_us.value_at_quantile(q) as f64 / 1000.0;
    let mut document = serde_json::json!({
        "partitions": args.partitions,
        "acks": args.acks,
        "record_bytes": load.record_bytes,
        "batch_bytes": load.batch_bytes,
        "linger_ms": load.linger.as_millis(),
        "producers": load.producers,
        "offered_per_second": load.rate,
        "seconds": seconds,
        "acked": outcome.acked,
        "failed": outcome.failed,
        "records_per_second": records_per_second,
        "mb_per_second": bytes / seconds / 1e6,
        "latency_ms": {
            "counts_from": if load.rate == 0 { "enqueue (closed by the buffer)" } else { "intended send time" },
            "p50": quantile(0.50), "p90": quantile(0.90), "p99": quantile(0.99),
            "p999": quantile(0.999), "max": outcome.latency_us.max() as f64 / 1000.0,
        },
        "generator_lag_p99_ms": outcome.lag_us.value_at_quantile(0.99) as f64 / 1000.0,
    });
    if let Some(counters) = counters {
        document["nodes"] = counters.document(bytes, seconds);
    }
    if global.output == Format::Json {
        return output::json(&document);
    }
    let rows = flatten("", &document);
    output::table(&["figure", "value"], rows)
}

fn flatten(prefix: &str, value: &serde_json::Value) -> Vec<Vec<String>> {
    match value {
        serde_json::Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| flatten(&format!("{prefix}{name} "), value))
            .collect(),
        serde_json::Value::Number(number) if number.is_f64() => {
            let rounded = format!("{:.3}", number.as_f64().unwrap_or_default());
            vec![vec![prefix.trim_end().to_owned(), rounded]]
        }
        serde_json::Value::String(text) => vec![vec![prefix.trim_end().to_owned(), text.clone()]],
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_) => {
            vec![vec![prefix.trim_end().to_owned(), value.to_string()]]
        }
    }
}

/// How long deliveries may take after the last record was sent.
pub(super) const DRAIN_WAIT: Duration = Duration::from_secs(120);
