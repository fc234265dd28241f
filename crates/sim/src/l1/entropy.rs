//! Chance that would come from the system, under the seed instead.
//!
//! Hash maps and openraft's election timers ask `getrandom`. The standard library and the crate
//! `getrandom` call it by its symbol, which this file defines for the whole program: on a thread
//! that has a seed the seed decides, elsewhere the system does.

use std::cell::RefCell;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::slice;

use quipu_runtime::Rng;

thread_local! {
    static SEEDED: RefCell<Option<Rng>> = const { RefCell::new(None) };
}

/// From now on this thread gets its chance from the seed. Call it before anything else: what was
/// drawn before stays.
pub(crate) fn seed_thread(seed: u64) {
    // Named here, so that the linker keeps it.
    black_box(getrandom as unsafe extern "C" fn(*mut u8, usize, u32) -> isize);
    SEEDED.replace(Some(Rng::seeded(seed)));
}

/// Replaces libc's. Takes the place of `getrandom(2)`: returns how many bytes it gave, or -1.
#[expect(unsafe_code, reason = "one symbol to replace; no dependency is worth three lines")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, bytes: usize, flags: u32) -> isize {
    // SAFETY: callers of getrandom(2) give a buffer of so many bytes, filled or not.
    let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<MaybeUninit<u8>>(), bytes) };
    let is_seeded = SEEDED.try_with(|seeded| {
        let mut seeded = seeded.borrow_mut();
        seeded.as_mut().map(|rng| fill(rng, buffer)).is_some()
    });
    if is_seeded == Ok(true) {
        return isize::try_from(bytes).unwrap_or(-1);
    }
    let flags = rustix::rand::GetRandomFlags::from_bits_retain(flags);
    match rustix::rand::getrandom(&mut *buffer, flags) {
        Ok((given, _)) => isize::try_from(given.len()).unwrap_or(-1),
        Err(_) => -1,
    }
}

fn fill(rng: &mut Rng, buffer: &mut [MaybeUninit<u8>]) {
    for chunk in buffer.chunks_mut(8) {
        let drawn = rng.next_u64().to_le_bytes();
        chunk.iter_mut().zip(drawn).for_each(|(byte, drawn)| *byte = MaybeUninit::new(drawn));
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};
    use std::thread;

    use super::*;

    fn drawn(seed: Option<u64>) -> (u64, u64) {
        let draw = move || {
            if let Some(seed) = seed {
                seed_thread(seed);
            }
            (RandomState::new().hash_one(0), Rng::from_entropy().next_u64())
        };
        thread::spawn(draw).join().unwrap()
    }

    #[test]
    fn a_thread_with_a_seed_draws_what_the_seed_says_and_others_do_not() {
        assert_eq!(drawn(Some(7)), drawn(Some(7)));
        assert_ne!(drawn(Some(7)), drawn(Some(8)));
        assert_ne!(drawn(None), drawn(None));
    }
}
