//! Family: the header of a record batch.

use anyhow::Result;
use quipu_types::ErrorCode::{self, CorruptBatch, InvalidTimestamp, UnsupportedCodec};

use crate::batch::{Batch, TIME, at};
use crate::bench::Bench;
use crate::catalogue::{Catalogue, Want};
use crate::victim::Victim;

const HOUR_MS: i64 = 3_600_000;

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("batch");
    let mut victim = Victim::create(bench, "bad.batches", &[]).await?;
    victim.case(catalogue, "a good one", Want::Accepted, Batch::of(3).done()).await?;
    let refused = lengths().into_iter().chain(checksums()).chain(attributes()).chain(counts());
    for (name, code, bytes) in refused.chain(times()?).chain(producers()) {
        victim.case(catalogue, name, code, bytes).await?;
    }
    for (name, bytes) in accepted()? {
        victim.case(catalogue, name, Want::Accepted, bytes).await?;
    }
    victim.case(catalogue, "a good one afterwards", Want::Accepted, Batch::of(3).done()).await?;
    catalogue.note("the end", victim.is_still().await);
    log_append(bench, catalogue).await
}

/// Where the leader's clock counts, the producer's may say what it likes.
async fn log_append(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    let config = [("timestamp-type", "log-append")];
    let mut victim = Victim::create(bench, "bad.log-append", &config).await?;
    let ahead = Batch::of(1).number(at::MAX_TIMESTAMP, i64::MAX).sealed().done();
    victim.case(catalogue, "any future where the leader stamps", Want::Accepted, ahead).await?;
    let system = Batch::of(1).number(at::ATTRIBUTES, 0x28_i16).sealed().done();
    victim.case(catalogue, "control where the leader stamps", CorruptBatch, system).await?;
    catalogue.note("the end there", victim.is_still().await);
    Ok(())
}

type Refused = (String, ErrorCode, Vec<u8>);

fn refused(name: &str, code: ErrorCode, bytes: Vec<u8>) -> Refused {
    (name.to_owned(), code, bytes)
}

fn lengths() -> Vec<Refused> {
    let whole = Batch::of(3).done();
    let cut = |length: usize| whole[..length].to_vec();
    let says = |length: i32| Batch::of(3).number(at::LENGTH, length).done();
    let fits = i32::try_from(whole.len() - 12).expect("a small batch");
    let with_more = [&whole[..], &[0]].concat();
    let two = [&whole[..], &whole[..]].concat();
    vec![
        refused("no bytes", CorruptBatch, Vec::new()),
        refused("one byte", CorruptBatch, cut(1)),
        refused("one byte less than a header", CorruptBatch, cut(60)),
        refused("a header alone", CorruptBatch, cut(61)),
        refused("last byte missing", CorruptBatch, cut(whole.len() - 1)),
        refused("a byte behind it", CorruptBatch, with_more),
        refused("two batches", CorruptBatch, two),
        refused("length one short", CorruptBatch, says(fits - 1)),
        refused("length one long", CorruptBatch, says(fits + 1)),
        refused("length 0", CorruptBatch, says(0)),
        refused("length below 0", CorruptBatch, says(-1)),
        refused("length least", CorruptBatch, says(i32::MIN)),
        refused("length most", CorruptBatch, says(i32::MAX)),
        refused("zeros alone", UnsupportedCodec, vec![0; 100]),
        refused("ones alone", UnsupportedCodec, vec![0xFF; 100]),
    ]
}

fn checksums() -> Vec<Refused> {
    let last = Batch::of(3).len() - 1;
    let flips = [
        ("first bit of the checksum", at::CRC, 0x80),
        ("last bit of the checksum", at::CRC + 3, 0x01),
        ("a bit of the base timestamp", at::BASE_TIMESTAMP + 7, 0x01),
        ("a bit of the largest timestamp", at::MAX_TIMESTAMP + 7, 0x04),
        ("a bit of the first record", 61, 0x01),
        ("a bit of the last record", last, 0x40),
    ];
    let mut cases: Vec<Refused> = flips
        .into_iter()
        .map(|(name, byte, bits)| refused(name, CorruptBatch, Batch::of(3).flip(byte, bits).done()))
        .collect();
    cases.push(refused("checksum 0", CorruptBatch, Batch::of(3).number(at::CRC, 0_u32).done()));
    cases
}

fn attributes() -> Vec<Refused> {
    let with = |bits: i16| Batch::of(3).number(at::ATTRIBUTES, bits).sealed().done();
    let mut cases = vec![
        refused("log-append time", CorruptBatch, with(0x08)),
        refused("transactional", CorruptBatch, with(0x10)),
        refused("control", CorruptBatch, with(0x20)),
        refused("delete horizon", CorruptBatch, with(0x40)),
        refused("transactional control", CorruptBatch, with(0x30)),
    ];
    for codec in 5..=7 {
        cases.push((format!("codec {codec}"), UnsupportedCodec, with(codec)));
    }
    for bit in 7..=15 {
        cases.push((format!("attribute bit {bit}"), CorruptBatch, with(1 << bit)));
    }
    for magic in [0_u8, 1, 3, 255] {
        let bytes = Batch::of(3).number(at::MAGIC, magic).done();
        cases.push((format!("format {magic}"), UnsupportedCodec, bytes));
    }
    cases
}

fn counts() -> Vec<Refused> {
    let with = |count: i32, delta: i32| {
        let batch = Batch::of(3).number(at::RECORD_COUNT, count);
        batch.number(at::LAST_OFFSET_DELTA, delta).sealed().done()
    };
    let gzip = |count: i32| {
        let batch = Batch::of(3).number(at::ATTRIBUTES, 1_i16).number(at::RECORD_COUNT, count);
        batch.number(at::LAST_OFFSET_DELTA, count - 1).sealed().done()
    };
    vec![
        refused("no records", CorruptBatch, with(0, -1)),
        refused("a negative count", CorruptBatch, with(-1, -2)),
        refused("the least count", CorruptBatch, with(i32::MIN, i32::MAX)),
        refused("the largest count", CorruptBatch, with(i32::MAX, i32::MAX - 1)),
        refused("one record more than there are", CorruptBatch, with(4, 3)),
        refused("one record less than there are", CorruptBatch, with(2, 1)),
        refused("delta above the count", CorruptBatch, with(3, 3)),
        refused("delta below the count", CorruptBatch, with(3, 1)),
        refused("a negative delta", CorruptBatch, with(3, -1)),
        refused("more records than bytes", CorruptBatch, with(1000, 999)),
        refused("a compressed batch of more than a million", CorruptBatch, gzip(1_000_001)),
        refused("a compressed batch of two thousand million", CorruptBatch, gzip(i32::MAX)),
    ]
}

fn times() -> Result<Vec<Refused>> {
    let with = |base: i64, max: i64| {
        Batch::of(1).number(at::BASE_TIMESTAMP, base).number(at::MAX_TIMESTAMP, max).sealed().done()
    };
    let soon = now_ms()? + HOUR_MS;
    let case = |name, base, max| refused(name, InvalidTimestamp, with(base, max));
    Ok(vec![
        case("base before 1970", -1, TIME),
        case("largest before 1970", -1, -1),
        case("the least timestamps", i64::MIN, i64::MIN),
        case("base after the largest", TIME, TIME - 1),
        case("a minute too far in the future", TIME, soon + 60_000),
        case("a year in the future", TIME, soon + 365 * 24 * HOUR_MS),
        case("the largest timestamp", TIME, i64::MAX),
        case("the largest timestamps", i64::MAX, i64::MAX),
    ])
}

fn producers() -> Vec<Refused> {
    let with =
        |id: i64, epoch: i16, sequence: i32| Batch::of(3).producer((id, epoch), sequence).done();
    vec![
        refused("an id alone", CorruptBatch, with(5, -1, -1)),
        refused("an id without an epoch", CorruptBatch, with(5, -1, 0)),
        refused("an id without a sequence", CorruptBatch, with(5, 0, -1)),
        refused("an epoch alone", CorruptBatch, with(-1, 0, -1)),
        refused("a sequence alone", CorruptBatch, with(-1, -1, 0)),
        refused("an id of -2", CorruptBatch, with(-2, -1, -1)),
        refused("an epoch of -2", CorruptBatch, with(5, -2, 0)),
        refused("a sequence of -2", CorruptBatch, with(5, 0, -2)),
        refused("the least of all three", CorruptBatch, with(i64::MIN, i16::MIN, i32::MIN)),
    ]
}

fn accepted() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let soon = now_ms()? + HOUR_MS - 60_000;
    Ok(vec![
        (
            "a base offset from the producer has no say",
            Batch::of(2).number(at::BASE_OFFSET, 4_000_000_i64).done(),
        ),
        (
            "a leader epoch from the producer has no say",
            Batch::of(2).number(at::LEADER_EPOCH, 77_i32).done(),
        ),
        (
            "a largest timestamp of 59 minutes from now",
            Batch::of(2).number(at::MAX_TIMESTAMP, soon).sealed().done(),
        ),
    ])
}

fn now_ms() -> Result<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis())?)
}
