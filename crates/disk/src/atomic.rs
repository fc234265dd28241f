//! Replacing a small file as a whole.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Disk, OpenMode};

/// Replaces a file so that after a crash it is wholly the old one or wholly the new one:
/// temporary file → flush → rename → flush the folder.
///
/// # Errors
/// On any failure the old file stands, or the new one: never a mixture.
pub fn write_atomic(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path);
    if disk.exists(&temporary) {
        disk.remove_file(&temporary)?;
    }
    quipu_failpoint::hit("disk.atomic.create.before");
    let file = disk.open(&temporary, OpenMode::CreateNew)?;
    quipu_failpoint::hit("disk.atomic.write.before");
    file.write_all_at(bytes, 0)?;
    quipu_failpoint::hit("disk.atomic.flush.before");
    file.sync_all()?;
    quipu_failpoint::hit("disk.atomic.rename.before");
    disk.rename(&temporary, path)?;
    quipu_failpoint::hit("disk.atomic.sync-dir.before");
    disk.sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))?;
    quipu_failpoint::hit("disk.atomic.sync-dir.after");
    Ok(())
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(|| OsString::from("file"), OsString::from);
    name.push(".tmp");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Faults, FaultyDisk};

    fn read(disk: &dyn Disk, path: &Path) -> Vec<u8> {
        let file = disk.open(path, OpenMode::Read).expect("open");
        let mut bytes = vec![0; usize::try_from(file.len().expect("length")).expect("small")];
        file.read_exact_at(&mut bytes, 0).expect("read");
        bytes
    }

    #[test]
    fn a_power_cut_leaves_the_old_file_or_the_new_one() {
        let (mut old, mut new) = (0, 0);
        for seed in 0..400 {
            let disk = FaultyDisk::new(seed, Faults::default());
            disk.create_dir_all(Path::new("/d")).expect("make folder");
            let path = Path::new("/d/identity");
            write_atomic(&disk, path, &[1; 3000]).expect("first write");
            disk.set_faults(Faults { power_cut_at: Some(1 + seed % 8), ..Faults::default() });
            let is_done = write_atomic(&disk, path, &[2; 2000]).is_ok();
            let survivor: Arc<dyn Disk> = Arc::new(disk.power_cut());
            let found = read(&*survivor, path);
            if found == vec![2; 2000] {
                new += 1;
            } else {
                assert_eq!(found, vec![1; 3000], "seed {seed}");
                assert!(!is_done, "seed {seed}: a finished write was lost");
                old += 1;
            }
        }
        assert!(old > 50 && new > 50, "both outcomes are exercised: {old} old, {new} new");
    }
}
