//! `quipu doctor --dir`: what lies in a stopped node's directory. Nothing in it is changed.

use std::path::{Path, PathBuf};

use quipu_disk::Disk;
use quipu_server::inspect::IdentityError;

use super::finding::{Finding, Severity};
use crate::exit::{CONFLICT, Failure};
use crate::output;

/// Looks at a data directory.
pub(super) fn examine(dir: &Path) -> anyhow::Result<Vec<Finding>> {
    let disk = quipu_disk::real();
    refuse_running(&*disk, dir)?;
    let mut found = Vec::new();
    match quipu_server::inspect::identity(&*disk, dir) {
        Ok(identity) => {
            let cluster = identity.cluster;
            output::note(&format!(
                "node {} of cluster {cluster}, start {}, format level {}",
                identity.node, identity.incarnation, identity.level
            ));
            if identity.rebuild.is_some() {
                found.push(Finding::new(
                    Severity::Note,
                    "rebuild",
                    dir.join("VERSION").display().to_string(),
                    "the node was given other replicas, or asked for them, because its journal is \
                     damaged: what it had before is not opened any more",
                    "start it: it carries on",
                ));
            }
        }
        Err(error) => {
            let is_nothing = matches!(error, IdentityError::Nothing { .. });
            found.push(sentence("identity", dir.join("VERSION").display(), &error.to_string()));
            if is_nothing {
                return Ok(found);
            }
        }
    }
    quarantine(&*disk, &dir.join("quarantine"), &mut found);
    journal(&*disk, &dir.join("journal"), &mut found);
    partitions(&*disk, &dir.join("partitions"), &mut found);
    Ok(found)
}

/// The files of a running node change under a look.
fn refuse_running(disk: &dyn Disk, dir: &Path) -> anyhow::Result<()> {
    let lock = dir.join("LOCK");
    // Where there is none nobody holds it, and a look makes none.
    if !disk.exists(&lock) {
        return Ok(());
    }
    match disk.lock(&lock) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            let message = format!(
                "{} is in use by a running node: ask the cluster instead (quipu doctor), or stop \
                 the node first",
                dir.display()
            );
            Err(Failure::with_code(CONFLICT, message))
        }
        // Who may read but not lock may look.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// An error whose sentence says what to do behind its last colon or semicolon.
fn sentence(kind: &'static str, place: impl std::fmt::Display, words: &str) -> Finding {
    let (what, advice) = words.rsplit_once(": ").unwrap_or((words, "see the sentence before"));
    Finding::new(Severity::Error, kind, place.to_string(), what, advice)
}

/// What a rebuild moved aside is nobody's any more.
fn quarantine(disk: &dyn Disk, dir: &Path, found: &mut Vec<Finding>) {
    let folders = disk.read_dir(dir).unwrap_or_default();
    for folder in folders.iter().filter(|folder| folder.is_dir) {
        found.push(Finding::new(
            Severity::Note,
            "quarantine",
            dir.join(&folder.name).display().to_string(),
            "what this node had before its journal was damaged; REASON in it says how",
            "remove it once the cluster is healthy; never move it back",
        ));
    }
}

fn journal(disk: &dyn Disk, dir: &Path, found: &mut Vec<Finding>) {
    if !disk.exists(dir) {
        return;
    }
    let place = dir.display().to_string();
    let report = match quipu_journal::inspect(disk, dir) {
        Ok(report) => report,
        Err(error) => {
            found.push(Finding::new(
                Severity::Error,
                "journal-damaged",
                place,
                error_chain(&error),
                "do not delete anything: start the node, and if the other nodes hold all it held, \
                 its data moves to quarantine/ and it is fed from them; if it says that they do \
                 not, restore what is missing",
            ));
            return;
        }
    };
    output::note(&format!(
        "journal: {} files with {} entries of {} groups",
        report.files, report.entries, report.groups
    ));
    for ambiguous in &report.ambiguous {
        found.push(Finding::new(
            Severity::Warning,
            "journal-ambiguous",
            format!("{place}, {}", ambiguous.position),
            format!(
                "the newest entry of shard {} is damaged, or was never whole: nobody can tell",
                ambiguous.shard
            ),
            "start the node: the group catches up from its leader before it votes",
        ));
    }
    if let Some(torn) = report.torn.filter(|_| report.ambiguous.is_empty()) {
        found.push(Finding::new(
            Severity::Note,
            "journal-torn",
            format!("{place}, {torn}"),
            "the last write is unfinished: the process ended in it, and nobody was told that it \
             was done",
            "nothing to do: the next start cuts it off",
        ));
    }
}

fn partitions(disk: &dyn Disk, dir: &Path, found: &mut Vec<Finding>) {
    let (mut segments, mut bytes, mut count) = (0, 0, 0);
    for path in logs(disk, dir, found) {
        let report = match quipu_segment::inspect(disk, &path) {
            Ok(report) => report,
            Err(error) => {
                found.push(unreadable(&path, &error.to_string()));
                continue;
            }
        };
        segments += report.segments;
        bytes += report.bytes;
        count += 1;
        for damage in &report.damaged {
            found.push(Finding::new(
                Severity::Error,
                "segment-damaged",
                path.display().to_string(),
                damage.to_string(),
                "readers of this replica are refused there, other replicas serve: to have this one \
                 built again, use `quipu node replace` on a running node",
            ));
        }
        if let Some(torn) = &report.torn {
            found.push(Finding::new(
                Severity::Note,
                "segment-torn",
                path.display().to_string(),
                format!("what follows offset {} is unfinished ({torn})", report.end),
                "nothing to do: the next start cuts it off and takes it from the journal again; if \
                 a checkpoint lies behind it, the start is refused and says so",
            ));
        }
    }
    output::note(&format!("partitions: {count} with {segments} segments, {bytes} bytes"));
}

/// The directories of partitions: those that took the place of others, or moved here, lie deeper.
fn logs(disk: &dyn Disk, dir: &Path, found: &mut Vec<Finding>) -> Vec<PathBuf> {
    let entries = match disk.read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            found.push(unreadable(dir, &error.to_string()));
            return Vec::new();
        }
    };
    let mut logs = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.is_dir) {
        let path = dir.join(&entry.name);
        if entry.name.starts_with("generation-") {
            logs.extend(self::logs(disk, &path, found));
        } else {
            logs.push(path);
        }
    }
    logs
}

fn unreadable(path: &Path, why: &str) -> Finding {
    Finding::new(
        Severity::Error,
        "unreadable",
        path.display().to_string(),
        why,
        "check the disk, the mount and who owns the files",
    )
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    words
}
