//! Recovery of a journal from files of any bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_disk::FaultyDisk;
use quipu_journal::{Journal, JournalEntry, JournalFileId, OpenError, dump};
use quipu_types::{LogIndex, ShardId};

use super::journal_rig::{dir, files, held, open, put};
use crate::input::{disk, joined, parts, size};
use crate::{Seed, Verdict, reseal, samples};

/// Bytes of the smallest frame.
const FRAME_BYTES_MIN: usize = 64;

/// The input: the numbers of up to three files, a byte each, then the files.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let [ids, files @ ..] = parts::<4>(input);
    let ids = [0, 1, 2].map(|place| ids.get(place).copied().unwrap_or_default());
    let verdict = check(ids, &files);
    let mut resealed = files.map(<[u8]>::to_vec);
    resealed.iter_mut().for_each(|file| reseal::journal_file(file));
    let resealed = resealed.each_ref().map(Vec::as_slice);
    if resealed == files { verdict } else { verdict.or(check(ids, &resealed)) }
}

fn check(ids: [u8; 3], files: &[&[u8]; 3]) -> Verdict {
    let disk = disk();
    let numbered: BTreeMap<u8, &[u8]> = ids.into_iter().zip(files.iter().copied()).collect();
    for (id, bytes) in &numbered {
        if !bytes.is_empty() {
            put(&disk, JournalFileId::new(u64::from(*id)), bytes);
        }
    }
    let bytes: usize = numbered.values().map(|file| file.len()).sum();
    dumped(&disk, bytes);
    let report = match open(&disk) {
        Ok((journal, report)) => {
            let before = held(&journal);
            assert!(size(report.entries) * FRAME_BYTES_MIN <= bytes, "entries take room");
            // Killed: the next start finds what this one found.
            let disk = disk.restart();
            drop(journal);
            let (journal, _) = open(&disk).expect("what was opened once opens again");
            assert_eq!(held(&journal), before, "recovery takes nothing and adds nothing");
            report
        }
        Err(refused) => {
            assert!(!matches!(refused, OpenError::Config(_)), "{refused}");
            return Verdict::Refused;
        }
    };
    Verdict::when(report.entries > 0)
}

fn dumped(disk: &FaultyDisk, bytes: usize) {
    let mut lines = 0;
    let _ = dump(disk, &dir(), &mut |line| {
        assert!(!line.to_string().is_empty());
        lines += 1;
    });
    assert!(lines <= bytes / FRAME_BYTES_MIN + 6, "{lines} lines of {bytes} bytes");
}

pub(crate) fn seeds() -> Vec<Seed> {
    vec![
        ("ok-one-life", of_lives(1)),
        ("ok-two-lives", of_lives(2)),
        ("ok-three-lives", of_lives(3)),
    ]
}

/// The files of a journal that was killed so often: each life begins a file.
fn of_lives(lives: u64) -> Vec<u8> {
    let mut disk = disk();
    for life in 0..lives {
        let (journal, _) = open(&disk).expect("what was written");
        live(&journal, life);
        disk = disk.restart();
        drop(journal);
    }
    let files = files(&disk);
    let ids: Vec<u8> =
        files.iter().map(|(id, _)| u8::try_from(id.get()).expect("a few files")).collect();
    let mut parts = vec![ids.as_slice()];
    parts.extend(files.iter().map(|(_, bytes)| bytes.as_slice()));
    parts.resize(4, &[]);
    joined(&parts)
}

/// Calls of one group, and each kind of call of another.
fn live(journal: &Journal, life: u64) {
    let (a, b) = (journal.group(ShardId::new(1)), journal.group(ShardId::new(2)));
    let entry = |index| {
        let payload = Bytes::from(vec![b'p'; size(index % 3) * 9]);
        JournalEntry { id: samples::entry(1 + life, index), payload }
    };
    a.append((life * 6..life * 6 + 6).map(entry).collect(), unasked());
    b.append((life * 2..life * 2 + 4).map(entry).collect(), unasked());
    b.truncate_after(Some(LogIndex::new(life * 2 + 1)));
    b.save_vote(Bytes::from_static(b"vote"), unasked());
    b.save_committed(Bytes::from_static(b"mark"));
    a.purge(samples::entry(1 + life, life * 6 + 2));
    while journal.step() {}
}

fn unasked() -> quipu_journal::FlushCallback {
    Box::new(|_| {})
}
