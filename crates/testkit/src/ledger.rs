//! What was acknowledged, and whether the log still says so.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged records.
    pub acked: u64,
    /// Records in the log; more than acknowledged where an outcome was unknown.
    pub read: u64,
    /// Acknowledged records that are nowhere in the log.
    pub missing: u64,
    /// Records that stand in the log once more than they were sent.
    pub duplicated: u64,
    /// The first difference of any kind, in words.
    pub difference: Option<String>,
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

    /// Waits for a delivery and writes down what came of it: the partition that has it now.
    ///
    /// # Panics
    /// When another thread panicked with the ledger in its hands.
    pub async fn settle(&self, number: u64, delivery: Delivery) -> Option<u32> {
        match delivery.await {
            Ok(receipt) => {
                let offset = receipt.offset.expect("a quorum's receipt names its offset");
                let place = (receipt.partition, offset);
                self.acked.lock().expect("not poisoned").insert(number, place);
                Some(receipt.partition)
            }
            Err(error) => {
                if error.effect() == Effect::None {
                    self.refused.lock().expect("not poisoned").push(number);
                }
                self.failed.lock().expect("not poisoned").push(format!("{number}: {error}"));
                None
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
        let verdict = self.compare(client).await?;
        match verdict.difference {
            Some(difference) => bail!(difference),
            None => Ok(verdict),
        }
    }

    /// As [`Self::verify`], but counts what differs.
    ///
    /// # Errors
    /// The topic cannot be read.
    ///
    /// # Panics
    /// When another thread panicked with the ledger in its hands.
    pub async fn compare(&self, client: &Client) -> Result<Verdict> {
        let records =
            until("the topic to be read", READ_WAIT, || read_all(client, &self.topic)).await?;
        let acked = self.acked.lock().expect("not poisoned").clone();
        let refused = self.refused.lock().expect("not poisoned").clone();
        let mut verdict = Verdict {
            acked: u64::try_from(acked.len())?,
            read: u64::try_from(records.len())?,
            ..Verdict::default()
        };
        let places = self.look_through(&records, &mut verdict)?;
        for (number, place) in &acked {
            match places.get(number) {
                None => {
                    verdict.missing += 1;
                    verdict.differs(format!("record {number}, acknowledged at {place:?}, is lost"));
                }
                Some(found) if found != place => {
                    verdict.differs(format!("record {number} of {place:?} moved to {found:?}"));
                }
                Some(_) => {}
            }
        }
        for number in refused.iter().filter(|number| places.contains_key(number)) {
            verdict.differs(format!("record {number} was refused and is there"));
        }
        Ok(verdict)
    }

    /// Where each record stands first, and what is wrong with the log by itself.
    fn look_through(
        &self,
        records: &[Record],
        verdict: &mut Verdict,
    ) -> Result<HashMap<u64, (u32, u64)>> {
        let mut places: HashMap<u64, (u32, u64)> = HashMap::new();
        let mut next_offset: HashMap<u32, u64> = HashMap::new();
        let mut last_of_key: HashMap<&Bytes, u64> = HashMap::new();
        for record in records {
            let number = number_of(record)?;
            let place = (record.partition, record.offset);
            let expected = next_offset.entry(record.partition).or_default();
            if record.offset != *expected {
                verdict.differs(format!("gap: {place:?} follows {expected}"));
            }
            *expected = record.offset + 1;
            if let Some(earlier) = places.get(&number) {
                verdict.duplicated += 1;
                let text = format!("record {number} stands twice, at {earlier:?} and {place:?}");
                verdict.differs(text);
            } else {
                places.insert(number, place);
            }
            if *record.value.as_ref().context("a value")? != self.line(number) {
                verdict.differs(format!("record {number} at {place:?} is changed"));
            }
            let key = record.key.as_ref().context("a key")?;
            if let Some(earlier) = last_of_key.insert(key, number).filter(|it| *it >= number) {
                verdict.differs(format!("record {number} follows {earlier} of the same key"));
            }
        }
        Ok(places)
    }
}

impl Verdict {
    fn differs(&mut self, difference: String) {
        self.difference.get_or_insert(difference);
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
