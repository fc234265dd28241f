//! Zstandard frames built by hand.

use super::*;

const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// A block of one byte repeated.
fn run(length: u32, is_last: bool) -> [u8; 4] {
    let header = (length << 3 | 1 << 1 | u32::from(is_last)).to_le_bytes();
    [header[0], header[1], header[2], b'x']
}

/// A frame that declares a window of 2^`window_log` and no size.
fn frame(window_log: u8, blocks: &[[u8; 4]]) -> Vec<u8> {
    let head = [&MAGIC[..], &[0x00, (window_log - 10) << 3]].concat();
    [head, blocks.concat()].concat()
}

#[test]
fn a_gibibyte_is_refused() {
    let mut blocks = vec![run(128 << 10, false); 8_192];
    blocks.push(run(0, true));
    let expected = Err(DecompressError::TooLarge { codec: Codec::Zstd, limit: LIMIT });
    assert_eq!(read(Codec::Zstd, frame(17, &blocks), LIMIT), expected);
    let declared = [&MAGIC[..], &[0xE0], &(1_u64 << 30).to_le_bytes(), &[0; 1_000]].concat();
    assert_eq!(read(Codec::Zstd, declared, LIMIT), expected);
}

#[test]
fn streams_without_a_declared_size_are_read() {
    let plain = vec![7; 3 * MIB];
    let stream = ::zstd::stream::encode_all(&plain[..], 3).unwrap();
    assert_eq!(read(Codec::Zstd, stream, LIMIT).unwrap(), plain);
}

/// Java clients declare windows far beyond the batch: they cost nothing here.
#[test]
fn a_huge_window_is_no_reason_to_refuse() {
    let blocks = [run(10, true)];
    assert_eq!(read(Codec::Zstd, frame(31, &blocks), LIMIT).unwrap(), "xxxxxxxxxx");
}

#[test]
fn sizes_that_contradict_the_blocks_are_refused() {
    for declared in [0_u64, 1, 9, 11, LIMIT as u64] {
        let head = [&MAGIC[..], &[0xE0], &declared.to_le_bytes()].concat();
        let stream = [head, run(10, true).to_vec()].concat();
        let error = read(Codec::Zstd, stream, LIMIT).expect_err("a lie");
        assert!(matches!(error, DecompressError::Corrupt { .. }), "{declared}: {error}");
    }
}

#[test]
fn a_dictionary_is_refused() {
    let stream = [&MAGIC[..], &[0x21, 0x07, 0x01], &run(1, true)].concat();
    let expected = DecompressError::Dictionary { codec: Codec::Zstd };
    assert_eq!(read(Codec::Zstd, stream, LIMIT), Err(expected));
}

#[test]
fn reserved_bits_and_blocks_are_refused() {
    let reserved_flag = [&MAGIC[..], &[0x08, 0x38], &run(1, true)].concat();
    let reserved_block = frame(17, &[[0x0F, 0, 0, b'x']]);
    for stream in [reserved_flag, reserved_block] {
        let error = read(Codec::Zstd, stream, LIMIT).expect_err("reserved");
        assert_eq!(error.code(), ErrorCode::CorruptBatch, "{error}");
    }
}
