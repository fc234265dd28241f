//! Files whose checksums are right and whose claims are absurd.

use quipu_disk::{Disk, Faults, FaultyDisk, OpenMode};
use quipu_journal::{DumpLine, Journal, OpenError, dump};
use quipu_types::{LogIndex, ShardId};

use crate::rig::{dir, entry, open_stepped, small, unasked};

/// Where a start with one group and no vote says the last live index, and how long the first file
/// is: see `docs/formats/journal.md`.
const LAST_LIVE: usize = 4 + 4 + 1 + 8;
const FIRST_END: usize = LAST_LIVE + 8 + 4 + 8;

/// Entries of one group.
const ENTRIES: u64 = 40;

/// Some files of entries, and a newest one that holds a start alone.
fn filled() -> FaultyDisk {
    let disk = FaultyDisk::new(1, Faults::default());
    let (journal, _) = open_stepped(&disk, small()).expect("open");
    for index in 0..ENTRIES {
        journal.group(ShardId::new(0)).append(vec![entry(1, index, vec![1; 800])], unasked());
        while journal.step() {}
    }
    let disk = killed(&disk, journal);
    let (journal, _) = open_stepped(&disk, small()).expect("open");
    killed(&disk, journal)
}

fn killed(disk: &FaultyDisk, journal: Journal) -> FaultyDisk {
    let disk = disk.restart();
    drop(journal);
    disk
}

/// Puts a number into the payload of the newest start, and makes the checksums right.
fn claim(disk: &FaultyDisk, at: usize, number: u64) {
    let mut lines: Vec<DumpLine> = Vec::new();
    dump(disk, &dir(), &mut |line| lines.push(line)).expect("dump");
    let is_start =
        |line: &&DumpLine| line.frame.as_ref().is_some_and(|frame| frame.kind == "start");
    let newest = lines.iter().rfind(is_start).expect("a start");
    let payload_bytes = newest.frame.as_ref().expect("a start").payload_bytes;
    let path = dir().join(format!("{:020}.journal", newest.position.file.get()));
    let file = disk.open(&path, OpenMode::ReadWrite).expect("open");
    let mut frame = vec![0; 64 + usize::try_from(payload_bytes).expect("small")];
    file.read_exact_at(&mut frame, 0).expect("read");
    frame[64 + at..][..8].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&frame[64..]);
    frame[56..60].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&frame[..60]);
    frame[60..64].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&frame, 0).expect("write");
}

fn missing(disk: &FaultyDisk) -> LogIndex {
    let refused = open_stepped(disk, small()).map(|_| ()).expect_err("refused");
    let OpenError::Missing { shard, index, .. } = refused else { panic!("{refused}") };
    assert_eq!(shard, ShardId::new(0));
    index
}

/// What is missing costs no memory: there is none for so many entries.
#[test]
fn entries_without_end_that_no_file_holds_are_missed() {
    let disk = filled();
    claim(&disk, LAST_LIVE, u64::MAX - 1);
    assert_eq!(missing(&disk), LogIndex::new(ENTRIES));
    // A file that is gone may have been of any length.
    claim(&disk, FIRST_END, u64::MAX - 7);
    let first = disk.read_dir(&dir()).expect("list").swap_remove(0);
    disk.remove_file(&dir().join(first.name)).expect("remove");
    assert_eq!(missing(&disk), LogIndex::new(0));
}
