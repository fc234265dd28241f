//! Names of files and folders: what processes see, and what a power cut would leave.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use quipu_runtime::Rng;

use super::inode::InodeId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(InodeId),
}

/// A change of one folder that was not flushed.
#[derive(Clone, Debug)]
enum Change {
    Set { path: PathBuf, node: Node },
    Clear { path: PathBuf, node: Node },
    Rename { source: PathBuf, target: PathBuf, node: Node },
}

/// By the bytes of the path: parents sort before their children, and nothing is taken apart to
/// compare.
type Tree = BTreeMap<OsString, Node>;

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    seen: Tree,
    durable: Tree,
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn contains(&self, path: &Path) -> bool {
        is_root(path) || self.seen.contains_key(path.as_os_str())
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<InodeId> {
        match self.seen.get(path.as_os_str()) {
            Some(Node::File(id)) => Ok(*id),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Every file that some name, seen or durable, leads to.
    pub(super) fn files(&self) -> impl Iterator<Item = InodeId> {
        let nodes = self.seen.values().chain(self.durable.values());
        let ids: BTreeSet<InodeId> = nodes
            .filter_map(|node| match node {
                Node::File(id) => Some(*id),
                Node::Dir => None,
            })
            .collect();
        ids.into_iter()
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<(String, Node)>> {
        if !is_root(path) && self.seen.get(path.as_os_str()) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = below(&self.seen, path).filter(|(child, _)| child.parent() == Some(path));
        Ok(below
            .map(|(child, node)| {
                let name = child.file_name().expect("a child has a name");
                (name.to_string_lossy().into_owned(), node)
            })
            .collect())
    }

    pub(super) fn create(&mut self, path: &Path, id: InodeId) -> io::Result<()> {
        self.create_node(path, Node::File(id))
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.create_node(path, Node::Dir)
    }

    fn create_node(&mut self, path: &Path, node: Node) -> io::Result<()> {
        self.check_parent(path)?;
        if self.seen.contains_key(path.as_os_str()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.record(Change::Set { path: path.to_owned(), node });
        Ok(())
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        for folder in path.ancestors().filter(|folder| !is_root(folder)) {
            match self.seen.get(folder.as_os_str()) {
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                Some(Node::Dir) | None => {}
            }
            self.seen.insert(folder.into(), Node::Dir);
            self.durable.insert(folder.into(), Node::Dir);
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, source: &Path, target: &Path) -> io::Result<()> {
        let node = *self.seen.get(source.as_os_str()).ok_or(io::ErrorKind::NotFound)?;
        self.check_parent(target)?;
        let (source, target) = (source.to_owned(), target.to_owned());
        if node == Node::Dir {
            self.move_pending(&source, &target);
        }
        self.record(Change::Rename { source, target, node });
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let node = Node::File(self.file(path)?);
        self.record(Change::Clear { path: path.to_owned(), node });
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        if self.seen.get(path.as_os_str()) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let doomed: Vec<(PathBuf, Node)> = below(&self.seen, path)
            .filter(|(child, _)| child.starts_with(path))
            .map(|(child, node)| (child.to_owned(), node))
            .collect();
        for (path, node) in doomed.into_iter().rev() {
            self.record(Change::Clear { path, node });
        }
        Ok(())
    }

    /// Makes a folder's changes durable.
    pub(super) fn sync(&mut self, folder: &Path) -> io::Result<()> {
        if !self.contains(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        for change in mem::take(&mut self.pending) {
            if change.path().parent() == Some(folder) {
                change.apply(&mut self.durable);
            } else {
                self.pending.push(change);
            }
        }
        Ok(())
    }

    /// What is left after a power cut: the flushed names and some of the changes since, either the
    /// first few (a file system with a log) or any.
    pub(super) fn survive(&self, rng: &mut Rng) -> Self {
        let mut tree = self.durable.clone();
        let is_ordered = rng.below(2) == 0;
        let mut dropped = BTreeSet::new();
        for change in &self.pending {
            let is_kept = rng.below(2) == 0;
            match change.node() {
                Node::File(id) if dropped.contains(&id) => continue,
                Node::File(id) if !is_kept => {
                    dropped.insert(id);
                }
                Node::File(_) | Node::Dir => {}
            }
            if is_kept {
                change.apply(&mut tree);
            } else if is_ordered {
                break;
            }
        }
        drop_orphans(&mut tree);
        Self { seen: tree.clone(), durable: tree, pending: Vec::new() }
    }

    fn record(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if self.contains(parent) => Ok(()),
            Some(_) => Err(io::ErrorKind::NotFound.into()),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Changes inside a folder that gets another name happen under that name.
    fn move_pending(&mut self, source: &Path, target: &Path) {
        for change in &mut self.pending {
            match change {
                Change::Set { path, .. } | Change::Clear { path, .. } => {
                    rebase(path, source, target);
                }
                Change::Rename { source: from, target: to, .. } => {
                    rebase(from, source, target);
                    rebase(to, source, target);
                }
            }
        }
    }
}

impl Change {
    /// The name whose folder must be flushed.
    fn path(&self) -> &Path {
        match self {
            Self::Set { path, .. } | Self::Clear { path, .. } => path,
            Self::Rename { target, .. } => target,
        }
    }

    fn node(&self) -> Node {
        match self {
            Self::Set { node, .. } | Self::Clear { node, .. } | Self::Rename { node, .. } => *node,
        }
    }

    fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Set { path, node } => {
                tree.insert(path.into(), *node);
            }
            Self::Clear { path, node } => {
                if tree.get(path.as_os_str()) == Some(node) {
                    tree.remove(path.as_os_str());
                }
            }
            Self::Rename { source, target, node } => {
                if tree.get(source.as_os_str()) == Some(node) {
                    tree.remove(source.as_os_str());
                }
                tree.insert(target.into(), *node);
                if *node == Node::Dir {
                    move_children(tree, source, target);
                }
            }
        }
    }
}

/// The names that begin with a path's bytes: all below it, and some beside it.
fn below<'a>(tree: &'a Tree, path: &Path) -> impl Iterator<Item = (&'a Path, Node)> {
    let prefix = path.as_os_str().as_encoded_bytes();
    tree.range::<OsStr, _>((Bound::Included(path.as_os_str()), Bound::Unbounded))
        .take_while(move |(child, _)| child.as_encoded_bytes().starts_with(prefix))
        .map(|(child, node)| (Path::new(child), *node))
}

fn move_children(tree: &mut Tree, source: &Path, target: &Path) {
    for (path, node) in mem::take(tree) {
        let mut path = PathBuf::from(path);
        rebase(&mut path, source, target);
        tree.insert(path.into(), node);
    }
}

/// Moves a path from below one folder to below another.
fn rebase(path: &mut PathBuf, source: &Path, target: &Path) {
    if path != source
        && let Ok(rest) = path.strip_prefix(source)
    {
        *path = target.join(rest);
    }
}

/// Names in folders that did not survive are gone.
fn drop_orphans(tree: &mut Tree) {
    // Parents sort before their children.
    for path in tree.keys().cloned().collect::<Vec<_>>() {
        let has_parent = Path::new(&path).parent().is_none_or(|parent| {
            is_root(parent) || tree.get(parent.as_os_str()) == Some(&Node::Dir)
        });
        if !has_parent {
            tree.remove(&path);
        }
    }
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.parent().is_none()
}
