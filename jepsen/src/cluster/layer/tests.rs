//! On a mounted layer over a scratch directory.

use std::fs::{File, create_dir, read, read_dir, remove_file, rename, write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use quipu_runtime::Rng;

use super::*;

/// Taken apart in this order, so that the layer goes first.
struct Scratch {
    _home: tempfile::TempDir,
    dir: PathBuf,
    layer: Layer,
}

/// None, and a word about it, where there is no FUSE.
fn scratch() -> Option<Scratch> {
    if let Some(why) = Layer::obstacle() {
        eprintln!("not run: {why}");
        return None;
    }
    let home = tempfile::tempdir().unwrap();
    let (below, dir) = (home.path().join("below"), home.path().join("dir"));
    create_dir(&below).unwrap();
    create_dir(&dir).unwrap();
    let layer = Layer::over(&below, &dir).unwrap();
    Some(Scratch { _home: home, dir, layer })
}

fn sync_dir(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

/// Makes a file that survives everything.
fn flushed(path: &Path, bytes: &[u8]) -> File {
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
    sync_dir(path.parent().unwrap());
    file
}

fn names(dir: &Path) -> Vec<String> {
    let entries = read_dir(dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn what_is_not_flushed_is_lost_and_what_is_flushed_is_not() {
    let Some(Scratch { _home, dir, layer }) = scratch() else { return };
    let path = dir.join("file");
    let file = flushed(&path, &[1; 10_000]);
    file.write_all_at(&[2; 5_000], 3_000).unwrap();
    file.write_all_at(&[3; 100], 20_000).unwrap();
    assert_eq!(read(&path).unwrap().len(), 20_100);
    drop(file);
    let lost = layer.lose(Loss::All).unwrap();
    assert_eq!(read(&path).unwrap(), [1; 10_000]);
    assert!(lost.blocks >= 3 && lost.kept == 0, "{lost:?}");
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[4; 5_000], 3_000).unwrap();
    file.sync_data().unwrap();
    drop(file);
    assert_eq!(layer.lose(Loss::All).unwrap(), Lost::default());
    let found = read(&path).unwrap();
    assert_eq!((found[2_999], found[3_000], found[7_999], found[8_000]), (1, 4, 4, 1));
}

#[test]
fn a_file_that_was_cut_is_whole_again() {
    let Some(Scratch { _home, dir, layer }) = scratch() else { return };
    let path = dir.join("file");
    let bytes: Vec<u8> = (0..10_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let file = flushed(&path, &bytes);
    file.set_len(17).unwrap();
    file.write_all_at(&[9; 9], 6_000).unwrap();
    drop(file);
    layer.lose(Loss::All).unwrap();
    assert_eq!(read(&path).unwrap(), bytes);
}

#[test]
fn names_are_lost_without_a_flush_of_their_directory() {
    let Some(Scratch { _home, dir, layer }) = scratch() else { return };
    drop(flushed(&dir.join("old"), b"old"));
    drop(flushed(&dir.join("gone"), b"gone"));
    drop(flushed(&dir.join("replaced"), b"before"));
    write(dir.join("new"), b"new").unwrap();
    File::open(dir.join("new")).unwrap().sync_all().unwrap();
    create_dir(dir.join("folder")).unwrap();
    write(dir.join("folder/inner"), b"inner").unwrap();
    rename(dir.join("old"), dir.join("moved")).unwrap();
    rename(dir.join("new"), dir.join("replaced")).unwrap();
    remove_file(dir.join("gone")).unwrap();
    assert_eq!(names(&dir), ["folder", "moved", "replaced"]);
    let lost = layer.lose(Loss::All).unwrap();
    assert_eq!(names(&dir), ["gone", "old", "replaced"]);
    assert_eq!(read(dir.join("replaced")).unwrap(), b"before");
    assert_eq!(read(dir.join("gone")).unwrap(), b"gone");
    assert_eq!(lost.names, 6);
}

#[test]
fn names_stay_after_a_flush_of_their_directory() {
    let Some(Scratch { _home, dir, layer }) = scratch() else { return };
    drop(flushed(&dir.join("old"), b"old"));
    create_dir(dir.join("folder")).unwrap();
    drop(flushed(&dir.join("folder/inner"), b"inner"));
    rename(dir.join("folder"), dir.join("box")).unwrap();
    remove_file(dir.join("old")).unwrap();
    write(dir.join("box/late"), b"late").unwrap();
    sync_dir(&dir);
    let lost = layer.lose(Loss::All).unwrap();
    assert_eq!(names(&dir), ["box"]);
    assert_eq!(names(&dir.join("box")), ["inner"], "the name of `late` was not flushed");
    assert_eq!(read(dir.join("box/inner")).unwrap(), b"inner");
    assert_eq!(lost.names, 1);
}

#[test]
fn what_was_in_a_folder_that_is_gone_for_good_stays_gone() {
    let Some(Scratch { _home, dir, layer }) = scratch() else { return };
    let folder = dir.join("folder");
    create_dir(&folder).unwrap();
    sync_dir(&dir);
    write(folder.join("one"), b"one").unwrap();
    write(folder.join("two"), b"two").unwrap();
    rename(folder.join("two"), dir.join("two")).unwrap();
    remove_file(folder.join("one")).unwrap();
    std::fs::remove_dir(&folder).unwrap();
    create_dir(&folder).unwrap();
    write(folder.join("late"), b"late").unwrap();
    sync_dir(&dir);
    let lost = layer.lose(Loss::All).unwrap();
    assert_eq!(names(&dir), ["folder", "two"]);
    assert_eq!(names(&folder), Vec::<String>::new());
    assert_eq!(lost.names, 1, "the name of `late`");
}

#[test]
fn a_torn_file_has_old_and_new_blocks_and_a_seed_says_which() {
    let Some(Scratch { _home, dir, layer }) = scratch() else { return };
    let path = dir.join("file");
    drop(flushed(&path, &[1; 40 * 4096]));
    let mut torn = Vec::new();
    for seed in [5, 5, 6] {
        write(&path, vec![1; 40 * 4096]).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[2; 40 * 4096], 20 * 4096).unwrap();
        drop(file);
        let lost = layer.lose(Loss::Some(&mut Rng::seeded(seed))).unwrap();
        assert!(lost.blocks > 5 && lost.kept > 5, "{lost:?}");
        torn.push(read(&path).unwrap());
    }
    assert!(
        torn[0].as_chunks::<4096>().0.iter().all(|block| block.iter().all(|it| *it == block[0]))
    );
    assert_eq!(torn[0][..20 * 4096], [1; 20 * 4096], "what was not written is whole");
    assert!(torn[0] == torn[1] && torn[0] != torn[2]);
}

#[test]
fn a_flush_fails_on_command_and_only_then() {
    let Some(Scratch { _home, dir, layer }) = scratch() else { return };
    let file = flushed(&dir.join("file"), b"bytes");
    let trouble = Trouble { operation: Operation::Flush, class: None, delay: None };
    layer.trouble(Some(trouble));
    file.write_all_at(b"other", 0).unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    assert_eq!(layer.struck(), 1);
    let slow = Trouble { delay: Some(Duration::from_millis(30)), ..trouble };
    layer.trouble(Some(slow));
    let begun = quipu_runtime::Clock::thread_instant();
    file.sync_data().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(30));
    layer.trouble(None);
    file.sync_data().unwrap();
}

#[test]
fn a_file_without_a_name_can_still_be_used() {
    let Some(Scratch { _home, dir, layer: _layer }) = scratch() else { return };
    let path = dir.join("file");
    let file = flushed(&path, b"bytes");
    remove_file(&path).unwrap();
    file.write_all_at(b"other", 0).unwrap();
    let mut found = [0; 5];
    file.read_exact_at(&mut found, 0).unwrap();
    assert_eq!(&found, b"other");
    assert!(!path.exists());
}
