//! Lengths between memory (`usize`) and disk (`u64`). We run on 64-bit machines only.

const _: () = assert!(usize::BITS == 64, "lengths on disk must fit in memory's");

pub(crate) fn to_u64(length: usize) -> u64 {
    u64::try_from(length).expect("usize has 64 bits")
}

pub(crate) fn to_usize(length: u64) -> usize {
    usize::try_from(length).expect("usize has 64 bits")
}
