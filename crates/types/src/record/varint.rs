//! Zigzag varints: small numbers of either sign in few bytes (as in protobuf's `sint`).

/// Most bytes of a 32-bit varint.
pub(super) const BYTES_MAX_I32: usize = 5;
/// Most bytes of a 64-bit varint.
pub(super) const BYTES_MAX_I64: usize = 10;

/// Why bytes are not a varint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidVarint {
    /// The bytes end before the varint does.
    Truncated,
    /// The last allowed byte says that more follow.
    TooLong,
    /// The last byte has bits beyond the number's width.
    Overflow,
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Bytes that [`put`] writes for `value`.
pub(super) const fn len(value: i64) -> usize {
    let bits = u64::BITS - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends `value`. The bytes are the same for 32-bit and 64-bit fields.
pub(super) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    out.push((rest & 0x7F) as u8);
}

/// Reads a 32-bit varint from the start of `bytes`: the number and how many bytes it took.
pub(super) fn get_i32(bytes: &[u8]) -> Result<(i32, usize), InvalidVarint> {
    let (raw, length) = get(bytes, BYTES_MAX_I32, u64::from(u32::MAX))?;
    let value = i32::try_from(unzigzag(raw)).expect("32 bits were checked");
    Ok((value, length))
}

/// Reads a 64-bit varint from the start of `bytes`: the number and how many bytes it took.
pub(super) fn get_i64(bytes: &[u8]) -> Result<(i64, usize), InvalidVarint> {
    let (raw, length) = get(bytes, BYTES_MAX_I64, u64::MAX)?;
    Ok((unzigzag(raw), length))
}

fn get(bytes: &[u8], bytes_max: usize, max: u64) -> Result<(u64, usize), InvalidVarint> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(bytes_max).enumerate() {
        let bits = u64::from(byte & 0x7F);
        let shift = 7 * at;
        if bits > (max >> shift) {
            return Err(InvalidVarint::Overflow);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok((value, at + 1));
        }
    }
    Err(if bytes.len() < bytes_max { InvalidVarint::Truncated } else { InvalidVarint::TooLong })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_numbers_have_known_bytes() {
        let cases: [(i64, &[u8]); 8] = [
            (0, &[0]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7E]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (i64::from(i32::MAX), &[0xFE, 0xFF, 0xFF, 0xFF, 0x0F]),
            (i64::MIN, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        ];
        for (value, bytes) in cases {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(len(value), bytes.len(), "{value}");
            assert_eq!(get_i64(bytes), Ok((value, bytes.len())));
        }
    }

    #[test]
    fn too_long_too_wide_and_cut_varints_are_told_apart() {
        assert_eq!(get_i64(&[]), Err(InvalidVarint::Truncated));
        assert_eq!(get_i64(&[0x80; 9]), Err(InvalidVarint::Truncated));
        assert_eq!(get_i64(&[0x80; 10]), Err(InvalidVarint::TooLong));
        assert_eq!(get_i64(&[0x80; 11]), Err(InvalidVarint::TooLong));
        assert_eq!(get_i32(&[0x80; 5]), Err(InvalidVarint::TooLong));
        assert_eq!(get_i32(&[0x80; 4]), Err(InvalidVarint::Truncated));
        assert_eq!(get_i32(&[0xFF, 0xFF, 0xFF, 0xFF, 0x10]), Err(InvalidVarint::Overflow));
        let mut wide = [0xFF; 10];
        wide[9] = 0x02;
        assert_eq!(get_i64(&wide), Err(InvalidVarint::Overflow));
    }

    proptest! {
        #[test]
        fn every_number_comes_back(value: i64, small: i32) {
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert_eq!(out.len(), len(value));
            prop_assert_eq!(get_i64(&out), Ok((value, out.len())));
            out.clear();
            put(&mut out, i64::from(small));
            prop_assert_eq!(get_i32(&out), Ok((small, out.len())));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = get_i32(&bytes);
            let _ = get_i64(&bytes);
        }
    }
}
