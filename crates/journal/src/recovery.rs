//! Rebuilding the state from the files (RELIABILITY §5.2).
//!
//! The newest file with a whole start says which older files are needed and where they end; those
//! must be whole. In the newest file itself the first bad frame ends the log, unless a later frame
//! of the same life says that the file was durable beyond it: then it is damage, and nothing is
//! cut. What may lie in the page cache only is written again and flushed; from then on a fresh file
//! is written, so nothing ever follows a torn frame in its own file.

mod replay;
mod runs;
mod scan;

pub(crate) use self::scan::later_frames;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu_disk::{Disk, DiskFile, OpenMode};
use quipu_types::ShardId;

use self::replay::Replay;
use self::runs::Runs;
use self::scan::Rest;
use crate::frame::{FORMAT_VERSION, Frame, Kind};
use crate::index::Index;
use crate::ledger::{FileLedger, Ledger};
use crate::shared::OpenFiles;
use crate::width::{to_u64, to_usize};
use crate::{Ambiguous, Damage, JournalFileId, JournalPosition, OpenError, RecoveryReport};

/// Everything a start needs.
pub(crate) struct Recovered {
    pub(crate) ledger: Ledger,
    pub(crate) indexes: BTreeMap<ShardId, Index>,
    pub(crate) files: OpenFiles,
    /// Files that hold nothing live.
    pub(crate) spares: Vec<JournalFileId>,
    /// A number no file ever had.
    pub(crate) next: JournalFileId,
    pub(crate) report: RecoveryReport,
}

/// Reads the journal in `dir`. Safe to repeat: it adds nothing and removes nothing that counts.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Recovered, OpenError> {
    rebuild(&Folder { disk, dir, is_look: false })
}

/// What [`Journal::open`](crate::Journal::open) would find in `dir`. Changes nothing and needs no
/// lock, so it may see a running journal half written.
///
/// # Errors
/// What the journal would not be opened with.
pub fn inspect(disk: &dyn Disk, dir: &Path) -> Result<RecoveryReport, OpenError> {
    rebuild(&Folder { disk, dir, is_look: true }).map(|recovered| recovered.report)
}

fn rebuild(folder: &Folder<'_>) -> Result<Recovered, OpenError> {
    let ids = folder.list()?;
    let mut report = RecoveryReport::default();
    let mut replay = Replay::default();
    let mut indexes = BTreeMap::new();
    if let Some((newest, bytes)) = folder.find_newest(&ids, &mut report)? {
        folder.replay_sealed(newest, &bytes, &mut replay)?;
        let end = folder.replay_newest(newest, &bytes, &mut replay, &mut report)?;
        folder.harden(newest, &bytes, replay.durable, end)?;
        replay.ledger.seal(newest, end);
        indexes = complete(&replay.ledger, std::mem::take(&mut replay.found))?;
        // What made the other files free is durable; what made the newest free follows with the
        // next start.
        let is_kept =
            |id: &JournalFileId, file: &mut FileLedger| *id == newest || !file.residents.is_empty();
        replay.ledger.files.retain(is_kept);
    }
    report.files = replay.ledger.files.values().filter(|file| !file.residents.is_empty()).count();
    report.entries = indexes.values().map(|index| to_u64(index.len())).sum();
    report.bytes = replay.bytes;
    report.groups = replay.ledger.groups.len();
    let (needed, spares): (BTreeSet<_>, BTreeSet<_>) =
        ids.iter().copied().partition(|id| replay.ledger.files.contains_key(id));
    let files = folder.open_all(&needed)?;
    let next = ids.last().map_or(JournalFileId::new(1), |last| last.next());
    let spares = spares.into_iter().collect();
    Ok(Recovered { ledger: replay.ledger, indexes, files, spares, next, report })
}

/// The index of each group, unless an entry that should be live lies in no file.
fn complete(
    ledger: &Ledger,
    mut found: BTreeMap<ShardId, Runs>,
) -> Result<BTreeMap<ShardId, Index>, OpenError> {
    let mut indexes = BTreeMap::new();
    for (shard, group) in &ledger.groups {
        let runs = found.remove(shard).unwrap_or_default();
        let index = runs.into_index(group.live).map_err(|index| {
            let file = ledger.home(*shard, index).unwrap_or(JournalFileId::new(0));
            OpenError::Missing { file, shard: *shard, index }
        })?;
        indexes.insert(*shard, index);
    }
    Ok(indexes)
}

struct Folder<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    /// Nothing is written and nothing removed.
    is_look: bool,
}

impl Folder<'_> {
    fn path(&self, id: JournalFileId) -> PathBuf {
        self.dir.join(id.file_name())
    }

    /// All journal files in order. Files that were never finished are removed.
    fn list(&self) -> Result<Vec<JournalFileId>, OpenError> {
        let entries =
            self.disk.read_dir(self.dir).map_err(|error| failed("list", self.dir, error))?;
        let mut ids = Vec::new();
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            if let Some(id) = JournalFileId::from_file_name(&entry.name) {
                ids.push(id);
            } else if entry.name.ends_with(".new") && !self.is_look {
                let path = self.dir.join(&entry.name);
                self.disk
                    .remove_file(&path)
                    .map_err(|error| failed("remove unfinished", &path, error))?;
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn load(&self, id: JournalFileId) -> Result<Vec<u8>, OpenError> {
        load(self.disk, &self.path(id)).map_err(|error| failed("read", &self.path(id), error))
    }

    /// The newest file that has a start. Newer ones were prepared but never durably written to.
    fn find_newest(
        &self,
        ids: &[JournalFileId],
        report: &mut RecoveryReport,
    ) -> Result<Option<(JournalFileId, Vec<u8>)>, OpenError> {
        for id in ids.iter().rev().copied() {
            let bytes = self.load(id)?;
            match Frame::read(&bytes, id, 0) {
                Ok(start) => {
                    self.check_start(id, start)?;
                    return Ok(Some((id, bytes)));
                }
                Err(damage) => {
                    let rest = Rest::examine(&bytes, id, 0, damage);
                    self.check_torn(&rest, BTreeSet::new)?;
                    note(report, &rest);
                }
            }
        }
        Ok(None)
    }

    fn check_start(&self, id: JournalFileId, start: Frame<'_>) -> Result<(), OpenError> {
        let header = start.header;
        if header.version != FORMAT_VERSION {
            let path = self.path(id);
            return Err(OpenError::Format {
                path,
                found: header.version,
                expected: FORMAT_VERSION,
            });
        }
        if header.subject.kind != Kind::Start {
            let damage = Damage::Contradiction("a file begins without a start");
            return Err(self.damaged(header.place, damage, BTreeSet::new()));
        }
        Ok(())
    }

    /// Replays the files that the newest one needs. Each must be whole up to its end.
    fn replay_sealed(
        &self,
        newest: JournalFileId,
        newest_bytes: &[u8],
        replay: &mut Replay,
    ) -> Result<(), OpenError> {
        let mut needed = Replay::default();
        let start = Frame::read(newest_bytes, newest, 0).expect("the start was read before");
        needed
            .frame(start)
            .map_err(|damage| self.damaged(start.header.place, damage, BTreeSet::new()))?;
        for (id, file) in &needed.ledger.files {
            let Some(end) = file.end.filter(|_| self.disk.exists(&self.path(*id))) else {
                // Used again since: then a later purge voids what it held, or it is missed below.
                continue;
            };
            let bytes = self.load(*id)?;
            let shards = || file.residents.keys().copied().collect::<BTreeSet<_>>();
            let (stopped, damage) = replay.run(&bytes, *id, end);
            if let Some(damage) = damage {
                let place = JournalPosition { file: *id, byte: stopped };
                return Err(self.damaged(place, damage, shards()));
            }
            if stopped != end {
                let damage = Damage::Contradiction("the last frame crosses the file's end");
                let place = JournalPosition { file: *id, byte: end };
                return Err(self.damaged(place, damage, shards()));
            }
        }
        Ok(())
    }

    /// Replays the newest file up to its end, which it finds.
    fn replay_newest(
        &self,
        id: JournalFileId,
        bytes: &[u8],
        replay: &mut Replay,
        report: &mut RecoveryReport,
    ) -> Result<u64, OpenError> {
        replay.durable = 0;
        let (end, damage) = replay.run(bytes, id, to_u64(bytes.len()));
        let Some(damage) = damage else { return Ok(end) };
        let known = || replay.ledger.groups.keys().copied().collect();
        if let Damage::Contradiction(_) = damage {
            return Err(self.damaged(JournalPosition { file: id, byte: end }, damage, known()));
        }
        let rest = Rest::examine(bytes, id, end, damage);
        self.check_torn(&rest, known)?;
        note(report, &rest);
        Ok(end)
    }

    /// Refuses to cut where the file was durable once.
    fn check_torn(
        &self,
        rest: &Rest,
        known: impl FnOnce() -> BTreeSet<ShardId>,
    ) -> Result<(), OpenError> {
        if rest.durable <= rest.place.byte
            || quipu_failpoint::is_planted("plant.journal.damage-cut")
        {
            return Ok(());
        }
        let mut shards = rest.shards();
        if rest.bad_header.is_none() {
            // What the damaged frame said is unknown, so it may have been anybody's.
            shards.extend(known());
        }
        Err(self.damaged(rest.place, rest.damage, shards))
    }

    /// Writes again what may never have reached the platter: after a failed flush pages read as
    /// written and count as clean.
    fn harden(
        &self,
        id: JournalFileId,
        bytes: &[u8],
        durable: u64,
        end: u64,
    ) -> Result<(), OpenError> {
        if durable >= end || self.is_look {
            return Ok(());
        }
        let path = self.path(id);
        let rewrite = || -> io::Result<()> {
            let file = self.disk.open(&path, OpenMode::ReadWrite)?;
            quipu_failpoint::hit("journal.recover.rewrite.before");
            file.write_all_at(&bytes[to_usize(durable)..to_usize(end)], durable)?;
            quipu_failpoint::hit("journal.recover.flush.before");
            file.sync_data()?;
            quipu_failpoint::hit("journal.recover.flush.after");
            Ok(())
        };
        rewrite().map_err(|error| failed("rewrite the end of", &path, error))
    }

    fn open_all(&self, ids: &BTreeSet<JournalFileId>) -> Result<OpenFiles, OpenError> {
        let files = OpenFiles::default();
        for id in ids {
            let path = self.path(*id);
            let file: Arc<dyn DiskFile> = self
                .disk
                .open(&path, OpenMode::Read)
                .map_err(|error| failed("open", &path, error))?
                .into();
            files.insert(*id, file);
        }
        Ok(files)
    }

    fn damaged(
        &self,
        position: JournalPosition,
        damage: Damage,
        shards: BTreeSet<ShardId>,
    ) -> OpenError {
        let path = self.path(position.file);
        OpenError::Damaged { path, position, damage, shards: shards.into_iter().collect() }
    }
}

fn note(report: &mut RecoveryReport, rest: &Rest) {
    if rest.is_torn() {
        report.torn = Some(rest.place);
    }
    let mut named: BTreeSet<ShardId> = report.ambiguous.iter().map(|one| one.shard).collect();
    let fresh = rest.ambiguous();
    report.ambiguous.extend(fresh.into_iter().filter(|one: &Ambiguous| named.insert(one.shard)));
}

/// Reads a whole file.
pub(crate) fn load(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let mut bytes = vec![0; to_usize(file.len()?)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { action, path: path.to_owned(), source }
}
