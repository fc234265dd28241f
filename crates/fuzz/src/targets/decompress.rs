//! Compressed streams under a limit.

use quipu_compression::{DecompressError, compress, decompress};
use quipu_types::record::Codec;

use crate::input::shared;
use crate::{Seed, Verdict};

/// Limits to try, in order.
const LIMITS: [usize; 5] = [0, 10, 1_000, 10_000, 30_000];

pub(crate) fn gzip(input: &[u8]) -> Verdict {
    check(Codec::Gzip, input)
}

pub(crate) fn snappy(input: &[u8]) -> Verdict {
    check(Codec::Snappy, input)
}

pub(crate) fn lz4(input: &[u8]) -> Verdict {
    check(Codec::Lz4, input)
}

pub(crate) fn zstd(input: &[u8]) -> Verdict {
    check(Codec::Zstd, input)
}

pub(crate) fn gzip_seeds() -> Vec<Seed> {
    seeds(Codec::Gzip)
}

pub(crate) fn snappy_seeds() -> Vec<Seed> {
    let mut seeds = seeds(Codec::Snappy);
    // A raw block, as other clients send it: its length, then one literal.
    seeds.push(("ok-raw", b"\x05\x10hello".to_vec()));
    seeds
}

pub(crate) fn lz4_seeds() -> Vec<Seed> {
    seeds(Codec::Lz4)
}

pub(crate) fn zstd_seeds() -> Vec<Seed> {
    seeds(Codec::Zstd)
}

fn seeds(codec: Codec) -> Vec<Seed> {
    let stream = |plain: &[u8]| compress(codec, plain).expect("a few bytes").to_vec();
    let mixed: Vec<u8> = (0..600_u32).flat_map(|n| (n * n / 7).to_le_bytes()).collect();
    let one = stream(b"hello hello hello hello");
    let mut seeds = vec![
        ("ok-words", one.clone()),
        ("ok-zeros", stream(&[0; 20_000])),
        ("ok-mixed", stream(&mixed)),
        ("bomb", stream(&[0; 40_000])),
    ];
    if matches!(codec, Codec::Gzip | Codec::Zstd) {
        seeds.push(("ok-two-members", [&one[..], &one[..]].concat()));
    }
    seeds
}

fn check(codec: Codec, input: &[u8]) -> Verdict {
    let stream = shared(input);
    let mut found: Option<usize> = None;
    for limit in LIMITS {
        match decompress(codec, &stream, limit) {
            Ok(plain) => {
                assert!(plain.len() <= limit, "{} bytes under a limit of {limit}", plain.len());
                let known = *found.get_or_insert(plain.len());
                assert_eq!(known, plain.len(), "the limit changes nothing but whether");
            }
            Err(refused) => {
                assert!(found.is_none(), "refused under a higher limit: {refused}");
                assert!(!refused.to_string().is_empty());
            }
        }
    }
    if let Some(length) = found {
        exact_limit(codec, input, length);
    }
    comes_back(codec, input);
    Verdict::when(found.is_some())
}

fn exact_limit(codec: Codec, input: &[u8], length: usize) {
    let stream = shared(input);
    let plain = decompress(codec, &stream, length).expect("it fits exactly");
    assert_eq!(plain.len(), length);
    if let Some(less) = length.checked_sub(1) {
        let refused = decompress(codec, &stream, less).expect_err("one byte too many");
        assert_eq!(refused, DecompressError::TooLarge { codec, limit: less });
    }
}

/// Any bytes survive compression.
fn comes_back(codec: Codec, input: &[u8]) {
    let stream = compress(codec, input).expect("memory for a few bytes");
    assert_eq!(decompress(codec, &stream, input.len()).expect("just compressed"), input);
}
