//! Damage to what was durable is an error with a place, never a shorter log.

use quipu_disk::{Disk, Faults, FaultyDisk, OpenMode};
use quipu_journal::{
    Ambiguity, Config, DumpLine, Journal, JournalFileId, OpenError, ReadError, dump, inspect,
};
use quipu_runtime::Rng;
use quipu_types::{LogIndex, ShardId};

use crate::model::{id, observe};
use crate::rig::{dir, entry, for_each_seed, open_stepped, small, unasked};

const HEADER: u64 = 64;

fn path(file: JournalFileId) -> std::path::PathBuf {
    dir().join(format!("{file:020}.journal", file = file.get()))
}

fn lines(disk: &FaultyDisk) -> Vec<DumpLine> {
    let mut lines = Vec::new();
    dump(disk, &dir(), &mut |line| lines.push(line)).expect("dump");
    lines
}

/// A few files of entries of three groups, nothing purged.
fn filled(seed: u64) -> (FaultyDisk, Journal) {
    let mut rng = Rng::seeded(seed);
    let disk = FaultyDisk::new(seed, Faults::default());
    let (journal, _) = open_stepped(&disk, small()).expect("open");
    for index in 0..10 + rng.below(10) {
        for shard in 0..3 {
            let bytes = usize::try_from(1 + rng.below(900)).expect("small");
            let group = journal.group(ShardId::new(shard));
            group.append(vec![entry(1, index, vec![1; bytes])], unasked());
        }
        while journal.step() {}
    }
    (disk, journal)
}

#[test]
fn a_flipped_bit_anywhere_is_damage_and_nothing_is_cut() {
    for_each_seed(400, "a_flipped_bit", |seed| {
        let (disk, journal) = filled(seed);
        // Killed, not closed: the last word is the mark, itself not flushed.
        let before = observe(&journal);
        let disk = disk.restart();
        drop(journal);
        let frames: Vec<_> = lines(&disk)
            .into_iter()
            .filter_map(|line| line.frame.map(|frame| (line.position, frame)))
            .collect();
        // A mark at the very end of a file vouches for everything but itself.
        let is_last =
            |at: usize| frames.get(at + 1).is_none_or(|(next, _)| next.file != frames[at].0.file);
        let targets: Vec<_> = frames
            .iter()
            .enumerate()
            .filter(|(at, (_, frame))| !(frame.kind == "mark" && is_last(*at)))
            .map(|(_, target)| target)
            .collect();
        let mut rng = Rng::seeded(seed ^ 0xB17);
        let drawn = rng.below(u64::try_from(targets.len()).expect("small"));
        let (position, frame) = targets[usize::try_from(drawn).expect("small")];
        let byte = position.byte + rng.below(HEADER + u64::from(frame.payload_bytes));
        let bit = u8::try_from(rng.below(8)).expect("small");
        disk.flip_bit(&path(position.file), byte, bit);
        for _ in 0..2 {
            let refused = open_stepped(&disk, small()).map(|_| ()).expect_err("damaged");
            let OpenError::Damaged { position: named, shards, .. } = &refused else {
                panic!("{refused}");
            };
            assert_eq!(named, position, "{refused}");
            assert!(frame.shard.is_none_or(|shard| shards.contains(&shard)), "{refused}");
        }
        // Repaired, everything is there: nothing was cut.
        disk.flip_bit(&path(position.file), byte, bit);
        let (journal, report) = open_stepped(&disk, small()).expect("open");
        assert_eq!((observe(&journal), report.torn), (before, None));
    });
}

#[test]
fn a_missing_file_is_noticed() {
    // All but the one being written and the one prepared next.
    let (disk, _journal) = filled(5);
    let sealed = disk.read_dir(&dir()).expect("list").len() - 2;
    assert!(sealed >= 2);
    for victim in 0..sealed {
        let (disk, journal) = filled(5);
        let disk = disk.restart();
        drop(journal);
        let names: Vec<_> = disk.read_dir(&dir()).expect("list");
        disk.remove_file(&dir().join(&names[victim].name)).expect("remove");
        let refused = open_stepped(&disk, small()).map(|_| ()).expect_err("missing");
        assert!(matches!(refused, OpenError::Missing { .. }), "{refused}");
    }
}

#[test]
fn a_damaged_entry_is_not_served() {
    let disk = FaultyDisk::new(1, Faults::default());
    let config = Config { tail_bytes_max: 0, ..Config::default() };
    let (journal, _) = open_stepped(&disk, config).expect("open");
    let group = journal.group(ShardId::new(1));
    group.append((0..3).map(|index| entry(1, index, vec![1; 500])).collect(), unasked());
    while journal.step() {}
    let target = lines(&disk)
        .into_iter()
        .find(|line| line.frame.as_ref().is_some_and(|frame| frame.id == id(1, 1)))
        .expect("the second entry");
    for byte in [0, 10, 30, 45, 50, 60, HEADER, HEADER + 499] {
        disk.flip_bit(&path(target.position.file), target.position.byte + byte, 3);
        let read = group.read(LogIndex::new(0), LogIndex::new(3), usize::MAX);
        let refused = read.expect_err("damaged");
        assert!(
            matches!(&refused, ReadError::Corruption { index, position, .. }
                if *index == LogIndex::new(1) && *position == target.position),
            "byte {byte}: {refused}"
        );
        disk.flip_bit(&path(target.position.file), target.position.byte + byte, 3);
    }
    assert_eq!(
        group.read(LogIndex::new(0), LogIndex::new(3), usize::MAX).expect("healed").len(),
        3
    );
}

/// A frame with a whole header and a bad body may have been acknowledged: cut, but said.
#[test]
fn a_bad_body_at_the_very_end_is_cut_and_reported() {
    let disk = FaultyDisk::new(9, Faults::default());
    let (journal, _) = open_stepped(&disk, Config::default()).expect("open");
    let group = journal.group(ShardId::new(7));
    group.append(vec![entry(1, 0, "kept")], unasked());
    while journal.step() {}
    group.append(vec![entry(1, 1, vec![5; 800])], unasked());
    journal.group(ShardId::new(8)).append(vec![entry(1, 0, "beside")], unasked());
    // No step: what `close` writes is cut off before its mark.
    disk.set_faults(Faults { power_cut_at: Some(2), ..Faults::default() });
    assert!(journal.close().is_err());
    let disk = disk.restart();
    let target = lines(&disk)
        .into_iter()
        .find(|line| line.frame.as_ref().is_some_and(|frame| frame.id == id(1, 1)))
        .expect("the last entry was written");
    disk.flip_bit(&path(target.position.file), target.position.byte + HEADER + 100, 0);
    let (journal, report) = open_stepped(&disk, Config::default()).expect("open");
    assert_eq!(report.torn, Some(target.position));
    let named: Vec<_> = report.ambiguous.iter().map(|one| (one.shard.get(), one.reason)).collect();
    assert_eq!(named, [(7, Ambiguity::BadBody), (8, Ambiguity::AfterBadFrame)]);
    assert_eq!(report.ambiguous[0].entry, Some(id(1, 1)));
    assert_eq!(journal.group(ShardId::new(7)).state().last, Some(id(1, 0)));
    let shown = observe(&journal);
    let (journal, report) = open_stepped(&disk.power_cut(), Config::default()).expect("again");
    assert_eq!(observe(&journal), shown);
    assert_eq!((report.torn, report.ambiguous.len()), (None, 0), "said once");
}

#[test]
fn an_unknown_format_is_named() {
    let disk = FaultyDisk::new(1, Faults::default());
    drop(open_stepped(&disk, small()).expect("open"));
    let file = disk.open(&path(JournalFileId::new(1)), OpenMode::ReadWrite).expect("open");
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).expect("read");
    header[6] = 9;
    let crc = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&header, 0).expect("write");
    let refused = open_stepped(&disk, small()).map(|_| ()).expect_err("unknown");
    assert!(matches!(refused, OpenError::Format { found: 9, expected: 1, .. }), "{refused}");
}

/// A start finds the same afterwards: nothing was cut, rewritten or removed.
#[test]
fn a_look_finds_what_a_start_would_and_changes_nothing() {
    for_each_seed(60, "a_look", |seed| {
        let (disk, journal) = filled(seed);
        let disk = disk.restart();
        drop(journal);
        if seed % 2 == 1 {
            let names = disk.read_dir(&dir()).expect("list");
            let victim =
                dir().join(&names[usize::try_from(seed).expect("small") % names.len()].name);
            disk.flip_bit(&victim, HEADER + seed, 1);
        }
        let content = |disk: &FaultyDisk| {
            let names = disk.read_dir(&dir()).expect("list");
            let read = |name: String| {
                let file = disk.open(&dir().join(name), OpenMode::Read).expect("open");
                let mut bytes =
                    vec![0; usize::try_from(file.len().expect("length")).expect("small")];
                file.read_exact_at(&mut bytes, 0).expect("read");
                bytes
            };
            names
                .into_iter()
                .map(|entry| (entry.name.clone(), read(entry.name)))
                .collect::<Vec<_>>()
        };
        let before = content(&disk);
        let looked = inspect(&disk, &dir());
        assert_eq!(content(&disk), before, "seed {seed}");
        let started = open_stepped(&disk, small()).map(|(_, report)| report);
        match (looked, started) {
            (Ok(looked), Ok(started)) => assert_eq!(looked, started, "seed {seed}"),
            (Err(looked), Err(started)) => {
                assert_eq!(looked.to_string(), started.to_string(), "seed {seed}");
            }
            (looked, started) => panic!("seed {seed}: {looked:?}, {started:?}"),
        }
    });
}
