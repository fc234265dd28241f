//! Recovery of a journal that was written and then damaged: what is found was written, and is what
//! the journal held after some call of its life.

use bytes::Bytes;
use quipu_disk::FaultyDisk;
use quipu_journal::{GroupState, Journal, JournalEntry, JournalFileId};
use quipu_types::{LogIndex, ShardId};

use super::journal_rig::{Held, files, held, open, put, remove};
use crate::input::{disk, joined, parts, size};
use crate::{Seed, Verdict, samples};

/// Calls of one life.
const CALLS_MAX: usize = 60;
/// Bytes of one damage: file, position, what to do.
const DAMAGE_BYTES: usize = 4;
/// Damages of one input.
const DAMAGES_MAX: usize = 8;

/// The input: the calls of a life, a byte each; then damages.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let [calls, damages] = parts(input);
    let life = Life::of(&calls[..calls.len().min(CALLS_MAX)]);
    let whole = damages.len() < DAMAGE_BYTES;
    for damage in damages.chunks_exact(DAMAGE_BYTES).take(DAMAGES_MAX) {
        spoil(&life.disk, damage);
    }
    match open(&life.disk) {
        Ok((journal, _)) => {
            let found = without_committed(held(&journal));
            if whole {
                assert_eq!(Some(&found), life.history.last(), "what was written is recovered");
            }
            assert!(life.history.contains(&found), "never held: {found:?}");
            Verdict::Accepted
        }
        Err(refused) => {
            assert!(!whole, "an undamaged journal is refused: {refused}");
            Verdict::Refused
        }
    }
}

/// A journal's life, ended by a kill.
struct Life {
    disk: FaultyDisk,
    /// What it held at first and after each call.
    history: Vec<Held>,
}

impl Life {
    fn of(calls: &[u8]) -> Self {
        let disk = disk();
        let (journal, _) = open(&disk).expect("an empty journal");
        let mut history = vec![Held::new()];
        for (n, call) in (0..).zip(calls) {
            perform(&journal, *call, n);
            let held = without_committed(held(&journal));
            if history.last() != Some(&held) {
                history.push(held);
            }
        }
        while journal.step() {}
        let remains = disk.restart();
        drop(journal);
        Self { disk: remains, history }
    }
}

/// Committed marks go with the next write of any group, so no moment of the life has just them.
fn without_committed(mut held: Held) -> Held {
    held.values_mut().for_each(|(state, _)| state.committed = None);
    held.retain(|_, (state, _)| *state != GroupState::default());
    held
}

/// One call: its low bits say which, the next which group, the rest how much.
fn perform(journal: &Journal, call: u8, n: u64) {
    let group = journal.group(ShardId::new(u32::from((call >> 3) & 1)));
    let much = u64::from(call >> 4);
    let state = group.state();
    let next = state.last.map_or(LogIndex::new(0), |last| last.index.next());
    let term = state.last.map_or(1, |last| last.term.get());
    match call & 7 {
        0..=2 => {
            let payload = Bytes::from(format!("{n}-{}", "x".repeat(size(much) * 11)));
            let id = samples::entry(term + u64::from(much == 15), next.get());
            group.append(vec![JournalEntry { id, payload }], Box::new(|_| {}));
        }
        3 => group.save_vote(Bytes::from(format!("vote {n}")), Box::new(|_| {})),
        4 => group.save_committed(Bytes::from(format!("mark {n}"))),
        5 => {
            let first = state.first.map_or_else(|| next.get(), LogIndex::get);
            let kept = next.get().saturating_sub(1 + much % 4);
            if state.first.is_some() && kept > first {
                group.truncate_after(Some(LogIndex::new(kept)));
            }
        }
        6 => {
            if let Some(id) = group.entry_id(LogIndex::new(next.get().saturating_sub(1 + much))) {
                group.purge(id);
            }
        }
        _ => while journal.step() {},
    }
}

/// Flips bits of a byte, cuts a file short, or removes it.
fn spoil(disk: &FaultyDisk, damage: &[u8]) {
    let files = files(disk);
    let (Some(file), [_, high, low, how]) = (files.get(usize::from(damage[0]) % 4), damage) else {
        return;
    };
    let (id, mut bytes) = (file.0, file.1.clone());
    let at = usize::from(u16::from_be_bytes([*high, *low])) % bytes.len();
    match how {
        0 => bytes.truncate(at),
        1 => bytes.clear(),
        how => bytes[at] ^= how,
    }
    replace(disk, id, &bytes, *how == 1);
}

fn replace(disk: &FaultyDisk, id: JournalFileId, bytes: &[u8], is_removal: bool) {
    assert!(remove(disk, id), "it was just read");
    if !is_removal {
        put(disk, id, bytes);
    }
}

pub(crate) fn seeds() -> Vec<Seed> {
    let busy: Vec<u8> = (0..60_u8).map(|n| n.wrapping_mul(37)).collect();
    let plain: Vec<u8> = (0..60_u8).map(|n| if n % 5 == 4 { 7 } else { n % 8 * 16 }).collect();
    vec![
        ("ok-empty", joined(&[&[], &[]])),
        ("ok-plain", joined(&[&plain, &[]])),
        ("ok-busy", joined(&[&busy, &[]])),
        ("cut", joined(&[&plain, &[0, 4, 0, 0]])),
        ("flipped", joined(&[&busy, &[0, 0, 70, 9, 1, 2, 0, 64]])),
        ("removed", joined(&[&busy, &[0, 0, 0, 1]])),
        // Nothing vouches for the newest file as a whole (`docs/formats/journal.md`).
        ("ok-newest-removed", joined(&[&busy, &[1, 0, 0, 1]])),
    ]
}
