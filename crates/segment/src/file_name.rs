//! Names of a log's files: twenty digits of the first offset, then what it is (Kafka's layout).

use std::path::{Path, PathBuf};

use quipu_types::Offset;

const DIGITS: usize = 20;

/// What a file of a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Stored batches.
    Log,
    /// Offset → byte.
    Index,
    /// Largest timestamp so far → offset.
    TimeIndex,
    /// What compaction remembers.
    Cleaned,
    /// What is to take the place of a log; a crash leaves it.
    Rewritten,
    /// What another replica has in the place of a log; see `prefix.rs`.
    Copied,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Log, Self::Index, Self::TimeIndex, Self::Cleaned, Self::Rewritten, Self::Copied];
    /// Those of a sealed segment.
    pub(crate) const SEALED: [Self; 4] = [Self::Log, Self::Index, Self::TimeIndex, Self::Cleaned];

    const fn extension(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Index => "index",
            Self::TimeIndex => "timeindex",
            Self::Cleaned => "cleaned",
            Self::Rewritten => "rewritten",
            Self::Copied => "copied",
        }
    }
}

/// The path of a segment's file.
pub(crate) fn path(dir: &Path, base: Offset, kind: Kind) -> PathBuf {
    dir.join(format!("{:0DIGITS$}.{}", base.get(), kind.extension()))
}

/// The path of the file beside a segment's log.
pub(crate) fn sibling(log: &Path, kind: Kind) -> PathBuf {
    log.with_extension(kind.extension())
}

/// What a name says; `None` for a file that is not ours.
pub(crate) fn parse(name: &str) -> Option<(Offset, Kind)> {
    let (digits, extension) = name.split_once('.')?;
    if digits.len() != DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kind = Kind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
    digits.parse().ok().map(|base| (Offset::new(base), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_hold() {
        for kind in Kind::ALL {
            for base in [0, 42, u64::MAX] {
                let base = Offset::new(base);
                let path = path(Path::new("/d"), base, kind);
                let name = path.file_name().unwrap().to_str().unwrap();
                assert_eq!(parse(name), Some((base, kind)), "{name}");
            }
        }
        let first = path(Path::new("/d"), Offset::ZERO, Kind::Log);
        assert_eq!(first, Path::new("/d/00000000000000000000.log"));
        assert_eq!(
            sibling(&first, Kind::TimeIndex),
            Path::new("/d/00000000000000000000.timeindex")
        );
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "0.log",
            "00000000000000000000",
            "00000000000000000000.txt",
            "00000000000000000000.log.tmp",
            "+0000000000000000000.log",
            "99999999999999999999.log",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
