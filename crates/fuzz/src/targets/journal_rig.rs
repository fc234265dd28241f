//! Journals on a disk in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu_disk::{Disk, FaultyDisk};
use quipu_journal::{
    Config, GroupState, Journal, JournalEntry, JournalFileId, OpenError, RecoveryReport,
};
use quipu_types::{LogIndex, ShardId};

use crate::input::{file_bytes, put_file};

/// Small files, so that they roll.
const FILE_BYTES: usize = 4 << 10;

/// What a journal holds of each group.
pub(super) type Held = BTreeMap<ShardId, (GroupState, Vec<JournalEntry>)>;

pub(super) fn open(disk: &FaultyDisk) -> Result<(Journal, RecoveryReport), OpenError> {
    let config = Config {
        file_bytes: u64::try_from(FILE_BYTES).expect("small"),
        recycled_files_max: 1,
        // Payloads are read from the files, not remembered.
        tail_bytes_max: 0,
        ..Config::default()
    };
    Journal::open_stepped(Arc::new(disk.clone()), dir(), config, Arc::new(|_| {}))
}

/// Everything a journal holds; what it cannot read is a defect.
pub(super) fn held(journal: &Journal) -> Held {
    let read = |shard| {
        let group = journal.group(shard);
        let state = group.state();
        let end = state.last.map_or(LogIndex::new(0), |last| last.index.next());
        let start = state.first.unwrap_or(end);
        let entries = group.read(start, end, usize::MAX).expect("recovery read them before");
        let wanted = end.get() - start.get();
        assert_eq!(u64::try_from(entries.len()), Ok(wanted), "dense from the first to the last");
        (shard, (state, entries))
    };
    journal.groups().into_iter().map(read).collect()
}

/// The journal's files without the zeros at their end, in order.
pub(super) fn files(disk: &FaultyDisk) -> Vec<(JournalFileId, Vec<u8>)> {
    let mut files = Vec::new();
    for id in (1..9).map(JournalFileId::new) {
        let mut bytes = file_bytes(disk, &path(id));
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used);
        if !bytes.is_empty() {
            files.push((id, bytes));
        }
    }
    files
}

/// Puts a file where the journal looks for it, as long as the journal makes them.
pub(super) fn put(disk: &FaultyDisk, id: JournalFileId, bytes: &[u8]) {
    let mut whole = bytes.to_vec();
    whole.resize(whole.len().max(FILE_BYTES), 0);
    put_file(disk, &path(id), &whole);
}

/// Removes a file; says whether it was there.
pub(super) fn remove(disk: &FaultyDisk, id: JournalFileId) -> bool {
    disk.remove_file(&path(id)).is_ok()
}

pub(super) fn dir() -> PathBuf {
    PathBuf::from("/journal")
}

fn path(id: JournalFileId) -> PathBuf {
    Path::new("/journal").join(format!("{:020}.journal", id.get()))
}
