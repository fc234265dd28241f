//! LZ4 frames built by hand.

use super::*;

const END: [u8; 4] = [0; 4];

/// A frame with these flags, blocks of 4 MiB at most, and no checksums.
fn frame(flags: u8, optional: &[u8], blocks: &[&[u8]]) -> Vec<u8> {
    let mut stream = vec![0x04, 0x22, 0x4D, 0x18, flags, 0x70];
    stream.extend_from_slice(optional);
    stream.push(0);
    for block in blocks {
        stream.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
        stream.extend_from_slice(block);
    }
    stream.extend_from_slice(&END);
    stream
}

fn block(plain: &[u8]) -> Vec<u8> {
    lz4_flex::block::compress(plain)
}

fn refused(stream: Vec<u8>) -> DecompressError {
    read(Codec::Lz4, stream, LIMIT).expect_err("refused")
}

/// What `KafkaLZ4BlockInputStream` insists on: version 1, independent blocks.
#[test]
fn the_written_flags_are_those_of_kafka() {
    let stream = compressed(Codec::Lz4, &plain());
    assert_eq!(stream[..6], [0x04, 0x22, 0x4D, 0x18, 0x60, 0x40]);
    assert!(stream.ends_with(&END));
}

#[test]
fn a_gibibyte_is_refused() {
    let block = block(&vec![0; 4 * MIB]);
    let bomb = frame(0x60, &[], &vec![&block[..]; 256]);
    let expected = DecompressError::TooLarge { codec: Codec::Lz4, limit: LIMIT };
    assert_eq!(refused(bomb), expected);
    let lie = frame(0x68, &(1_u64 << 30).to_le_bytes(), &[&[0; 1_000]]);
    assert_eq!(refused(lie), expected);
}

#[test]
fn all_kinds_of_frames_are_read() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;

    let plain = plain();
    let info = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Linked)
        .block_checksums(true)
        .content_checksum(true)
        .content_size(Some(plain.len() as u64));
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(&plain).unwrap();
    let stream = encoder.finish().unwrap();
    assert_eq!(read(Codec::Lz4, stream, LIMIT).unwrap(), plain);
}

#[test]
fn a_stored_block_and_an_empty_one_are_read() {
    let mut stream = frame(0x60, &[], &[&block(b"one "), &block(b"")]);
    stream.truncate(stream.len() - 4);
    stream.extend_from_slice(&0x8000_0003_u32.to_le_bytes());
    stream.extend_from_slice(b"two");
    stream.extend_from_slice(&END);
    assert_eq!(read(Codec::Lz4, stream, LIMIT).unwrap(), "one two");
}

#[test]
fn wrong_flags_sizes_and_blocks_are_refused() {
    let codec = Codec::Lz4;
    let x = block(b"x");
    let corrupt: [(&str, Vec<u8>); 8] = [
        ("version 0", frame(0x20, &[], &[&x])),
        ("version 2", frame(0xA0, &[], &[&x])),
        ("reserved flag", frame(0x62, &[], &[&x])),
        ("content size too low", frame(0x68, &0_u64.to_le_bytes(), &[&x])),
        ("content size too high", frame(0x68, &2_u64.to_le_bytes(), &[&x])),
        ("no lz4 block", frame(0x60, &[], &[&[0xFF; 40]])),
        ("reserved size", {
            let mut stream = frame(0x60, &[], &[&x]);
            stream[5] = 0x30;
            stream
        }),
        ("block beyond its maximum", {
            let mut stream = frame(0x60, &[], &[&x]);
            stream[7..11].copy_from_slice(&0x7FFF_FFFF_u32.to_le_bytes());
            stream
        }),
    ];
    for (name, stream) in corrupt {
        let error = refused(stream);
        assert!(matches!(error, DecompressError::Corrupt { .. }), "{name}: {error}");
    }
    let dictionary = frame(0x61, &[1, 2, 3, 4], &[&x]);
    assert_eq!(refused(dictionary), DecompressError::Dictionary { codec });
    for magic in [[0x02, 0x21, 0x4C, 0x18], [0x50, 0x2A, 0x4D, 0x18]] {
        let mut legacy = frame(0x60, &[], &[&x]);
        legacy[..4].copy_from_slice(&magic);
        assert_eq!(refused(legacy), DecompressError::WrongFormat { codec });
    }
}
