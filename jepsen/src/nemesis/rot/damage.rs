//! Damage in a file, and how it looked before.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use quipu_runtime::Rng;

/// What changes places.
const CHUNK: u64 = 4096;
/// Bytes that are missing at the end, at most.
const CUT_MAX: u64 = 8192;
/// Bits that flip.
const FLIPS: usize = 2;

/// Damage in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    path: PathBuf,
    /// The length before, and with it.
    length: (u64, u64),
    changes: Vec<Change>,
    what: &'static str,
}

/// Bytes that are others.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    at: u64,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Damage {
    /// Draws damage that changes something, in the part of a file that is used; none in a file that
    /// holds nothing.
    pub(super) fn draw(path: &Path, rng: &mut Rng) -> Result<Option<Self>> {
        let bytes = std::fs::read(path)?;
        let length = u64::try_from(bytes.len())?;
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else { return Ok(None) };
        let (used, path) = (u64::try_from(last)? + 1, path.to_owned());
        let drawn = Self { path, length: (length, length), changes: Vec::new(), what: "" };
        Ok(Some(match rng.below(3) {
            0 => drawn.cut(&bytes, used, rng)?,
            1 if used >= 2 * CHUNK => drawn.swap(&bytes, used, rng)?,
            _ => drawn.flip(&bytes, used, rng)?,
        }))
    }

    fn flip(mut self, bytes: &[u8], used: u64, rng: &mut Rng) -> Result<Self> {
        self.what = "flipped bits";
        while self.changes.len() < FLIPS {
            let at = rng.below(used);
            let before = bytes[usize::try_from(at)?];
            let (bit, is_new) = (rng.below(8), self.changes.iter().all(|change| change.at != at));
            if is_new || used < 2 {
                let after = vec![before ^ (1 << bit)];
                self.changes.push(Change { at, before: vec![before], after });
            }
            if used < 2 {
                break;
            }
        }
        Ok(self)
    }

    fn cut(mut self, bytes: &[u8], used: u64, rng: &mut Rng) -> Result<Self> {
        self.what = "a missing end";
        self.length.1 = used - 1 - rng.below(used.min(CUT_MAX));
        let before = bytes[usize::try_from(self.length.1)?..].to_vec();
        self.changes.push(Change { at: self.length.1, before, after: Vec::new() });
        Ok(self)
    }

    fn swap(mut self, bytes: &[u8], used: u64, rng: &mut Rng) -> Result<Self> {
        self.what = "swapped chunks";
        let chunk = |at: u64| -> Result<Vec<u8>> {
            let start = usize::try_from(at * CHUNK)?;
            Ok(bytes[start..start + usize::try_from(CHUNK)?].to_vec())
        };
        let first = rng.below(used / CHUNK);
        let second = (first + 1 + rng.below(used / CHUNK - 1)) % (used / CHUNK);
        let (one, two) = (chunk(first)?, chunk(second)?);
        if one == two {
            return self.flip(bytes, used, rng);
        }
        self.changes.push(Change { at: first * CHUNK, before: one.clone(), after: two.clone() });
        self.changes.push(Change { at: second * CHUNK, before: two, after: one });
        Ok(self)
    }

    /// Does it.
    pub(super) fn inflict(&self) -> Result<()> {
        let file = File::options().write(true).open(&self.path)?;
        for change in &self.changes {
            file.write_all_at(&change.after, change.at)?;
        }
        file.set_len(self.length.1)?;
        file.sync_all().context("damage a file")
    }

    /// Whether nobody wrote there since, nor removed the file.
    pub(super) fn is_there(&self) -> bool {
        let Ok(file) = File::open(&self.path) else { return false };
        let is_untouched = |change: &Change| {
            let mut found = vec![0; change.after.len()];
            file.read_exact_at(&mut found, change.at).is_ok() && found == change.after
        };
        let is_cut = self.length.0 != self.length.1;
        let length = file.metadata().map_or(0, |found| found.len());
        (!is_cut || length == self.length.1) && self.changes.iter().all(is_untouched)
    }

    /// Takes it back, if it is still there: false else.
    pub(super) fn repair(&self) -> Result<bool> {
        if !self.is_there() {
            return Ok(false);
        }
        let file = File::options().write(true).open(&self.path)?;
        for change in &self.changes {
            file.write_all_at(&change.before, change.at)?;
        }
        file.sync_all().context("repair a file")?;
        Ok(true)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<String> = self.changes.iter().map(|it| it.at.to_string()).collect();
        let (what, places, length) = (self.what, places.join(", "), self.length.0);
        write!(f, "{what} at {places} of {length} in {}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn damage_changes_a_file_and_is_taken_back_to_the_byte() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("file");
        let mut kinds = BTreeSet::new();
        for seed in 0..40 {
            let mut rng = Rng::seeded(seed);
            let count = 1 + rng.below(30_000);
            let mut bytes: Vec<u8> =
                (0..count).map(|at| u8::try_from(at % 255 + 1).unwrap()).collect();
            bytes.extend([0; 5000]);
            std::fs::write(&path, &bytes)?;
            let damage = Damage::draw(&path, &mut rng)?.unwrap();
            assert_eq!(std::fs::read(&path)?, bytes, "nothing happens before it is inflicted");
            damage.inflict()?;
            assert!(damage.is_there());
            let found = std::fs::read(&path)?;
            let used = usize::try_from(count)?;
            assert!(found.len() < used || found[..used] != bytes[..used], "seed {seed}: {damage}");
            assert!(damage.repair()?);
            assert_eq!(std::fs::read(&path)?, bytes, "seed {seed}: {damage}");
            kinds.insert(damage.what);
        }
        assert_eq!(kinds.len(), 3, "{kinds:?}");
        Ok(())
    }

    #[test]
    fn what_somebody_wrote_over_is_left_alone() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("file");
        for seed in 0..20 {
            std::fs::write(&path, [7; 20_000])?;
            let damage = Damage::draw(&path, &mut Rng::seeded(seed))?.unwrap();
            damage.inflict()?;
            std::fs::write(&path, [9; 100])?;
            assert!(!damage.repair()?, "seed {seed}: {damage}");
            assert_eq!(std::fs::read(&path)?, [9; 100]);
        }
        std::fs::remove_file(&path)?;
        std::fs::write(&path, [7; 100])?;
        let damage = Damage::draw(&path, &mut Rng::seeded(1))?.unwrap();
        std::fs::remove_file(&path)?;
        assert!(!damage.repair()?);
        std::fs::write(&path, [0; 100])?;
        assert_eq!(Damage::draw(&path, &mut Rng::seeded(1))?, None);
        Ok(())
    }
}
