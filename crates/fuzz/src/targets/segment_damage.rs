//! Opening a log that was written and then damaged: right bytes or a refusal, never others.

use std::path::PathBuf;

use quipu_disk::Disk;
use quipu_types::Offset;

use super::segment_rig::{Written, dir, look_for_times, open, written};
use crate::input::file_bytes;
use crate::{Seed, Verdict};

/// Bytes of one damage: file, position, what to do.
const DAMAGE_BYTES: usize = 4;
/// Damages of one input.
const DAMAGES_MAX: usize = 8;

/// The input: damages.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let written = written();
    let damages = input.chunks_exact(DAMAGE_BYTES).take(DAMAGES_MAX);
    let is_whole = damages.len() == 0;
    damages.for_each(|damage| spoil(&written, damage));
    match open(&written.disk, Offset::ZERO, written.end) {
        Ok(log) => {
            look_for_times(&log, Offset::ZERO);
            let read = written.assert_right_or_refused(&log);
            assert!(!is_whole || read >= written.batches.len(), "everything is there");
            Verdict::Accepted
        }
        Err(refused) => {
            assert!(!is_whole, "an undamaged log is refused: {refused}");
            Verdict::Refused
        }
    }
}

/// Flips bits of a byte, cuts a file short, lengthens it, or removes it.
fn spoil(written: &Written, damage: &[u8]) {
    let mut files: Vec<PathBuf> = written
        .disk
        .read_dir(&dir())
        .expect("the log has files")
        .into_iter()
        .map(|entry| dir().join(entry.name))
        .collect();
    files.sort();
    let [file, high, low, how] = *damage else { return };
    let Some(path) = files.get(usize::from(file) % 9) else { return };
    let mut bytes = file_bytes(&written.disk, path);
    let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len().max(1);
    match how {
        0 => bytes.truncate(at),
        1 => return written.replace(path, None),
        2 => bytes.extend_from_within(at..),
        how if !bytes.is_empty() => bytes[at] ^= how,
        _ => {}
    }
    written.replace(path, Some(&bytes));
}

pub(crate) fn seeds() -> Vec<Seed> {
    vec![
        ("ok-whole", Vec::new()),
        ("ok-index-gone", vec![0, 0, 0, 1]),
        ("ok-flipped", vec![1, 0, 100, 64]),
        ("ok-longer", vec![6, 0, 3, 2]),
        ("cut", vec![1, 0, 90, 0]),
        ("log-gone", vec![1, 0, 0, 1]),
    ]
}
