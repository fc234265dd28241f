use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;

use proptest::prelude::*;
use quipu_types::{PartitionId, PartitionIndex, ShardId, TopicId};

use super::*;

fn partition(shard: u32, topic: u8, index: u32) -> Key {
    let id = PartitionId::new(TopicId::from_bytes([topic; 16]), PartitionIndex::new(index));
    Key::PartitionCheckpoint(ShardId::new(shard), id)
}

fn put(store: &Store, key: &Key, value: &'static str) {
    let mut batch = WriteBatch::new();
    batch.put(key, Bytes::from_static(value.as_bytes()));
    store.write(batch).unwrap();
}

/// What a process finds that starts after this one was killed: the files as they are now. The
/// store removes old ones in the background: a copy during which it did is made again.
fn after_kill(dir: &Path) -> tempfile::TempDir {
    loop {
        let (copy, before) = (tempfile::tempdir().unwrap(), names(dir));
        let copy_one = |name: &OsString| std::fs::copy(dir.join(name), copy.path().join(name));
        match before.iter().try_for_each(|name| copy_one(name).map(drop)) {
            Ok(()) if names(dir) == before => return copy,
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
    }
}

fn names(dir: &Path) -> BTreeSet<OsString> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn a_scan_gives_the_rows_of_its_prefix_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let keys = [partition(1, 9, 0), partition(2, 1, 3), partition(2, 1, 4), partition(3, 0, 0)];
    for key in keys.iter().rev() {
        put(&store, key, "row");
    }
    put(&store, &Key::ShardCheckpoint(ShardId::new(2)), "shard");
    let found = store.scan(KeyPrefix::PartitionCheckpoint(ShardId::new(2))).unwrap();
    let found: Vec<Key> = found.into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, keys[1..3]);
    assert_eq!(store.scan(KeyPrefix::ShardCheckpoints).unwrap().len(), 1);
    assert_eq!(store.scan(KeyPrefix::MetadataTopics).unwrap(), vec![]);
}

#[test]
fn a_prefix_that_ends_in_255_has_an_end_too() {
    assert_eq!(end_of(&[2, 0, 0, 0, 255]), [2, 0, 0, 1]);
    assert_eq!(end_of(&[2, 255, 255, 255, 255]), [3]);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    put(&store, &partition(u32::MAX, 1, 1), "last shard");
    put(&store, &Key::Metadata, "behind it");
    let found = store.scan(KeyPrefix::PartitionCheckpoint(ShardId::new(u32::MAX))).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn what_was_flushed_is_there_after_a_kill_and_what_was_not_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    put(&store, &partition(1, 1, 1), "flushed");
    store.flush().unwrap();
    put(&store, &partition(1, 1, 2), "not flushed");
    let copy = after_kill(dir.path());
    let found = Store::open(copy.path()).unwrap();
    assert_eq!(found.get(&partition(1, 1, 1)).unwrap().as_deref(), Some(&b"flushed"[..]));
    assert_eq!(found.get(&partition(1, 1, 2)).unwrap(), None, "the write-ahead log is off");
}

#[test]
fn tables_are_opened_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let second = Store::open(dir.path());
    assert!(matches!(second, Err(KvError::InUse { .. })), "{second:?}");
    drop(store);
    Store::open(dir.path()).unwrap();
}

#[test]
fn tables_of_a_newer_release_are_refused_with_both_formats() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(&Key::Version, Bytes::from_static(&[0, 0, 0, 9]));
    store.write(batch).unwrap();
    store.flush().unwrap();
    drop(store);
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(matches!(refused, KvError::NewerFormat { found: 9, known: 1, .. }), "{refused}");
}

#[test]
fn rows_without_a_format_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut batch = WriteBatch::new();
    batch.put(&Key::Metadata, Bytes::from_static(b"row"));
    batch.delete(&Key::Version);
    store.write(batch).unwrap();
    store.flush().unwrap();
    drop(store);
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(matches!(refused, KvError::Corruption { .. }), "{refused}");
}

/// Every byte of the table file, damaged once: the rows come back whole or an error does.
#[test]
fn a_flipped_bit_in_a_table_is_an_error_and_never_another_value() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut batch = WriteBatch::new();
    for index in 0..40 {
        batch.put(&partition(1, 1, index), Bytes::from(vec![u8::try_from(index).unwrap(); 100]));
    }
    store.write(batch).unwrap();
    store.flush().unwrap();
    drop(store);
    let tables: Vec<PathBuf> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "sst"))
        .collect();
    let mut reported = 0;
    for table in &tables {
        let whole = std::fs::read(table).unwrap();
        for byte in (0..whole.len()).step_by(101) {
            let mut damaged = whole.clone();
            damaged[byte] ^= 0x10;
            std::fs::write(table, &damaged).unwrap();
            match read_all(dir.path()) {
                Ok(rows) => {
                    assert_eq!(rows.len(), 40, "byte {byte}");
                    for (index, (_, value)) in rows.iter().enumerate() {
                        assert_eq!(value.as_ref(), vec![u8::try_from(index).unwrap(); 100]);
                    }
                }
                Err(KvError::Corruption { .. } | KvError::Io { .. }) => reported += 1,
                Err(other) => panic!("byte {byte}: {other}"),
            }
            std::fs::write(table, &whole).unwrap();
        }
    }
    assert!(reported > 10, "damage to rows is noticed: {reported}");
}

fn read_all(dir: &Path) -> Result<Vec<(Key, Bytes)>, KvError> {
    Store::open(dir)?.scan(KeyPrefix::PartitionCheckpoint(ShardId::new(1)))
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Flush,
    Kill,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0..8_u8).prop_map(Step::Delete),
        1 => Just(Step::Flush),
        1 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Against a model: after a kill the last flushed state is found, no more and no less.
    #[test]
    fn tables_behave_like_a_map_with_checkpoints(steps in prop::collection::vec(any_step(), 1..40)) {
        let mut dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let (mut now, mut flushed) = (BTreeMap::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    let mut batch = WriteBatch::new();
                    batch.put(&partition(0, key, 0), Bytes::from(vec![value]));
                    store.write(batch).unwrap();
                    now.insert(key, value);
                }
                Step::Delete(key) => {
                    let mut batch = WriteBatch::new();
                    batch.delete(&partition(0, key, 0));
                    store.write(batch).unwrap();
                    now.remove(&key);
                }
                Step::Flush => {
                    store.flush().unwrap();
                    flushed = now.clone();
                }
                Step::Kill => {
                    let copy = after_kill(dir.path());
                    drop(store);
                    dir = copy;
                    store = Store::open(dir.path()).unwrap();
                    now = flushed.clone();
                }
            }
            let rows = store.scan(KeyPrefix::PartitionCheckpoint(ShardId::new(0))).unwrap();
            let rows: Vec<u8> = rows.iter().map(|(_, value)| value[0]).collect();
            prop_assert_eq!(rows, now.values().copied().collect::<Vec<u8>>());
        }
    }
}
