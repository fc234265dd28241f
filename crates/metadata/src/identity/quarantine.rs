//! A directory whose node lost what it had promised: its old data moves aside, and the node goes on
//! under ids that no replica ever had.
//!
//! Each step is written down before the next one begins, so that a crash anywhere in between is
//! carried on with. First the wish: from then on the old data is opened no more, whether it can be
//! read again or not, for the cluster may have given the ids away. Then the new id, together with
//! the folder; then the moves, which a folder that is there already tells done; and once the new
//! journal is on the disk, the end.

use std::path::Path;

use quipu_disk::{Disk, write_atomic};
use quipu_types::{ByteCount, ReplicaId};
use serde::{Deserialize, Serialize};

use super::{Identity, IdentityError, JOURNAL, QUARANTINE};
use crate::metrics;

/// What moves: all that a node keeps but its identity and earlier quarantines.
const MOVED: [&str; 4] = [JOURNAL, "meta", "partitions", "snapshots"];
/// Why a folder of the quarantine is there.
const REASON_FILE: &str = "REASON";

/// How far a node is on the way to a new id. Persisted; never reuse a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rebuild {
    /// It asks for one: it may have been given one, and does without its old data.
    Asking,
    /// It has it; the old data moves into this folder of the quarantine.
    Moving {
        /// The folder's name.
        folder: String,
    },
}

impl Identity {
    /// This node's id in the metadata group. Replicas with lower ids that the cluster may still
    /// name have forgotten what they promised: none of them is ever opened here again.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        let file = self.file();
        file.replica.unwrap_or_else(|| ReplicaId::new(file.node.get()))
    }

    /// Whether the node has another id in the metadata group than its own.
    #[must_use]
    pub fn is_rebuilt(&self) -> bool {
        self.file().replica.is_some()
    }

    /// How far a rebuild has come, if one has begun.
    #[must_use]
    pub fn rebuild(&self) -> Option<Rebuild> {
        self.file().rebuild.clone()
    }

    /// The old data is opened no more, durably: the cluster is asked for new ids from now on.
    /// Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note_asking(&self) -> Result<(), IdentityError> {
        self.change(|file| file.rebuild = Some(Rebuild::Asking))?;
        quipu_failpoint::hit("metadata.rebuild.asking");
        Ok(())
    }

    /// The cluster gave the node an id; the old data is to move into a folder. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; to be asked for again then.
    pub fn note_granted(
        &self,
        replica: ReplicaId,
        folder: String,
        why: &str,
    ) -> Result<(), IdentityError> {
        quipu_failpoint::hit("metadata.rebuild.granted");
        let (disk, target) = (&*self.inner.disk, self.quarantine().join(&folder));
        disk.create_dir_all(&target).map_err(|error| io(&target, error))?;
        let reason = target.join(REASON_FILE);
        let text = format!("{why}\n");
        write_atomic(disk, &reason, text.as_bytes()).map_err(|error| io(&reason, error))?;
        self.change(|file| {
            file.replica = Some(replica);
            file.rebuild = Some(Rebuild::Moving { folder });
        })?;
        quipu_failpoint::hit("metadata.rebuild.noted");
        Ok(())
    }

    /// Moves the old data into its folder, as far as that was not done before; says into which.
    /// Nothing where no rebuild has come so far. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; to be called again then.
    pub fn move_aside(&self) -> Result<Option<String>, IdentityError> {
        let Some(Rebuild::Moving { folder }) = self.rebuild() else { return Ok(None) };
        let (disk, target) = (&*self.inner.disk, self.quarantine().join(&folder));
        disk.create_dir_all(&target).map_err(|error| io(&target, error))?;
        for name in MOVED {
            let (from, to) = (self.dir().join(name), target.join(name));
            // What is there twice is here anew.
            if !disk.exists(&to) && disk.exists(&from) {
                disk.rename(&from, &to).map_err(|error| io(&from, error))?;
                quipu_failpoint::hit("metadata.rebuild.moved");
            }
        }
        disk.sync_dir(&target).map_err(|error| io(&target, error))?;
        disk.sync_dir(self.dir()).map_err(|error| io(self.dir(), error))?;
        quipu_failpoint::hit("metadata.rebuild.aside");
        Ok(Some(folder))
    }

    /// A new journal is on the disk: the node goes on as any other. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; the next start carries on.
    pub fn end_rebuild(&self) -> Result<(), IdentityError> {
        quipu_failpoint::hit("metadata.rebuild.end.before");
        self.change(|file| file.rebuild = None)?;
        metrics::node_quarantined();
        quipu_failpoint::hit("metadata.rebuild.end.after");
        Ok(())
    }

    /// What must be fetched again from other nodes, about: bytes of the partitions. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn bytes_to_fetch(&self) -> Result<ByteCount, IdentityError> {
        let partitions = self.dir().join("partitions");
        let bytes = bytes_below(&*self.inner.disk, &partitions);
        bytes.map(ByteCount::new).map_err(|error| io(&partitions, error))
    }

    fn dir(&self) -> &Path {
        self.inner.path.parent().unwrap_or(&self.inner.path)
    }

    fn quarantine(&self) -> std::path::PathBuf {
        self.dir().join(QUARANTINE)
    }
}

fn bytes_below(disk: &dyn Disk, dir: &Path) -> std::io::Result<u64> {
    if !disk.exists(dir) {
        return Ok(0);
    }
    let mut bytes = 0;
    for entry in disk.read_dir(dir)? {
        bytes += if entry.is_dir { bytes_below(disk, &dir.join(entry.name))? } else { entry.bytes };
    }
    Ok(bytes)
}

fn io(path: &Path, error: std::io::Error) -> IdentityError {
    IdentityError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use quipu_disk::{Faults, FaultyDisk, OpenMode};
    use quipu_types::{ClusterId, NodeId};

    use super::*;

    const DIR: &str = "/data";
    const NEW: ReplicaId = ReplicaId::new(1 << 33);

    fn put(disk: &FaultyDisk, name: &str, text: &str) {
        let path = Path::new(DIR).join(name);
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        write_atomic(disk, &path, text.as_bytes()).unwrap();
    }

    fn get(disk: &FaultyDisk, path: &Path) -> Option<String> {
        let file = disk.open(path, OpenMode::Read).ok()?;
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        Some(String::from_utf8(bytes).unwrap())
    }

    fn open(disk: &FaultyDisk) -> Result<Identity, IdentityError> {
        Identity::open(Arc::new(disk.clone()), Path::new(DIR), NodeId::new(2), None)
    }

    /// A member's directory.
    fn member(seed: u64) -> FaultyDisk {
        let disk = FaultyDisk::new(seed, Faults::default());
        let identity = open(&disk).unwrap();
        for name in MOVED {
            put(&disk, &format!("{name}/deep/file"), &format!("old {name}"));
        }
        identity.adopt_cluster(ClusterId::from_bytes([9; 16]), vec![]).unwrap();
        drop(identity);
        disk
    }

    /// A start as a node does it, to its end. False: the power went.
    fn start(disk: &FaultyDisk) -> bool {
        let Ok(identity) = open(disk) else { return false };
        if identity.rebuild().is_none() && identity.replica() == NEW {
            return true;
        }
        if !matches!(identity.rebuild(), Some(Rebuild::Moving { .. })) {
            let folder = format!("start-{}", identity.incarnation());
            let is_granted = identity.note_asking().is_ok()
                && identity.note_granted(NEW, folder, "a bit flipped").is_ok();
            if !is_granted {
                return false;
            }
        }
        identity.move_aside().is_ok()
            && new_journal(disk).is_ok()
            && identity.end_rebuild().is_ok()
            && !disk.is_dead()
    }

    fn new_journal(disk: &FaultyDisk) -> std::io::Result<()> {
        let journal = Path::new(DIR).join(JOURNAL);
        disk.create_dir_all(&journal)?;
        write_atomic(disk, &journal.join("new"), b"new journal")
    }

    /// Where the old data of a name is: here, or in a folder of the quarantine. Once.
    fn place(disk: &FaultyDisk, name: &str, context: &str) -> PathBuf {
        let quarantine = Path::new(DIR).join(QUARANTINE);
        let folders = disk.read_dir(&quarantine).unwrap_or_default();
        let mut roots: Vec<PathBuf> =
            folders.iter().map(|folder| quarantine.join(&folder.name)).collect();
        roots.push(DIR.into());
        let expected = Some(format!("old {name}"));
        roots.retain(|root| get(disk, &root.join(name).join("deep/file")) == expected);
        assert_eq!(roots.len(), 1, "{context}: {name} is in {roots:?}");
        roots.remove(0)
    }

    /// Whatever is cut off where: nothing is lost, nothing of the old is left where the new begins,
    /// and the next start ends it.
    #[test]
    fn a_power_cut_at_any_step_is_carried_on_with() {
        let mut cuts = 0;
        for seed in 0..600 {
            let mut disk = member(seed);
            disk.set_faults(Faults { power_cut_at: Some(1 + seed % 60), ..Faults::default() });
            let mut starts = 0;
            while !start(&disk) {
                starts += 1;
                assert!(starts < 10, "seed {seed}: it does not end");
                cuts += 1;
                disk = if seed % 3 == 0 { disk.restart() } else { disk.power_cut() };
                let identity = open(&disk).unwrap();
                let context = format!("seed {seed}, {:?}", identity.rebuild());
                for name in MOVED {
                    let is_here = place(&disk, name, &context) == Path::new(DIR);
                    let is_new = identity.replica() == NEW && identity.rebuild().is_none();
                    assert!(!(is_here && is_new), "{context}: the new id has the old {name}");
                    let has_begun = matches!(identity.rebuild(), Some(Rebuild::Moving { .. }));
                    assert!(is_here || is_new || has_begun, "{context}: {name} moved too early");
                }
                // Again and again in the same place.
                if starts == 1 && seed % 2 == 0 {
                    let again = Faults { power_cut_at: Some(1 + seed % 13), ..Faults::default() };
                    disk.set_faults(again);
                }
            }
            let disk = disk.power_cut();
            let identity = open(&disk).unwrap();
            assert_eq!((identity.replica(), identity.rebuild()), (NEW, None), "seed {seed}");
            let root = place(&disk, JOURNAL, "at the end");
            assert!(MOVED.iter().all(|name| place(&disk, name, "at the end") == root));
            assert_eq!(get(&disk, &root.join(REASON_FILE)), Some("a bit flipped\n".to_owned()));
            let journal = Path::new(DIR).join(JOURNAL);
            assert_eq!(get(&disk, &journal.join("new")), Some("new journal".to_owned()));
        }
        assert!(cuts > 300, "{cuts} cuts");
    }

    #[test]
    fn a_second_rebuild_has_a_folder_of_its_own() {
        let disk = member(1);
        assert!(start(&disk));
        let identity = open(&disk).unwrap();
        let newer = ReplicaId::new(NEW.get() + 9);
        identity.note_asking().unwrap();
        assert_eq!(identity.move_aside().unwrap(), None, "nothing moves before it is granted");
        identity.note_granted(newer, "second".to_owned(), "another bit").unwrap();
        assert_eq!(identity.move_aside().unwrap(), Some("second".to_owned()));
        new_journal(&disk).unwrap();
        identity.end_rebuild().unwrap();
        assert_eq!(identity.replica(), newer);
        let second = Path::new(DIR).join(QUARANTINE).join("second");
        assert_eq!(get(&disk, &second.join("journal/new")), Some("new journal".to_owned()));
        assert!(disk.exists(&Path::new(DIR).join(QUARANTINE).join("start-2/journal/deep/file")));
    }

    #[test]
    fn a_member_between_two_journals_is_not_told_that_its_journal_is_gone() {
        let disk = member(2);
        let identity = open(&disk).unwrap();
        identity.note_granted(NEW, "aside".to_owned(), "why").unwrap();
        identity.move_aside().unwrap();
        drop(identity);
        assert_eq!(open(&disk).unwrap().bytes_to_fetch().unwrap(), ByteCount::new(0));
        open(&disk).unwrap().end_rebuild().unwrap();
        assert!(matches!(open(&disk), Err(IdentityError::NoJournal { .. })));
    }
}
