//! Good streams come back, bad ones are refused by name, and none costs more than its limit.

use proptest::collection::vec;
use proptest::prelude::*;
use quipu_types::ErrorCode;
use quipu_types::TimestampMs;
use quipu_types::record::{BatchBuilder, Record};

use super::*;

mod gzip;
mod lz4;
mod snappy;
mod zstd;

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const MIB: usize = 1 << 20;
const LIMIT: usize = 4 * MIB;

/// Text with repetitions and without: 200 KB, several blocks of every codec.
fn plain() -> Vec<u8> {
    (0..20_000_u32)
        .flat_map(|n| format!("{},", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect()
}

fn compressed(codec: Codec, plain: &[u8]) -> Bytes {
    compress(codec, plain).unwrap()
}

fn read(codec: Codec, stream: impl Into<Bytes>, limit: usize) -> Result<Bytes, DecompressError> {
    decompress(codec, &stream.into(), limit)
}

#[test]
fn every_codec_gives_back_what_it_took() {
    for codec in [Codec::None].into_iter().chain(CODECS) {
        for plain in [vec![], vec![7], plain(), vec![0; 3 * MIB]] {
            let stream = compressed(codec, &plain);
            assert_eq!(read(codec, stream, LIMIT).unwrap(), plain, "{codec}");
        }
        assert_eq!(codec == Codec::None, compressed(codec, &plain()).len() == plain().len());
    }
}

proptest! {
    #[test]
    fn any_bytes_come_back(plain in vec(any::<u8>(), 0..3_000), times in 1..60_usize) {
        let plain = plain.repeat(times);
        for codec in CODECS {
            prop_assert_eq!(read(codec, compressed(codec, &plain), LIMIT), Ok(plain.clone().into()));
        }
    }

    #[test]
    fn arbitrary_streams_never_panic(noise in vec(any::<u8>(), 0..300)) {
        for codec in CODECS {
            // The first bytes of a good stream lead deeper.
            let magic = &compressed(codec, b"x")[..4];
            let _ = read(codec, noise.clone(), 64 << 10);
            let _ = read(codec, [magic, &noise].concat(), 64 << 10);
        }
    }

    /// No panic, and never a byte above the limit. What the damage made of the content is for the
    /// batch's checksum to notice.
    #[test]
    fn damaged_streams_never_panic(damage in vec((any::<usize>(), any::<u8>()), 1..4)) {
        let plain = &plain()[..20_000];
        for codec in CODECS {
            let mut stream = compressed(codec, plain).to_vec();
            for (at, byte) in &damage {
                let at = at % stream.len();
                stream[at] = *byte;
            }
            if let Ok(bytes) = read(codec, stream, plain.len() + 100) {
                prop_assert!(bytes.len() <= plain.len() + 100);
            }
        }
    }
}

#[test]
fn the_limit_is_exact() {
    let plain = plain();
    for codec in [Codec::None].into_iter().chain(CODECS) {
        let stream = compressed(codec, &plain);
        assert_eq!(read(codec, stream.clone(), plain.len()).unwrap(), plain, "{codec}");
        for limit in [plain.len() - 1, plain.len() / 2, 1, 0] {
            let refused = read(codec, stream.clone(), limit);
            assert_eq!(refused, Err(DecompressError::TooLarge { codec, limit }));
        }
    }
}

#[test]
fn the_limit_of_the_format_holds_above_the_callers() {
    let stream = compressed(Codec::Zstd, &vec![0; DECOMPRESSED_BYTES_MAX + 1]);
    let limit = DECOMPRESSED_BYTES_MAX;
    let refused = read(Codec::Zstd, stream, usize::MAX);
    assert_eq!(refused, Err(DecompressError::TooLarge { codec: Codec::Zstd, limit }));
}

#[test]
fn a_stream_cut_at_any_byte_is_refused() {
    let plain = &plain()[..2_000];
    for codec in CODECS {
        let stream = compressed(codec, plain);
        for length in 0..stream.len() {
            let refused = read(codec, stream.slice(..length), LIMIT);
            // xerial has no end mark: 16 bytes of header are a stream of nothing.
            if codec == Codec::Snappy && length == 16 {
                assert_eq!(refused, Ok(Bytes::new()));
                continue;
            }
            let error = refused.expect_err("cut");
            assert_eq!(error.code(), ErrorCode::CorruptBatch, "{codec} after {length}: {error}");
            // Within its magic, a cut xerial stream looks like a raw block.
            let is_raw = codec == Codec::Snappy && length < 8;
            let is_cut = error == DecompressError::Truncated { codec };
            assert!(is_cut || is_raw, "{codec} after {length}: {error}");
        }
    }
}

#[test]
fn a_stream_of_another_codec_is_refused() {
    for tag in CODECS {
        for codec in CODECS.into_iter().filter(|codec| *codec != tag) {
            let error = read(tag, compressed(codec, &plain()), LIMIT).expect_err("another codec");
            assert_eq!(error.code(), ErrorCode::CorruptBatch, "{codec} as {tag}: {error}");
            let is_wrong = error == DecompressError::WrongFormat { codec: tag };
            assert!(is_wrong || tag == Codec::Snappy, "{codec} as {tag}: {error}");
        }
        let error = read(tag, plain(), LIMIT).expect_err("plain bytes");
        assert_eq!(error.code(), ErrorCode::CorruptBatch, "plain as {tag}: {error}");
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    for codec in CODECS {
        for tail in [&[0_u8][..], b"tail and more of it"] {
            let stream = [&compressed(codec, &plain()), tail].concat();
            let error = read(codec, stream, LIMIT).expect_err("a tail");
            assert_eq!(error.code(), ErrorCode::CorruptBatch, "{codec}: {error}");
        }
    }
    let stream = [&compressed(Codec::Lz4, b"x")[..], &[1, 2, 3]].concat();
    let expected = DecompressError::TrailingBytes { codec: Codec::Lz4, trailing: 3 };
    assert_eq!(read(Codec::Lz4, stream, LIMIT), Err(expected));
}

fn batch(codec: Codec) -> ValidatedBatch {
    let mut builder = BatchBuilder::new(TimestampMs::new(0));
    for _ in 0..100 {
        let value = Some(Bytes::from_static(b"the same words over and over"));
        builder.push(&Record { value, ..Record::default() }).unwrap();
    }
    finish(builder, codec).unwrap()
}

#[test]
fn a_batch_is_read_whatever_its_codec() {
    let plain = batch(Codec::None);
    for codec in CODECS {
        let packed = batch(codec);
        assert_eq!(packed.codec(), codec);
        assert!(packed.bytes().len() < plain.bytes().len() / 2);
        let packed: Vec<_> = records(&packed, LIMIT).unwrap().map(Result::unwrap).collect();
        let plain: Vec<_> = records(&plain, LIMIT).unwrap().map(Result::unwrap).collect();
        assert_eq!(packed, plain);
    }
}

/// Compressed twice: the records inside are no records.
#[test]
fn a_nested_stream_gives_no_records() {
    for codec in CODECS {
        let twice = compressed(codec, &compressed(codec, &batch(Codec::None).section()));
        let section = read(codec, twice, LIMIT).unwrap();
        let error = batch(codec).records_of(section).find_map(Result::err).expect("no records");
        assert_eq!(error.code(), ErrorCode::CorruptBatch);
    }
}
