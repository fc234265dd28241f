//! What was acknowledged, and whether the log still says so.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use quipu_client::{Client, Delivery, End, NewRecord, Record, Start};
use quipu_types::Effect;

use crate::until;

/// Different keys: each must keep its order.
const KEYS: u64 = 64;
/// The header with a record's number.
const NUMBER: &str = "n";
/// How long the log may take to be readable again after a fault.
const READ_WAIT: Duration = Duration::from_secs(120);

/// Numbers records, remembers which were acknowledged where, and checks the log against it.
#[derive(Debug)]
pub struct Ledger {
    topic: String,
    lines: Vec<Bytes>,
    next: AtomicU64,
    acked: Mutex<HashMap<u64, (u32, u64)>>,
    /// Failed with effect none: must not be in the log.
    refused: Mutex<Vec<u64>>,
    failed: Mutex<Vec<String>>,
}

/// What a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged records, all found at their offset.
    pub acked: u64,
    /// Records in the log; more than acknowledged where an outcome was unknown.
    pub read: u64,
}

impl Ledger {
    /// A ledger for a topic; record `n` carries line `n` modulo the number of lines.
    #[must_use]
    pub fn new(topic: &str, lines: Vec<Bytes>) -> Self {
        Self {
            topic: topic.to_owned(),
            lines,
            next: AtomicU64::new(0),
            acked: Mutex::default(),
            refused: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// The next record, with its number.
    pub fn record(&self) -> (u64, NewRecord) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let record = NewRecord::new(self.topic.as_str(), self.line(number))
            .key(format!("key-{}", number % KEYS))
            .header(NUMBER, number.to_be_bytes().to_vec());
        (number, record)
    }

    fn line(&self, number: u64) -> Bytes {
        let count = u64::try_from(self.lines.len()).expect("a length fits");
        self.lines[usize::try_from(number % count).expect("below a length")].clone()
    }

    /// Waits for a delivery and writes down what came of it.
    ///
    /// # Panics
    /// When another thread panicked with the ledger in its hands.
    pub async fn settle(&self, number: u64, delivery: Delivery) {
        match delivery.await {
            Ok(receipt) => {
                let offset = receipt.offset.expect("a quorum's receipt names its offset");
                let place = (receipt.partition, offset);
                self.acked.lock().expect("not poisoned").insert(number, place);
            }
            Err(error) => {
                if error.effect() == Effect::None {
                    self.refused.lock().expect("not poisoned").push(number);
                }
                self.failed.lock().expect("not poisoned").push(format!("{number}: {error}"));
            }
        }
    }

    /// How many are acknowledged by now.
    ///
    /// # Panics
    /// When another thread panicked with the ledger in its hands.
    pub fn acked(&self) -> usize {
        self.acked.lock().expect("not poisoned").len()
    }

    /// What failed, in words.
    ///
    /// # Panics
    /// When another thread panicked with the ledger in its hands.
    pub fn failed(&self) -> Vec<String> {
        self.failed.lock().expect("not poisoned").clone()
    }

    /// Reads the whole topic and compares: every acknowledged record is at its offset, once, equal,
    /// and in order of its key; offsets have no gap; nothing refused and nothing unknown is there.
    ///
    /// # Errors
    /// The first difference.
    ///
    /// # Panics
    /// When another thread panicked with the ledger in its hands.
    pub async fn verify(&self, client: &Client) -> Result<Verdict> {
        let records =
            until("the topic to be read", READ_WAIT, || read_all(client, &self.topic)).await?;
        let acked = self.acked.lock().expect("not poisoned").clone();
        let refused = self.refused.lock().expect("not poisoned").clone();
        let mut places: HashMap<u64, (u32, u64)> = HashMap::new();
        let mut next_offset: HashMap<u32, u64> = HashMap::new();
        let mut last_of_key: HashMap<Bytes, u64> = HashMap::new();
        for record in &records {
            let number = number_of(record)?;
            let place = (record.partition, record.offset);
            let expected = next_offset.entry(record.partition).or_default();
            ensure!(record.offset == *expected, "gap: {place:?} follows {expected}");
            *expected += 1;
            if let Some(earlier) = places.insert(number, place) {
                bail!("record {number} stands twice, at {earlier:?} and {place:?}");
            }
            let value = record.value.clone().context("a value")?;
            ensure!(value == self.line(number), "record {number} at {place:?} is changed");
            let key = record.key.clone().context("a key")?;
            if let Some(earlier) = last_of_key.insert(key, number) {
                ensure!(earlier < number, "record {number} follows {earlier} of the same key");
            }
        }
        for (number, place) in &acked {
            match places.get(number) {
                None => bail!("record {number}, acknowledged at {place:?}, is lost"),
                Some(found) => {
                    ensure!(found == place, "record {number} of {place:?} moved to {found:?}");
                }
            }
        }
        for number in &refused {
            ensure!(!places.contains_key(number), "record {number} was refused and is there");
        }
        Ok(Verdict { acked: u64::try_from(acked.len())?, read: u64::try_from(records.len())? })
    }
}

fn number_of(record: &Record) -> Result<u64> {
    let header = record.headers.iter().find(|header| header.key() == NUMBER);
    let value = header.and_then(|header| header.value()).context("no number")?;
    Ok(u64::from_be_bytes(value[..].try_into().context("a number has eight bytes")?))
}

/// Everything in a topic, as of now.
///
/// # Errors
/// As the client's.
pub async fn read_all(client: &Client, topic: &str) -> Result<Vec<Record>> {
    let mut stream = client.replay(topic).from(Start::Earliest).until(End::Latest).open().await?;
    let mut records = Vec::new();
    while let Some(record) = stream.next().await {
        records.push(record?);
    }
    Ok(records)
}
