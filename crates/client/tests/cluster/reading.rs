//! Reading when leaders move, streams break and records are gone.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt;
use quipu_client::{
    Client, Codec, End, Error, ErrorCode, NewRecord, OutOfRange, Record, Start, TimestampMs,
};

use crate::fake::Cluster;

/// Stores records 0.. in batches of `batch`, one second apart.
pub(crate) async fn fill(client: &Client, partition: u32, count: u32, batch: usize) {
    let producer = client.producer().linger(Duration::from_secs(60)).build().unwrap();
    for number in 0..count {
        let record = NewRecord::new("fees", number.to_string())
            .partition(partition)
            .timestamp(TimestampMs::new(i64::from(number) * 1_000));
        let _unawaited = producer.enqueue(record).await.unwrap();
        if (usize::try_from(number).unwrap() + 1) % batch == 0 {
            producer.flush().await.unwrap();
        }
    }
    producer.flush().await.unwrap();
}

fn values(records: &[Record]) -> Vec<u32> {
    let text = |record: &Record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
    records.iter().map(|record| text(record).parse().unwrap()).collect()
}

#[tokio::test]
async fn a_replay_gives_every_record_in_order_and_ends() {
    let cluster = Cluster::start(2, 3).await;
    let client = cluster.client().await;
    for partition in 0..3 {
        fill(&client, partition, 50, 7).await;
    }
    let records: Vec<Record> =
        client.replay("fees").open().await.unwrap().try_collect().await.unwrap();
    let mut by_partition: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
    for record in records {
        by_partition.entry(record.partition).or_default().push(record);
    }
    for records in by_partition.values() {
        assert_eq!(values(records), (0..50).collect::<Vec<u32>>());
        assert!(records.iter().map(|record| record.offset).eq(0..50));
    }
    assert_eq!(by_partition.len(), 3);
}

#[tokio::test]
async fn starts_and_ends_are_exact_within_batches() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 20, 5).await;
    let cases = [
        (Start::Offset(7), End::Latest, 7..20),
        (Start::Last(3), End::Latest, 17..20),
        (Start::Last(300), End::Latest, 0..20),
        (Start::Timestamp(TimestampMs::new(8_500)), End::Latest, 9..20),
        (Start::Earliest, End::Offset(13), 0..13),
        (Start::Offset(6), End::Timestamp(TimestampMs::new(8_000)), 6..8),
        (Start::Latest, End::Latest, 0..0),
        (Start::Timestamp(TimestampMs::new(99_000)), End::Latest, 0..0),
        (Start::Offset(15), End::Offset(10), 0..0),
    ];
    for (start, end, expected) in cases {
        let reader = client.replay("fees").from(start).until(end).open().await.unwrap();
        let records: Vec<Record> = reader.try_collect().await.unwrap();
        assert_eq!(values(&records), expected.collect::<Vec<u32>>(), "{start:?} {end:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_replay_is_fixed_when_it_starts() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    let reader = client.replay("fees").open().await.unwrap();
    fill(&client, 0, 5, 5).await;
    assert_eq!(reader.ends(), BTreeMap::from([(0, Some(10))]));
    assert_eq!(reader.try_collect::<Vec<Record>>().await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_reader_waits_for_what_comes() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let mut reader = client.reader("fees").from(Start::Latest).open().await.unwrap();
    {
        let next = reader.next();
        tokio::pin!(next);
        assert!(futures::poll!(next).is_pending());
    }
    client.publish(NewRecord::new("fees", "7").header("source", "desk")).await.unwrap();
    let record = reader.next().await.unwrap().unwrap();
    assert_eq!(record.header("source").flatten().map(|value| &value[..]), Some(&b"desk"[..]));
    assert_eq!(reader.positions(), BTreeMap::from([(0, 1)]));
}

#[tokio::test]
async fn leader_changes_and_broken_streams_are_invisible() {
    let cluster = Cluster::start(3, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 60, 2).await;
    let mut reader = client.replay("fees").fetch_bytes(200).buffer_bytes(1).open().await.unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.next().await {
        records.push(record.unwrap());
        match records.len() {
            10 => cluster.lock().topics.get_mut("fees").unwrap().leaders = vec![Some(2)],
            20 => cluster.lock().break_fetches = 2,
            30 => cluster.lock().topics.get_mut("fees").unwrap().leaders = vec![None],
            40 => cluster.lock().topics.get_mut("fees").unwrap().leaders = vec![Some(3)],
            _ => {}
        }
        // While there is no leader nothing comes: the buffer may end before record 40.
        if records.len() == 30 {
            let cluster = cluster.clone();
            cluster.until("an attempt without leader", |state| !state.fetches.is_empty()).await;
            cluster.lock().topics.get_mut("fees").unwrap().leaders = vec![Some(3)];
        }
    }
    assert_eq!(values(&records), (0..60).collect::<Vec<u32>>());
    let asked: std::collections::BTreeSet<u64> = cluster.lock().fetches.iter().copied().collect();
    assert_eq!(asked, [1, 2, 3].into());
}

#[tokio::test]
async fn positions_outside_are_typed_errors_on_either_side() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 20, 5).await;
    let kept = client.admin().delete_records("fees", 0, Some(10)).await.unwrap();
    assert_eq!(kept, 10);
    for (offset, is_below) in [(3, true), (21, false)] {
        let mut reader = client.reader("fees").from(Start::Offset(offset)).open().await.unwrap();
        let error = reader.next().await.unwrap().unwrap_err();
        let Error::OffsetOutOfRange(found) = &error else { panic!("{error:?}") };
        assert_eq!((found.offset, found.log_start, found.high_watermark), (offset, 10, 20));
        assert_eq!(found.is_below_start(), is_below);
        assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));
        assert!(reader.next().await.is_none(), "an error is the last item");
    }
}

#[tokio::test]
async fn a_policy_goes_on_where_records_are() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 20, 5).await;
    client.admin().delete_records("fees", 0, Some(10)).await.unwrap();
    let reader = client
        .replay("fees")
        .from(Start::Offset(3))
        .on_out_of_range(OutOfRange::Earliest)
        .open()
        .await
        .unwrap();
    let records: Vec<Record> = reader.try_collect().await.unwrap();
    assert_eq!(values(&records), (10..20).collect::<Vec<u32>>());
}

#[tokio::test]
async fn a_reader_goes_on_from_saved_positions() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    fill(&client, 1, 10, 5).await;
    let mut first = client.replay("fees").open().await.unwrap();
    for _ in 0..13 {
        first.next().await.unwrap().unwrap();
    }
    let saved = first.positions();
    assert_eq!(saved.values().sum::<u64>(), 13);
    let rest: Vec<Record> = client
        .replay("fees")
        .start_offsets(saved)
        .open()
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(rest.len(), 7);
}

#[tokio::test]
async fn damage_is_reported_and_nothing_after_it_is_served() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 10, 5).await;
    {
        let mut state = cluster.lock();
        let batch = &mut state.topics.get_mut("fees").unwrap().logs[0].batches[1].1;
        let mut bytes = batch.to_vec();
        bytes[70] ^= 1;
        *batch = bytes.into();
    }
    let mut reader = client.replay("fees").open().await.unwrap();
    let error = loop {
        match reader.next().await.expect("an error comes before the end") {
            Ok(record) => assert!(record.offset < 5),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[tokio::test]
async fn compressed_batches_are_read() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let producer = client.producer().compression(codec).build().unwrap();
        for _ in 0..20 {
            let _unawaited =
                producer.enqueue(NewRecord::new("fees", "b".repeat(300))).await.unwrap();
        }
        producer.flush().await.unwrap();
    }
    let records: Vec<Record> =
        client.replay("fees").open().await.unwrap().try_collect().await.unwrap();
    assert_eq!(records.len(), 80);
    assert!(
        records.iter().all(|record| record.value.as_deref() == Some("b".repeat(300).as_bytes()))
    );
}

#[tokio::test]
async fn a_partition_that_cannot_be_read_ends_the_reader_with_the_reason() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    fill(&client, 0, 5, 5).await;
    let builder = client.reader("fees").from(Start::Offset(5));
    let mut reader = builder.give_up_after(Duration::from_millis(600)).open().await.unwrap();
    cluster.lock().topics.get_mut("fees").unwrap().leaders = vec![None];
    let error = reader.next().await.unwrap().unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("read fees/0: timed out after "), "{text}");
    assert!(error.is_unavailable());
}

#[tokio::test]
async fn a_topic_that_was_deleted_ends_the_reader() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let mut reader = client.reader("fees").open().await.unwrap();
    client.admin().delete_topic("fees").await.unwrap();
    let error = reader.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicId));
}
