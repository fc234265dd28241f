//! How files and names looked when they were flushed the last time.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu_runtime::Rng;

/// A block is on the disk or is not.
const BLOCK: u64 = 4096;
/// Where removed files are until their removal is flushed.
pub(super) const GRAVES: &str = ".graves";

/// What a power loss takes.
#[derive(Debug)]
pub(crate) enum Loss<'a> {
    /// Everything that is not flushed.
    All,
    /// Blocks by chance; names in their order, from some point on.
    Some(&'a mut Rng),
}

/// What was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Blocks that look as they did before.
    pub(crate) blocks: u64,
    /// Blocks that were not flushed and stay.
    pub(crate) kept: u64,
    /// Names that were made, moved or removed in vain.
    pub(crate) names: u64,
}

/// Everything that is not flushed.
#[derive(Debug)]
pub(super) struct Unflushed {
    graves: PathBuf,
    /// Names for graves.
    next: u64,
    files: BTreeMap<u64, OldFile>,
    names: Vec<NameChange>,
}

/// A file as it was flushed, where it was written since.
#[derive(Debug)]
struct OldFile {
    file: Arc<File>,
    length: u64,
    /// What was in the blocks that were written since.
    blocks: BTreeMap<u64, Vec<u8>>,
}

/// A change of names.
#[derive(Debug)]
struct NameChange {
    /// The name, after it.
    path: PathBuf,
    /// The directories it was in.
    dirs: BTreeSet<u64>,
    what: Change,
}

#[derive(Debug)]
enum Change {
    Made,
    /// What it was is in a grave.
    Removed(PathBuf),
    /// Where it was before; what was in its place is in a grave.
    Moved(PathBuf, Option<PathBuf>),
}

impl Unflushed {
    pub(super) fn new(below: &Path) -> io::Result<Self> {
        let graves = below.join(GRAVES);
        match std::fs::remove_dir_all(&graves) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        std::fs::create_dir(&graves)?;
        Ok(Self { graves, next: 0, files: BTreeMap::new(), names: Vec::new() })
    }

    fn old(&mut self, number: u64, file: &Arc<File>) -> io::Result<&mut OldFile> {
        match self.files.entry(number) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let (file, length) = (file.clone(), file.metadata()?.len());
                Ok(place.insert(OldFile { file, length, blocks: BTreeMap::new() }))
            }
        }
    }

    /// Must be called before bytes of a file change.
    pub(super) fn before_write(
        &mut self,
        number: u64,
        file: &Arc<File>,
        bytes: Range<u64>,
    ) -> io::Result<()> {
        self.old(number, file)?.keep(bytes)
    }

    /// Must be called before a file gets another length.
    pub(super) fn before_resize(
        &mut self,
        number: u64,
        file: &Arc<File>,
        to: u64,
    ) -> io::Result<()> {
        let old = self.old(number, file)?;
        let length = old.length;
        if to < length { old.keep(to..length) } else { Ok(()) }
    }

    /// A file is flushed, but for its name.
    pub(super) fn flushed(&mut self, number: u64) {
        self.files.remove(&number);
    }

    /// A name was made.
    pub(super) fn made(&mut self, dir: u64, path: PathBuf) {
        self.names.push(NameChange { path, dirs: BTreeSet::from([dir]), what: Change::Made });
    }

    /// Removes a name.
    pub(super) fn remove(&mut self, dir: u64, path: PathBuf) -> io::Result<()> {
        let grave = self.bury(&path)?;
        let (dirs, what) = (BTreeSet::from([dir]), Change::Removed(grave));
        self.names.push(NameChange { path, dirs, what });
        Ok(())
    }

    /// Moves a name; what is in its new place is replaced.
    pub(super) fn rename(
        &mut self,
        (from_dir, from): (u64, PathBuf),
        (to_dir, to): (u64, PathBuf),
    ) -> io::Result<()> {
        let replaced = match to.symlink_metadata() {
            Ok(_) => Some(self.bury(&to)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        std::fs::rename(&from, &to)?;
        let (dirs, what) = (BTreeSet::from([from_dir, to_dir]), Change::Moved(from, replaced));
        self.names.push(NameChange { path: to, dirs, what });
        Ok(())
    }

    /// The names in a directory are flushed.
    pub(super) fn dir_flushed(&mut self, dir: u64) -> io::Result<()> {
        let mut is_flushed: Vec<bool> =
            self.names.iter().map(|change| change.dirs.contains(&dir)).collect();
        for (place, later) in self.names.iter().enumerate().rev() {
            if is_flushed[place] {
                for (before, is_flushed) in self.names[..place].iter().zip(&mut is_flushed) {
                    *is_flushed |= before.is_settled_by(later);
                }
            }
        }
        let mut left: Vec<NameChange> = Vec::new();
        for (change, is_flushed) in std::mem::take(&mut self.names).into_iter().zip(is_flushed) {
            if !is_flushed {
                left.push(change);
                continue;
            }
            match change.what {
                Change::Made => {}
                Change::Removed(grave) => dig_up(&grave)?,
                Change::Moved(from, replaced) => {
                    // Changes in a moved directory that are left are found at its new place.
                    left.iter_mut().for_each(|before| before.follow(&from, &change.path));
                    replaced.map_or(Ok(()), |grave| dig_up(&grave))?;
                }
            }
        }
        self.names = left;
        Ok(())
    }

    /// Brings back what was flushed.
    pub(super) fn lose(&mut self, loss: Loss<'_>) -> io::Result<Lost> {
        let mut lost = Lost::default();
        let mut none = Rng::seeded(0);
        let (is_all, rng) = match loss {
            Loss::All => (true, &mut none),
            Loss::Some(rng) => (false, rng),
        };
        for old in std::mem::take(&mut self.files).into_values() {
            old.lose(|| is_all || rng.below(2) == 0, &mut lost)?;
        }
        let names = u64::try_from(self.names.len()).unwrap_or(u64::MAX);
        lost.names = if is_all { names } else { rng.below(names + 1) };
        for change in std::mem::take(&mut self.names).into_iter().rev().zip(0..lost.names) {
            self.undo(change.0)?;
        }
        Ok(lost)
    }

    fn undo(&mut self, change: NameChange) -> io::Result<()> {
        let NameChange { path, what, .. } = change;
        match what {
            Change::Made => self.bury(&path).map(drop),
            Change::Removed(grave) => std::fs::rename(grave, path),
            Change::Moved(from, replaced) => {
                std::fs::rename(&path, from)?;
                replaced.map_or(Ok(()), |grave| std::fs::rename(grave, path))
            }
        }
    }

    fn bury(&mut self, path: &Path) -> io::Result<PathBuf> {
        self.next += 1;
        let grave = self.graves.join(self.next.to_string());
        std::fs::rename(path, &grave)?;
        Ok(grave)
    }
}

impl NameChange {
    /// Whether it means nothing any more once a later change is on the disk.
    fn is_settled_by(&self, later: &Self) -> bool {
        match &later.what {
            Change::Made => false,
            Change::Removed(_) => self.path.starts_with(&later.path),
            Change::Moved(from, _) => self.path == *from,
        }
    }

    /// What was at `from` is at `to`.
    fn follow(&mut self, from: &Path, to: &Path) {
        let follow = |path: &mut PathBuf| {
            if let Ok(rest) = path.strip_prefix(from)
                && !rest.as_os_str().is_empty()
            {
                *path = to.join(rest);
            }
        };
        follow(&mut self.path);
        if let Change::Moved(before, _) = &mut self.what {
            follow(before);
        }
    }
}

impl OldFile {
    /// Keeps the blocks of a range as they are, unless they were written before.
    fn keep(&mut self, bytes: Range<u64>) -> io::Result<()> {
        for block in bytes.start / BLOCK..bytes.end.div_ceil(BLOCK) {
            if self.blocks.contains_key(&block) {
                continue;
            }
            let start = block * BLOCK;
            let count = self.length.saturating_sub(start).min(BLOCK);
            let mut old = vec![0; usize::try_from(count).expect("a block at most")];
            self.file.read_exact_at(&mut old, start)?;
            self.blocks.insert(block, old);
        }
        Ok(())
    }

    /// Brings back the blocks that `is_lost` says; the end is behind the last block that stays.
    fn lose(self, mut is_lost: impl FnMut() -> bool, lost: &mut Lost) -> io::Result<()> {
        let now = self.file.metadata()?.len();
        let (gone, stay): (Vec<_>, Vec<_>) = self.blocks.into_iter().partition(|_| is_lost());
        let grown = stay.iter().map(|(block, _)| ((block + 1) * BLOCK).min(now)).max();
        let length = grown.unwrap_or_default().max(self.length);
        self.file.set_len(length)?;
        for (block, old) in &gone {
            let (start, known) = (block * BLOCK, u64::try_from(old.len()).unwrap_or(u64::MAX));
            self.file.write_all_at(old, start)?;
            let rest = (start + BLOCK).min(length).saturating_sub(start + known);
            let zeros = vec![0; usize::try_from(rest).expect("a block at most")];
            self.file.write_all_at(&zeros, start + known)?;
        }
        lost.blocks += u64::try_from(gone.len()).unwrap_or(u64::MAX);
        lost.kept += u64::try_from(stay.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

/// The removal is flushed: what was removed is gone for good.
fn dig_up(grave: &Path) -> io::Result<()> {
    if grave.is_dir() { std::fs::remove_dir_all(grave) } else { std::fs::remove_file(grave) }
}
