//! Old records go as the topic says, on all replicas alike, and nobody is left in the dark.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use quipu_client::{
    Client, Error, ErrorCode, NewRecord, NewTopic, OutOfRange, Policy, Start, TimestampMs,
    TopicChange,
};
use quipu_testkit::{Cluster, ClusterOptions, metrics, replicas, until};

const TOPIC: &str = "court.case.filed";
const WAIT: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
const HOUR_MS: i64 = 3_600_000;

async fn cluster() -> Result<(Cluster, Client)> {
    let mut options = ClusterOptions::default();
    options.settings.push("storage.retention-interval=300ms".to_owned());
    options.settings.push("storage.checkpoint-interval=1s".to_owned());
    let cluster = Cluster::start_with(options).await?;
    let client = cluster.client().await?;
    Ok((cluster, client))
}

/// Publishes records of 16 KiB that were written at a time.
async fn write(client: &Client, count: usize, at: i64) -> Result<()> {
    let producer = client.producer().build()?;
    for _ in 0..count {
        let record = NewRecord::new(TOPIC, vec![7; 16 << 10]).timestamp(TimestampMs::new(at));
        drop(producer.enqueue(record).await?);
    }
    producer.flush().await?;
    producer.close(WAIT).await?;
    Ok(())
}

fn now() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Log start, high watermark and size of the only partition.
async fn bounds(client: &Client) -> Result<(u64, u64, u64)> {
    let topic = client.admin().describe_topic(TOPIC).await?;
    let partition = topic.partitions.first().context("a partition")?;
    let known = (partition.log_start, partition.high_watermark, partition.size_bytes);
    let (Some(start), Some(end), Some(bytes)) = known else { bail!("{partition:?}") };
    Ok((start, end, bytes))
}

/// Waits for a log start.
async fn starts_at(client: &Client, wanted: impl Fn(u64) -> bool) -> Result<u64> {
    let look = || async {
        let (start, end, bytes) = bounds(client).await?;
        ensure!(wanted(start), "it starts at {start}, ends at {end}, has {bytes} bytes");
        Ok(start)
    };
    until("the log start", WAIT, look).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_size_the_oldest_segments_go_and_at_least_the_limit_stays() -> Result<()> {
    const RECORDS: usize = 512;
    let (mut cluster, client) = cluster().await?;
    let topic = NewTopic::new(TOPIC).set("segment-bytes", "1MiB");
    client.admin().create_topic(topic).await?;
    client.admin().commit_offsets("slow", [(TOPIC, 0, 10)]).await?;
    write(&client, RECORDS, now()?).await?;
    let limit = TopicChange::new(TOPIC).set("retention-bytes", "2MiB");
    client.admin().alter_topic(limit).await?;

    // 8 MiB in segments of 1 MiB: five or six of them go, at once.
    let start = starts_at(&client, |start| start >= 300).await?;
    let kept = (512 - start) * (16 << 10);
    ensure!((2 * MIB..4 * MIB).contains(&kept), "{kept} bytes are kept");
    replicas::are_identical(&cluster, TOPIC, 1).await?;
    until("the files to go", WAIT, || async {
        let (_, _, bytes) = bounds(&client).await?;
        ensure!(bytes < 4 * MIB, "{bytes} bytes lie on the disk");
        Ok(())
    })
    .await?;

    // A reader below the start is told what it missed; from the start on all is there.
    let mut reader = client
        .replay(TOPIC)
        .from(Start::Offset(0))
        .on_out_of_range(OutOfRange::Fail)
        .open()
        .await?;
    let refused = reader.next().await.context("it ended")?.err().context("offset 0 is gone")?;
    let Error::OffsetOutOfRange(found) = &refused else { bail!("{refused}") };
    let is_told = found.is_below_start() && found.log_start == start;
    ensure!(is_told, "{found}, which was {start}");
    let mut reader = client.replay(TOPIC).open().await?;
    for offset in start..512 {
        let record = reader.next().await.context("it ended")??;
        ensure!(record.offset == offset, "{} follows {offset}", record.offset);
    }

    // Counted by reason, and for the group that had not read them.
    let labels = [r#"topic="court.case.filed""#, r#"reason="size""#];
    let records = metrics::sum(&cluster, "quipu_topic_records_deleted_total", &labels).await?;
    ensure!((records - start as f64).abs() < 0.5, "{records} counted, {start} deleted");
    until("the group's loss", WAIT, || async {
        let group = [r#"group="slow""#];
        let unread = metrics::sum(&cluster, "quipu_group_unread_deleted_total", &group).await?;
        ensure!((unread - (start - 10) as f64).abs() < 0.5, "{unread} counted");
        Ok(())
    })
    .await?;

    // The log start is replicated: it never goes back, whoever leads.
    cluster.kill_all()?;
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    let (after, end, _) = until("the bounds", WAIT, || bounds(&client)).await?;
    ensure!((after, end) == (start, 512), "after the restart {after}..{end}");
    replicas::are_identical(&cluster, TOPIC, 1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_age_old_records_go_also_of_a_topic_that_nobody_writes_to() -> Result<()> {
    let (mut cluster, client) = cluster().await?;
    let topic = NewTopic::new(TOPIC).set("segment-bytes", "1MiB");
    client.admin().create_topic(topic).await?;
    write(&client, 100, now()? - 3 * HOUR_MS).await?;
    write(&client, 100, now()? - 2 * HOUR_MS).await?;
    ensure!(bounds(&client).await?.0 == 0, "a topic without a limit keeps everything");

    // The limit comes later, and acts on what is there: the growing segment goes too.
    client.admin().alter_topic(TopicChange::new(TOPIC).set("retention-time", "2h")).await?;
    starts_at(&client, |start| start == 200).await?;
    write(&client, 10, now()?).await?;

    // A start forgets how old the growing segment is; it is found out again.
    cluster.kill_all()?;
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    let (start, end, _) = until("the bounds", WAIT, || bounds(&client)).await?;
    ensure!((start, end) == (200, 210), "{start}..{end}");
    let labels = [r#"topic="court.case.filed""#, r#"reason="age""#];
    let records = metrics::sum(&cluster, "quipu_topic_records_deleted_total", &labels).await?;
    ensure!(records.abs() < 0.5, "a new process has deleted nothing, counted {records}");
    replicas::are_identical(&cluster, TOPIC, 1).await
}

/// Publishes a MiB at a time until the only partition starts behind an offset.
async fn write_until_it_starts_behind(client: &Client, least: u64) -> Result<u64> {
    let look = || async {
        write(client, 64, now()?).await?;
        let (start, end, bytes) = bounds(client).await?;
        ensure!(start > least, "it starts at {start}, ends at {end}, has {bytes} bytes");
        Ok(start)
    };
    until("the log start", WAIT, look).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_settings_reach_logs_that_are_open() -> Result<()> {
    let (cluster, client) = cluster().await?;
    client.admin().create_topic(NewTopic::new(TOPIC)).await?;
    // One segment of 3 MiB, of up to 128: nothing of it could go.
    write(&client, 192, now()?).await?;
    let change =
        TopicChange::new(TOPIC).set("segment-bytes", "1MiB").set("retention-bytes", "1MiB");
    client.admin().alter_topic(change).await?;

    // It is sealed by what follows, and goes; what follows comes in segments of 1 MiB.
    let start = write_until_it_starts_behind(&client, 192).await?;
    let (_, end, _) = bounds(&client).await?;
    ensure!(end - start >= 64, "less than the limit is kept: {start}..{end}");
    replicas::are_identical(&cluster, TOPIC, 1).await
}

/// Value and policy of a setting of a topic.
async fn setting(client: &Client, topic: &str, key: &str) -> Result<(String, Option<String>)> {
    let topic = client.admin().describe_topic(topic).await?;
    let entry = topic.config.into_iter().find(|entry| entry.key == key);
    let entry = entry.context("every setting is described")?;
    ensure!(!entry.is_default || entry.policy.is_none(), "{entry:?}");
    Ok((entry.value, entry.policy))
}

/// Waits until every node that may answer has heard of it.
async fn is_set(
    client: &Client,
    of: (&str, &str),
    value: &str,
    policy: Option<&str>,
) -> Result<()> {
    let look = || async {
        // Any node may answer: each of them in turn.
        for _ in 0..3 {
            let found = setting(client, of.0, of.1).await?;
            ensure!(found == (value.to_owned(), policy.map(str::to_owned)), "{of:?}: {found:?}");
        }
        Ok(())
    };
    until("a setting", WAIT, look).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_by_name_act_on_topics_that_exist_and_on_those_to_come() -> Result<()> {
    let (mut cluster, client) = cluster().await?;
    let admin = client.admin();
    admin.create_topic(NewTopic::new(TOPIC)).await?;
    write(&client, 192, now()?).await?;

    let wide = Policy::new("court.*").set("retention-bytes", "1MiB").set("segment-bytes", "1MiB");
    let preview = admin.preview_set_policy(wide.clone()).await?;
    ensure!(preview.topics == 1 && admin.list_policies().await?.is_empty(), "{preview:?}");
    let set = admin.set_policy(wide.clone()).await?;
    ensure!(set == Policy { topics: 1, ..wide.clone() }, "{set:?}");
    let narrow = Policy::new("court.case.*").set("retention-time", "90d");
    admin.set_policy(narrow.clone()).await?;
    is_set(&client, (TOPIC, "retention-bytes"), "1MiB", Some("court.*")).await?;
    is_set(&client, (TOPIC, "retention-time"), "90d", Some("court.case.*")).await?;
    write_until_it_starts_behind(&client, 192).await?;

    // A topic's own setting comes first, the default included.
    admin.alter_topic(TopicChange::new(TOPIC).set("retention-bytes", "unlimited")).await?;
    is_set(&client, (TOPIC, "retention-bytes"), "unlimited", None).await?;
    admin.create_topic(NewTopic::new("court.late")).await?;
    is_set(&client, ("court.late", "segment-bytes"), "1MiB", Some("court.*")).await?;
    is_set(&client, ("court.late", "retention-time"), "unlimited", None).await?;

    // What is deleted acts no more, and stays deleted; what is not, stays.
    let deleted = admin.delete_policy("court.*").await?;
    ensure!(deleted.config == wide.config && deleted.topics == 2, "{deleted:?}");
    is_set(&client, (TOPIC, "segment-bytes"), "128MiB", None).await?;
    cluster.kill_all()?;
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    let policies = until("the policies", WAIT, || admin_policies(&client)).await?;
    ensure!(policies == [Policy { topics: 1, ..narrow }], "{policies:?}");

    for (refused, code) in [
        (admin.delete_policy("court.*").await, ErrorCode::UnknownPolicy),
        (admin.delete_policy("court *").await, ErrorCode::InvalidPolicy),
        (
            admin.set_policy(Policy::new("a?").set("segment-time", "1h")).await,
            ErrorCode::InvalidPolicy,
        ),
        (admin.set_policy(Policy::new("a").set("min-insync", "2")).await, ErrorCode::InvalidConfig),
        (
            admin.set_policy(Policy::new("a").set("retention-time", "1s")).await,
            ErrorCode::InvalidConfig,
        ),
        (admin.set_policy(Policy::new("a")).await, ErrorCode::InvalidConfig),
    ] {
        let refused = refused.err().with_context(|| format!("not refused with {code}"))?;
        ensure!(refused.code() == Some(code), "{code}: {refused}");
    }
    Ok(())
}

async fn admin_policies(client: &Client) -> Result<Vec<Policy>> {
    Ok(client.admin().list_policies().await?)
}
