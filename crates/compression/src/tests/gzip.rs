//! gzip streams built by hand.

use super::*;

fn bomb() -> Vec<u8> {
    compressed(Codec::Gzip, &vec![0; MIB]).repeat(1_024)
}

#[test]
fn members_in_a_row_are_one_stream() {
    let stream = [compressed(Codec::Gzip, b"one "), compressed(Codec::Gzip, b"two")].concat();
    assert_eq!(read(Codec::Gzip, stream, LIMIT).unwrap(), "one two");
}

#[test]
fn a_gibibyte_is_refused() {
    let expected = DecompressError::TooLarge { codec: Codec::Gzip, limit: LIMIT };
    assert_eq!(read(Codec::Gzip, bomb(), LIMIT), Err(expected));
}

#[test]
fn wrong_sums_and_sizes_are_refused() {
    let stream = compressed(Codec::Gzip, b"content");
    for back in 1..=8 {
        let mut bytes = stream.to_vec();
        let at = bytes.len() - back;
        bytes[at] ^= 1;
        let refused = read(Codec::Gzip, bytes, LIMIT);
        assert!(matches!(refused, Err(DecompressError::Corrupt { .. })), "{refused:?}");
    }
}
