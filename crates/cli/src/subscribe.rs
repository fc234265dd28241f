//! `quipu sub` and `quipu replay`: print events.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use quipu_client::{End, Record, Start};

use crate::args::{Format, Global, SubArgs};
use crate::{connect, start_point};

/// Follows a topic; by default from now on, for ever.
pub(crate) fn run(global: &Global, args: SubArgs) -> anyhow::Result<()> {
    if let Some(group) = args.group.clone() {
        return share(global, args, &group);
    }
    print(global, args, Start::Latest, End::Never)
}

/// Prints a range again; by default everything up to now.
pub(crate) fn replay(global: &Global, args: SubArgs) -> anyhow::Result<()> {
    print(global, args, Start::Earliest, End::Latest)
}

/// How long the last acks may take.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(10);

/// Reads as a member of a group, until the count is reached or Ctrl-C.
fn share(global: &Global, args: SubArgs, group: &str) -> anyhow::Result<()> {
    let start = args.from.as_deref().map_or(Ok(Start::Earliest), start_point::start)?;
    connect::block_on(async {
        let client = connect::client(global).await?;
        let consumer = client.subscribe([args.topic]).group(group).start_at(start);
        let mut consumer = consumer.join().await?;
        let mut left = args.count.unwrap_or(u64::MAX);
        let stdout = std::io::stdout();
        while left > 0 {
            let message = tokio::select! {
                message = consumer.next() => message,
                _ = tokio::signal::ctrl_c() => None,
            };
            let Some(message) = message.transpose()? else { break };
            let mut out = stdout.lock();
            if let Err(error) = write(&mut out, global.output, &message).and_then(|()| out.flush())
            {
                if error.kind() == std::io::ErrorKind::BrokenPipe {
                    break;
                }
                return Err(error).context("write to standard output");
            }
            message.ack_later();
            left -= 1;
        }
        consumer.shutdown(SHUTDOWN_WAIT).await?;
        Ok(())
    })
}

fn print(global: &Global, args: SubArgs, start: Start, end: End) -> anyhow::Result<()> {
    let start = args.from.as_deref().map_or(Ok(start), start_point::start)?;
    let end = args.until.as_deref().map_or(Ok(end), start_point::end)?;
    connect::block_on(async {
        let client = connect::client(global).await?;
        let mut replay = client.replay(&args.topic).from(start).until(end);
        if !args.partitions.is_empty() {
            replay = replay.partitions(args.partitions);
        }
        let mut records = replay.open().await?;
        let mut left = args.count.unwrap_or(u64::MAX);
        let stdout = std::io::stdout();
        while left > 0 {
            let record = tokio::select! {
                record = records.next() => record,
                _ = tokio::signal::ctrl_c() => None,
            };
            let Some(record) = record else { break };
            let mut out = stdout.lock();
            if let Err(error) = write(&mut out, global.output, &record?).and_then(|()| out.flush())
            {
                // The reader of the pipe went away: that is how it says enough.
                if error.kind() == std::io::ErrorKind::BrokenPipe {
                    break;
                }
                return Err(error).context("write to standard output");
            }
            left -= 1;
        }
        Ok(())
    })
}

fn write(out: &mut impl Write, format: Format, record: &Record) -> std::io::Result<()> {
    match format {
        Format::Raw => {
            out.write_all(record.value.as_deref().unwrap_or_default())?;
            out.write_all(b"\n")
        }
        Format::Json => {
            serde_json::to_writer(&mut *out, &document(record))?;
            out.write_all(b"\n")
        }
        Format::Table => writeln!(
            out,
            "{}/{}@{} {} key={} {}",
            record.topic,
            record.partition,
            record.offset,
            start_point::time(record.timestamp),
            record.key.as_deref().map_or_else(|| "-".into(), String::from_utf8_lossy),
            record.value.as_deref().map_or_else(|| "(deleted)".into(), String::from_utf8_lossy),
        ),
    }
}

fn document(record: &Record) -> serde_json::Value {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|header| {
            serde_json::json!([header.key(), header.value().map(|value| readable(value))])
        })
        .collect();
    serde_json::json!({
        "topic": &*record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": start_point::time(record.timestamp),
        "key": record.key.as_deref().map(readable),
        "value": record.value.as_deref().map(readable),
        "headers": headers,
    })
}

/// JSON as it is, text as a string, other bytes as `{"hex": …}`.
fn readable(bytes: &[u8]) -> serde_json::Value {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return value;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            serde_json::json!({ "hex": hex })
        }
    }
}
