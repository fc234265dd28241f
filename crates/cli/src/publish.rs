//! `quipu pub`: publishes events.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quipu_client::{Client, Delivery, NewRecord, NewTopic, Producer, Receipt};
use quipu_types::{Acks, ErrorCode};

use crate::args::{Format, Global, PubArgs};
use crate::exit::Failure;
use crate::{connect, output};

/// Deliveries awaited at the same time when many events are published.
const DELIVERIES_IN_FLIGHT: usize = 20_000;

/// Runs the verb.
pub(crate) fn run(global: &Global, args: PubArgs) -> anyhow::Result<()> {
    connect::block_on(async {
        let client = connect::client(global).await?;
        if args.create {
            create(&client, &args.topic).await?;
        }
        let template = Template::new(&args)?;
        let producer = producer(&client, &args)?;
        match &args.value {
            Some(value) => one(global, &producer, &template, value).await?,
            None => many(global, &producer, &template, args.file.as_deref()).await?,
        }
        producer.close(Duration::from_secs(10)).await?;
        Ok(())
    })
}

fn producer(client: &Client, args: &PubArgs) -> anyhow::Result<Producer> {
    let acks = match args.acks.as_str() {
        "none" => Acks::None,
        "leader" => Acks::Leader,
        "quorum" => Acks::Quorum,
        other => return Err(Failure::usage(format!("--acks {other}: none, leader or quorum"))),
    };
    let linger = if args.value.is_some() { Duration::ZERO } else { Duration::from_millis(5) };
    Ok(client
        .producer()
        .acks(acks)
        .linger(linger)
        .compression(crate::start_point::codec(&args.compression)?)
        .delivery_timeout(crate::start_point::duration(&args.timeout)?)
        .idempotent(acks == Acks::Quorum)
        .build()?)
}

async fn create(client: &Client, name: &str) -> anyhow::Result<()> {
    match client.admin().create_topic(NewTopic::new(name)).await {
        Err(error) if error.code() != Some(ErrorCode::TopicExists) => Err(error.into()),
        _ => Ok(()),
    }
}

/// What every event has besides its value.
struct Template {
    topic: String,
    key: Option<Bytes>,
    key_field: Option<String>,
    headers: Vec<(String, Bytes)>,
}

impl Template {
    fn new(args: &PubArgs) -> anyhow::Result<Self> {
        let headers = args
            .headers
            .iter()
            .map(|header| {
                let (name, value) = header
                    .split_once('=')
                    .ok_or_else(|| Failure::usage(format!("-H {header}: write name=value")))?;
                Ok((name.to_owned(), Bytes::copy_from_slice(value.as_bytes())))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            topic: args.topic.clone(),
            key: args.key.clone().map(Bytes::from),
            key_field: args.key_field.clone(),
            headers,
        })
    }

    fn record(&self, value: Vec<u8>) -> anyhow::Result<NewRecord> {
        let key = match &self.key_field {
            Some(field) => Some(key_of(field, &value)?),
            None => self.key.clone(),
        };
        let mut record = NewRecord::new(self.topic.as_str(), value);
        if let Some(key) = key {
            record = record.key(key);
        }
        for (name, value) in &self.headers {
            record = record.header(name.as_str(), value.clone());
        }
        Ok(record)
    }
}

fn key_of(field: &str, event: &[u8]) -> anyhow::Result<Bytes> {
    let event: serde_json::Value =
        serde_json::from_slice(event).context("--key-field needs JSON events")?;
    match event.get(field) {
        Some(serde_json::Value::String(text)) => Ok(Bytes::from(text.clone())),
        Some(other) => Ok(Bytes::from(other.to_string())),
        None => Err(Failure::usage(format!("an event has no field {field:?}: {event}"))),
    }
}

async fn one(
    global: &Global,
    producer: &Producer,
    template: &Template,
    value: &str,
) -> anyhow::Result<()> {
    let receipt = producer.publish(template.record(value.as_bytes().to_vec())?).await?;
    show(global, &receipt)
}

fn show(global: &Global, receipt: &Receipt) -> anyhow::Result<()> {
    if global.output == Format::Json {
        return output::json(&document(receipt));
    }
    let offset =
        receipt.offset.map_or_else(|| "not yet known".to_owned(), |offset| offset.to_string());
    output::line(&format!("published {}/{}@{offset}", receipt.topic, receipt.partition))
}

fn document(receipt: &Receipt) -> serde_json::Value {
    serde_json::json!({
        "topic": &*receipt.topic,
        "partition": receipt.partition,
        "offset": receipt.offset,
        "timestamp": crate::start_point::time(receipt.timestamp),
    })
}

async fn many(
    global: &Global,
    producer: &Producer,
    template: &Template,
    file: Option<&Path>,
) -> anyhow::Result<()> {
    let (mut input, bytes) = open(file)?;
    let bar = progress(bytes);
    let mut waiting: VecDeque<Delivery> = VecDeque::new();
    let (mut published, mut line) = (0_u64, Vec::new());
    let mut last = None;
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        bar.inc(u64::try_from(line.len())?);
        while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            line.pop();
        }
        waiting.push_back(producer.enqueue(template.record(std::mem::take(&mut line))?).await?);
        if waiting.len() >= DELIVERIES_IN_FLIGHT {
            let oldest = waiting.pop_front().expect("one was just added");
            last = Some(oldest.await.with_context(|| stored(published))?);
            published += 1;
        }
    }
    producer.flush().await?;
    for delivery in waiting {
        last = Some(delivery.await.with_context(|| stored(published))?);
        published += 1;
    }
    bar.finish_and_clear();
    if global.output == Format::Json {
        let last = last.as_ref().map(document);
        return output::json(&serde_json::json!({ "published": published, "last": last }));
    }
    output::line(&format!("published {published} events to {}", template.topic))
}

fn stored(count: u64) -> String {
    format!("after {count} events that are stored")
}

/// The events' source and its size, when it has one.
fn open(file: Option<&Path>) -> anyhow::Result<(Box<dyn BufRead>, Option<u64>)> {
    let Some(path) = file else {
        return Ok((Box::new(std::io::stdin().lock()), None));
    };
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let bytes = file.metadata()?.len();
    Ok((Box::new(BufReader::with_capacity(1 << 20, file)), Some(bytes)))
}

fn progress(bytes: Option<u64>) -> ProgressBar {
    let Some(bytes) = bytes.filter(|_| std::io::stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let style =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left")
            .expect("the template is valid");
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    bar.with_style(style)
}
