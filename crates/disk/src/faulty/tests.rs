use std::path::Path;

use super::*;

fn disk_with_file(seed: u64, path: &str) -> (FaultyDisk, Box<dyn DiskFile>) {
    let disk = FaultyDisk::new(seed, Faults::default());
    disk.create_dir_all(Path::new("/d")).expect("folder");
    let file = disk.open(Path::new(path), OpenMode::CreateNew).expect("create");
    disk.sync_dir(Path::new("/d")).expect("flush folder");
    (disk, file)
}

fn content(disk: &FaultyDisk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), OpenMode::Read).expect("open");
    let mut bytes = vec![0; usize::try_from(file.len().expect("length")).expect("small")];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

#[test]
fn flushed_bytes_survive_and_unflushed_ones_tear() {
    let (mut torn, mut whole, mut gone) = (0, 0, 0);
    for seed in 0..500 {
        let (disk, file) = disk_with_file(seed, "/d/f");
        file.write_all_at(&[1; 4096], 0).expect("write");
        file.sync_data().expect("flush");
        file.write_all_at(&[2; 3000], 1000).expect("write");
        let found = content(&disk.power_cut(), "/d/f");
        assert_eq!(found.len(), 4096, "seed {seed}");
        assert_eq!(&found[..1000], &[1; 1000], "seed {seed}: flushed and untouched");
        let new = found[1000..4000].iter().filter(|byte| **byte == 2).count();
        match new {
            0 => gone += 1,
            3000 => whole += 1,
            _ => torn += 1,
        }
    }
    assert!(torn > 100 && whole > 50 && gone > 50, "{torn} torn, {whole} whole, {gone} gone");
}

#[test]
fn a_name_that_was_not_flushed_may_vanish() {
    let mut kept = 0;
    for seed in 0..200 {
        let disk = FaultyDisk::new(seed, Faults::default());
        disk.create_dir_all(Path::new("/d")).expect("folder");
        let file = disk.open(Path::new("/d/f"), OpenMode::CreateNew).expect("create");
        file.write_all_at(b"x", 0).expect("write");
        file.sync_all().expect("flush");
        kept += usize::from(disk.power_cut().exists(Path::new("/d/f")));
    }
    assert!((20..180).contains(&kept), "{kept} of 200 kept");
}

#[test]
fn a_failed_flush_is_forgotten_only_by_a_power_cut() {
    let mut lost = 0;
    for seed in 0..100 {
        let (disk, file) = disk_with_file(seed, "/d/f");
        file.fill_zero(0, 2048).expect("zeros");
        file.sync_data().expect("flush");
        disk.set_faults(Faults { sync_fails_at: Some(1), ..Faults::default() });
        file.write_all_at(&[7; 2048], 0).expect("write");
        assert_eq!(file.sync_data().expect_err("planned").raw_os_error(), Some(5));
        file.sync_data().expect("the pages count as clean");
        let after_kill = disk.restart();
        assert_eq!(content(&after_kill, "/d/f"), vec![7; 2048], "seed {seed}: still cached");
        lost += usize::from(content(&after_kill.power_cut(), "/d/f") != vec![7; 2048]);
    }
    assert!(lost > 50, "{lost} of 100");
}

#[test]
fn rewriting_after_a_failed_flush_makes_it_durable() {
    for seed in 0..100 {
        let (disk, file) = disk_with_file(seed, "/d/f");
        disk.set_faults(Faults { sync_fails_at: Some(1), ..Faults::default() });
        file.write_all_at(&[7; 2048], 0).expect("write");
        assert!(file.sync_data().is_err());
        file.write_all_at(&[7; 2048], 0).expect("write again");
        file.sync_data().expect("flush");
        assert_eq!(content(&disk.power_cut(), "/d/f"), vec![7; 2048], "seed {seed}");
    }
}

#[test]
fn a_full_disk_cuts_a_write_short() {
    let (disk, file) = disk_with_file(1, "/d/f");
    disk.set_faults(Faults { capacity_bytes: Some(1000), ..Faults::default() });
    let refused = file.write_all_at(&[1; 1500], 0).expect_err("full");
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.len().expect("length"), 1000);
    assert_eq!(disk.free_space(Path::new("/d")).expect("space").free, 0);
    file.write_all_at(&[2; 1000], 0).expect("overwriting needs no room");
}

#[test]
fn nothing_works_once_the_power_is_gone() {
    let (disk, file) = disk_with_file(3, "/d/f");
    disk.set_faults(Faults { power_cut_at: Some(2), ..Faults::default() });
    file.write_all_at(b"a", 0).expect("before");
    assert!(file.sync_data().is_err() && disk.is_dead());
    assert!(file.write_all_at(b"b", 0).is_err());
    assert!(disk.open(Path::new("/d/f"), OpenMode::Read).is_err());
    assert!(disk.power_cut().exists(Path::new("/d/f")));
}

#[test]
fn one_seed_gives_one_outcome() {
    let run = || {
        let (disk, file) = disk_with_file(42, "/d/f");
        file.write_all_at(&[3; 10_000], 0).expect("write");
        content(&disk.power_cut(), "/d/f")
    };
    assert_eq!(run(), run());
}

#[test]
fn a_renamed_folder_takes_its_files_along() {
    let (disk, file) = disk_with_file(5, "/d/f");
    file.write_all_at(b"x", 0).expect("write");
    file.sync_all().expect("flush");
    disk.rename(Path::new("/d"), Path::new("/e")).expect("rename");
    disk.sync_dir(Path::new("/")).expect("flush root");
    let survivor = disk.power_cut();
    assert_eq!(content(&survivor, "/e/f"), b"x");
    assert!(!survivor.exists(Path::new("/d")));
}

#[test]
fn a_lock_ends_with_the_process() {
    let disk = FaultyDisk::new(1, Faults::default());
    let guard = disk.lock(Path::new("/LOCK")).expect("lock");
    assert!(disk.lock(Path::new("/LOCK")).is_err());
    let after_kill = disk.restart();
    after_kill.lock(Path::new("/LOCK")).expect("the old process is gone");
    drop(guard);
    disk.lock(Path::new("/LOCK")).expect("given back");
}
