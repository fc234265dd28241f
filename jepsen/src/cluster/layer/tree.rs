//! What is behind the numbers that the kernel knows.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::trouble::Class;

/// The number of the directory that everything is in, as the kernel calls it.
const ROOT: u64 = 1;

/// A file or directory that the kernel knows.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Where it is below.
    Dir(PathBuf),
    /// Open below: so it can be used after its name is gone.
    File(Arc<File>, Class),
}

/// Everything that the kernel knows, by number. Numbers are those below, but for the root's.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: HashMap<u64, (Node, u64)>,
}

impl Tree {
    pub(super) fn new(below: &Path) -> Self {
        Self { nodes: HashMap::from([(ROOT, (Node::Dir(below.to_owned()), 1))]) }
    }

    pub(super) fn get(&self, number: u64) -> io::Result<Node> {
        let found = self.nodes.get(&number).map(|(node, _)| node.clone());
        found.ok_or_else(|| Errno::NOENT.into())
    }

    pub(super) fn dir(&self, number: u64) -> io::Result<PathBuf> {
        match self.get(number)? {
            Node::Dir(path) => Ok(path),
            Node::File(..) => Err(Errno::NOTDIR.into()),
        }
    }

    pub(super) fn file(&self, number: u64) -> io::Result<(Arc<File>, Class)> {
        match self.get(number)? {
            Node::File(file, class) => Ok((file, class)),
            Node::Dir(_) => Err(Errno::ISDIR.into()),
        }
    }

    pub(super) fn metadata(&self, number: u64) -> io::Result<Metadata> {
        match self.get(number)? {
            Node::Dir(path) => path.metadata(),
            Node::File(file, _) => file.metadata(),
        }
    }

    /// The kernel learns of what is at a path.
    pub(super) fn learn(&mut self, path: &Path) -> io::Result<Metadata> {
        let found = path.symlink_metadata()?;
        if let Some((_, lookups)) = self.nodes.get_mut(&found.ino()) {
            *lookups += 1;
            return Ok(found);
        }
        let node = if found.is_dir() {
            Node::Dir(path.to_owned())
        } else {
            let file = File::options().read(true).write(true).open(path)?;
            Node::File(Arc::new(file), Class::of(path))
        };
        self.nodes.insert(found.ino(), (node, 1));
        Ok(found)
    }

    /// The kernel forgets something that it learned of so many times.
    pub(super) fn forget(&mut self, number: u64, times: u64) {
        let Some((_, lookups)) = self.nodes.get_mut(&number) else { return };
        *lookups = lookups.saturating_sub(times);
        if *lookups == 0 && number != ROOT {
            self.nodes.remove(&number);
        }
    }

    /// What was below `from` is below `to` now.
    pub(super) fn moved(&mut self, from: &Path, to: &Path) {
        for (node, _) in self.nodes.values_mut() {
            if let Node::Dir(path) = node
                && let Ok(rest) = path.strip_prefix(from)
            {
                *path = to.join(rest);
            }
        }
    }
}
