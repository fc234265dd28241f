//! Raw and framed snappy blocks built by hand.

use super::*;

const HEADER: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

fn raw(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).unwrap()
}

fn framed(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = HEADER.to_vec();
    for block in blocks {
        stream.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes());
        stream.extend_from_slice(block);
    }
    stream
}

#[test]
fn raw_blocks_and_framed_ones_are_read() {
    assert_eq!(read(Codec::Snappy, raw(&plain()), LIMIT).unwrap(), plain());
    let stream = framed(&[raw(b"one "), raw(b""), raw(b"two")]);
    assert_eq!(read(Codec::Snappy, stream, LIMIT).unwrap(), "one two");
    assert!(compressed(Codec::Snappy, b"x").starts_with(HEADER));
}

#[test]
fn a_gibibyte_declared_by_a_kibibyte_is_refused() {
    let lie = [&[0x80, 0x80, 0x80, 0x80, 0x04][..], &[0; 1_019]].concat();
    let expected = DecompressError::TooLarge { codec: Codec::Snappy, limit: LIMIT };
    assert_eq!(read(Codec::Snappy, lie.clone(), LIMIT), Err(expected.clone()));
    assert_eq!(read(Codec::Snappy, framed(&[lie]), LIMIT), Err(expected));
}

#[test]
fn many_blocks_that_fit_alone_are_refused_together() {
    let block = raw(&vec![0; LIMIT]);
    let expected = DecompressError::TooLarge { codec: Codec::Snappy, limit: LIMIT };
    assert_eq!(read(Codec::Snappy, framed(&vec![block; 256]), LIMIT), Err(expected));
}

#[test]
fn lies_below_the_limit_are_refused_without_their_memory() {
    let lie = [&[0x80, 0x80, 0x80, 0x01][..], &[0; 16]].concat();
    let reason = "block of 20 bytes declares 2097152".to_owned();
    let expected = DecompressError::Corrupt { codec: Codec::Snappy, reason };
    assert_eq!(read(Codec::Snappy, lie, LIMIT), Err(expected));
}

#[test]
fn a_frame_of_the_future_and_a_chunk_beyond_the_end_are_refused() {
    let mut future = framed(&[raw(b"x")]);
    future[15] = 2;
    let refused = read(Codec::Snappy, future, LIMIT);
    assert!(matches!(refused, Err(DecompressError::Corrupt { .. })), "{refused:?}");
    let beyond = [HEADER, &u32::MAX.to_be_bytes(), b"x"].concat();
    let expected = DecompressError::Truncated { codec: Codec::Snappy };
    assert_eq!(read(Codec::Snappy, beyond, LIMIT), Err(expected));
}
