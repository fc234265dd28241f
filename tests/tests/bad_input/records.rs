//! Family: the records of a plain batch. The broker walks them, so that no reader meets them.

use anyhow::Result;
use quipu_types::ErrorCode::{self, CorruptBatch, InvalidTimestamp};

use crate::batch::{Batch, zigzag};
use crate::bench::Bench;
use crate::catalogue::{Catalogue, Want};
use crate::victim::Victim;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("record");
    let mut victim = Victim::create(bench, "bad.records", &[]).await?;
    for (name, count, section) in good() {
        let bytes = Batch::with_section(count, &section).done();
        victim.case(catalogue, name, Want::Accepted, bytes).await?;
    }
    for (name, code, count, section) in bad() {
        victim.case(catalogue, name, code, Batch::with_section(count, &section).done()).await?;
    }
    catalogue.note("the end", victim.is_still().await);
    Ok(())
}

/// A record field by field; what is not named is fine.
#[derive(Clone, Debug)]
struct Raw {
    attributes: u8,
    time: Vec<u8>,
    offset: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
    headers: Vec<u8>,
    /// Added to the length field.
    length_error: i64,
}

impl Raw {
    fn at(offset: i64) -> Self {
        Self {
            attributes: 0,
            time: zigzag(0),
            offset: zigzag(offset),
            key: zigzag(-1),
            value: text(b"value"),
            headers: zigzag(0),
            length_error: 0,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let fields = [&self.time, &self.offset, &self.key, &self.value, &self.headers];
        let mut body = vec![self.attributes];
        body.extend(fields.into_iter().flatten());
        let length = i64::try_from(body.len()).expect("a small record") + self.length_error;
        let mut out = zigzag(length);
        out.extend(body);
        out
    }
}

/// Bytes after their length.
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = zigzag(i64::try_from(bytes.len()).expect("a small text"));
    out.extend_from_slice(bytes);
    out
}

/// One header, or what is given as one.
fn headers(count: i64, fields: &[Vec<u8>]) -> Vec<u8> {
    let mut out = zigzag(count);
    out.extend(fields.iter().flatten());
    out
}

fn record(change: impl FnOnce(&mut Raw)) -> Vec<u8> {
    let mut raw = Raw::at(0);
    change(&mut raw);
    raw.bytes()
}

fn good() -> Vec<(&'static str, i32, Vec<u8>)> {
    let thousand = vec![[text(b"k"), zigzag(-1)].concat(); 1000];
    vec![
        ("a record by hand", 1, record(|_| ())),
        ("two records by hand", 2, [Raw::at(0).bytes(), Raw::at(1).bytes()].concat()),
        ("null key and null value", 1, record(|raw| raw.value = zigzag(-1))),
        ("a thousand headers", 1, record(|raw| raw.headers = headers(1000, &thousand))),
        ("a timestamp before the base", 1, record(|raw| raw.time = zigzag(-5000))),
    ]
}

fn bad() -> Vec<(&'static str, ErrorCode, i32, Vec<u8>)> {
    let bad = |name, change: fn(&mut Raw)| (name, CorruptBatch, 1, record(change));
    let two = |first: i64, second: i64| [Raw::at(first).bytes(), Raw::at(second).bytes()].concat();
    let thousand_and_one = vec![[text(b"k"), zigzag(-1)].concat(); 1001];
    let many = record(|raw| raw.headers = headers(1001, &thousand_and_one));
    let mut cases = vec![
        bad("length one long", |raw| raw.length_error = 1),
        bad("length one short", |raw| raw.length_error = -1),
        bad("length below 0", |raw| raw.length_error = -1000),
        bad("length of a gigabyte", |raw| raw.length_error = 1 << 30),
        bad("attributes", |raw| raw.attributes = 1),
        bad("key length -2", |raw| raw.key = zigzag(-2)),
        bad("key beyond the record", |raw| raw.key = zigzag(1000)),
        bad("key of two gigabytes", |raw| raw.key = zigzag(i64::from(i32::MAX))),
        bad("value length -2", |raw| raw.value = zigzag(-2)),
        bad("value beyond the record", |raw| raw.value = zigzag(1000)),
        bad("value length of 40 bits", |raw| raw.value = zigzag(1 << 40)),
        bad("header count below 0", |raw| raw.headers = zigzag(-1)),
        bad("header count without headers", |raw| raw.headers = zigzag(3)),
        bad("header count of a million", |raw| raw.headers = zigzag(1_000_000)),
        bad("header key null", |raw| raw.headers = headers(1, &[zigzag(-1), zigzag(-1)])),
        bad("header key not UTF-8", |raw| {
            raw.headers = headers(1, &[text(&[0xC3, 0x28]), zigzag(-1)]);
        }),
        bad("header value length -2", |raw| raw.headers = headers(1, &[text(b"k"), zigzag(-2)])),
        bad("header value beyond the record", |raw| {
            raw.headers = headers(1, &[text(b"k"), zigzag(99)]);
        }),
        bad("bytes behind the last header", |raw| raw.headers.extend([0, 0, 0])),
        bad("offset delta varint of 6 bytes", |raw| {
            raw.offset = vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        }),
        bad("timestamp varint of 11 bytes", |raw| {
            raw.time = vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        }),
        bad("length varint that never ends", |raw| {
            raw.headers = vec![0xFF; 4];
        }),
        ("a thousand and one headers", CorruptBatch, 1, many),
        ("offset delta from 1", CorruptBatch, 1, Raw::at(1).bytes()),
        ("offset delta below 0", CorruptBatch, 1, Raw::at(-1).bytes()),
        ("offset deltas repeated", CorruptBatch, 2, two(0, 0)),
        ("offset deltas with a gap", CorruptBatch, 2, two(0, 2)),
        ("offset deltas backwards", CorruptBatch, 2, two(1, 0)),
        ("a record missing", CorruptBatch, 2, [record(|_| ()), vec![0; 3]].concat()),
        ("garbage for records", CorruptBatch, 1, vec![0xA5; 64]),
        ("zeros for records", CorruptBatch, 1, vec![0; 64]),
    ];
    let times: [(&str, i64); 4] = [
        ("a timestamp after the largest", 1001),
        ("a timestamp before 1970", -crate::batch::TIME - 1),
        ("the largest timestamp delta", i64::MAX),
        ("the least timestamp delta", i64::MIN),
    ];
    for (name, delta) in times {
        cases.push((name, InvalidTimestamp, 1, record(|raw| raw.time = zigzag(delta))));
    }
    cases
}
