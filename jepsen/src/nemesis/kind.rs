//! The faults there are, by name.

mod fault;

use std::fmt;

/// What a fault needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Processes.
    Nothing,
    /// A network and a disk per node.
    Lab,
    /// Those, and iptables.
    Iptables,
    /// Wall clocks that can be wrong.
    Clocks,
    /// A network per node, and a disk that forgets and fails.
    Layers,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A random node is killed, and started again at the end.
    KillOne,
    /// The node that leads most is killed.
    KillLeader,
    /// All nodes are killed at once.
    KillAll,
    /// A random node stands still.
    PauseOne,
    /// The node that leads most stands still.
    PauseLeader,
    /// A random node is cut off from the others.
    IsolateOne,
    /// The node that leads most is cut off from the others; clients still reach it.
    IsolateLeader,
    /// A smaller and a larger part.
    Halves,
    /// Two neighbours of a line do not hear each other; with five nodes, two parts and one between.
    Bridge,
    /// Every node hears a majority, no two the same; needs five nodes.
    Ring,
    /// The node that leads most is heard, and hears nobody.
    Deaf,
    /// The node that leads most hears all, and nobody hears it.
    Mute,
    /// Answers of the node that leads most do not reach the clients.
    Clients,
    /// A fifth of what reaches a node is lost.
    Loss,
    /// A node's wire is slow.
    Slow,
    /// A node's disk is full.
    DiskFull,
    /// A node loses power.
    PowerOne,
    /// All nodes lose power at once.
    PowerAll,
    /// A node can open no more files.
    Files,
    /// Nodes are restarted one after the other.
    Rolling,
    /// Packets between nodes are late.
    Delay,
    /// Packets between nodes overtake each other.
    Reorder,
    /// Packets between nodes arrive twice.
    Duplicate,
    /// What the node that leads most tells the others has flipped bits.
    Corrupt,
    /// The wall clock of the node that leads most jumps.
    ClockOne,
    /// All wall clocks jump.
    ClockAll,
    /// The wall clock of the node that leads most jumps there and back.
    ClockStrobe,
    /// A node's disk does not flush.
    FsyncError,
    /// A node's disk does not write.
    WriteError,
    /// A node's disk does not read.
    ReadError,
    /// A node's disk is slow.
    SlowDisk,
    /// A node is killed, and what it did not flush is lost.
    LostWrites,
    /// All nodes are killed, and what they did not flush is lost.
    LostWritesAll,
    /// A node is killed, and some of what it did not flush is lost.
    TornWrites,
    /// All nodes are killed, and some of what they did not flush is lost.
    TornWritesAll,
    /// A node gets no more memory.
    Memory,
    /// A file of a node's journal is damaged.
    RotJournal,
    /// A segment of a node is damaged.
    RotSegment,
    /// An index of a node is damaged.
    RotIndex,
    /// A table of a node is damaged.
    RotTable,
    /// A node starts on an empty disk.
    Wiped,
    /// Two nodes start on each other's disks.
    Swapped,
    /// Pauses around a power loss.
    PartKill,
    /// Leaderships leave a node for a while.
    Drain,
    /// The replicas of a shard go to other nodes.
    MoveShard,
    /// A partition goes to another shard.
    MovePartition,
}

/// All faults: name, family, what they need.
const ALL: [(Kind, &str, &str, Needs); 46] = [
    (Kind::KillOne, "kill-one", "kill", Needs::Nothing),
    (Kind::KillLeader, "kill-leader", "kill", Needs::Nothing),
    (Kind::KillAll, "kill-all", "kill", Needs::Nothing),
    (Kind::PauseOne, "pause-one", "pause", Needs::Nothing),
    (Kind::PauseLeader, "pause-leader", "pause", Needs::Nothing),
    (Kind::IsolateOne, "isolate-one", "partition", Needs::Lab),
    (Kind::IsolateLeader, "isolate-leader", "partition", Needs::Lab),
    (Kind::Halves, "halves", "partition", Needs::Lab),
    (Kind::Bridge, "bridge", "partition", Needs::Lab),
    (Kind::Ring, "ring", "partition", Needs::Lab),
    (Kind::Deaf, "deaf", "partition", Needs::Lab),
    (Kind::Mute, "mute", "partition", Needs::Lab),
    (Kind::Clients, "clients", "partition", Needs::Lab),
    (Kind::Loss, "loss", "net", Needs::Iptables),
    (Kind::Slow, "slow", "net", Needs::Lab),
    (Kind::DiskFull, "disk-full", "disk", Needs::Lab),
    (Kind::PowerOne, "power-one", "power", Needs::Lab),
    (Kind::PowerAll, "power-all", "power", Needs::Lab),
    (Kind::Files, "files", "limits", Needs::Nothing),
    (Kind::Rolling, "rolling", "restart", Needs::Nothing),
    (Kind::Delay, "delay", "packets", Needs::Iptables),
    (Kind::Reorder, "reorder", "packets", Needs::Iptables),
    (Kind::Duplicate, "duplicate", "packets", Needs::Iptables),
    (Kind::Corrupt, "corrupt", "packets", Needs::Iptables),
    (Kind::ClockOne, "clock-one", "clock", Needs::Clocks),
    (Kind::ClockAll, "clock-all", "clock", Needs::Clocks),
    (Kind::ClockStrobe, "clock-strobe", "clock", Needs::Clocks),
    (Kind::FsyncError, "fsync-error", "disk-error", Needs::Layers),
    (Kind::WriteError, "write-error", "disk-error", Needs::Layers),
    (Kind::ReadError, "read-error", "disk-error", Needs::Layers),
    (Kind::SlowDisk, "slow-disk", "disk-error", Needs::Layers),
    (Kind::LostWrites, "lost-writes", "lost", Needs::Layers),
    (Kind::LostWritesAll, "lost-writes-all", "lost", Needs::Layers),
    (Kind::TornWrites, "torn-writes", "lost", Needs::Layers),
    (Kind::TornWritesAll, "torn-writes-all", "lost", Needs::Layers),
    (Kind::Memory, "memory", "limits", Needs::Nothing),
    (Kind::RotJournal, "rot-journal", "rot", Needs::Nothing),
    (Kind::RotSegment, "rot-segment", "rot", Needs::Nothing),
    (Kind::RotIndex, "rot-index", "rot", Needs::Nothing),
    (Kind::RotTable, "rot-table", "rot", Needs::Nothing),
    (Kind::Wiped, "wiped", "identity", Needs::Nothing),
    (Kind::Swapped, "swapped", "identity", Needs::Nothing),
    (Kind::Drain, "drain", "membership", Needs::Nothing),
    (Kind::MoveShard, "move-shard", "membership", Needs::Nothing),
    (Kind::MovePartition, "move-partition", "membership", Needs::Nothing),
    (Kind::PartKill, "part-kill", "mix", Needs::Lab),
];

/// A name that no fault and no family has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no fault: write all, a family ({families}) or one of {names}")]
pub struct UnknownFault {
    name: String,
    families: String,
    names: String,
}

impl Kind {
    /// All faults.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.iter().map(|(kind, ..)| *kind)
    }

    /// The faults that a list of names means: of faults, of families, or `all`.
    ///
    /// # Errors
    /// The first name that means nothing.
    pub fn parse(list: &str) -> Result<Vec<Self>, UnknownFault> {
        let mut found = Vec::new();
        for name in list.split(',').map(str::trim) {
            let before = found.len();
            let is_meant =
                |kind: &Self| name == "all" || name == kind.name() || name == kind.family();
            let meant = Self::all().filter(is_meant);
            found.extend(meant);
            if found.len() == before {
                return Err(UnknownFault::new(name));
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// The name of its family.
    #[must_use]
    pub fn family(self) -> &'static str {
        self.entry().2
    }

    /// What it needs of the machine.
    #[must_use]
    pub fn needs(self) -> Needs {
        self.entry().3
    }

    fn entry(self) -> &'static (Self, &'static str, &'static str, Needs) {
        ALL.iter().find(|(kind, ..)| *kind == self).expect("every kind is listed")
    }

    /// Whether it makes sense with so many nodes.
    #[must_use]
    pub fn fits(self, nodes: u64) -> bool {
        self != Self::Ring || nodes >= 5
    }

    /// Whether it is meant to hit a leader.
    #[must_use]
    pub const fn is_for_leaders(self) -> bool {
        matches!(
            self,
            Self::KillLeader
                | Self::PauseLeader
                | Self::IsolateLeader
                | Self::ClockOne
                | Self::ClockStrobe
                | Self::Corrupt
                | Self::FsyncError
                | Self::WriteError
                | Self::ReadError
                | Self::SlowDisk
                | Self::LostWrites
                | Self::TornWrites
                | Self::Memory
                | Self::PartKill
        )
    }

    /// Whether it hits everything, so that no other fault may overlap with it.
    #[must_use]
    pub const fn is_for_all(self) -> bool {
        matches!(
            self,
            Self::KillAll
                | Self::PowerAll
                | Self::Rolling
                | Self::LostWritesAll
                | Self::TornWritesAll
                | Self::Wiped
                | Self::Swapped
                | Self::PartKill
        )
    }

    /// Whether a node may end by itself because of it.
    #[must_use]
    pub const fn may_end_nodes(self) -> bool {
        matches!(
            self,
            Self::DiskFull
                | Self::Files
                | Self::FsyncError
                | Self::WriteError
                | Self::ReadError
                | Self::Memory
                | Self::RotJournal
                | Self::RotSegment
                | Self::RotIndex
                | Self::RotTable
                | Self::Wiped
                | Self::Swapped
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl UnknownFault {
    fn new(name: &str) -> Self {
        let mut families: Vec<&str> = Kind::all().map(Kind::family).collect();
        families.dedup();
        let names: Vec<&str> = Kind::all().map(Kind::name).collect();
        let (families, names) = (families.join(", "), names.join(", "));
        Self { name: name.to_owned(), families, names }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_families_and_all_are_understood() {
        let kill = [Kind::KillOne, Kind::KillLeader, Kind::KillAll];
        assert_eq!(Kind::parse("kill").unwrap(), kill);
        assert_eq!(
            Kind::parse("pause-one, kill").unwrap(),
            [&kill[..], &[Kind::PauseOne]].concat()
        );
        assert_eq!(Kind::parse("kill,kill-all").unwrap(), kill, "none twice");
        assert_eq!(Kind::parse("all").unwrap().len(), ALL.len());
        assert!(Kind::parse("packets").unwrap().contains(&Kind::Corrupt));
        let error = Kind::parse("kill,fire").unwrap_err().to_string();
        assert!(
            error.starts_with("\"fire\" is no fault") && error.contains("power-all"),
            "{error}"
        );
        assert!(Kind::parse("").is_err());
    }

    #[test]
    fn every_kind_is_listed_once_under_its_own_name() {
        let names: std::collections::BTreeSet<_> = Kind::all().map(Kind::name).collect();
        let kinds: std::collections::BTreeSet<_> = Kind::all().collect();
        assert_eq!((names.len(), kinds.len()), (ALL.len(), ALL.len()));
        let is_both = |kind: Kind| names.contains(kind.family()) && kind.family() != kind.name();
        assert!(!Kind::all().any(is_both), "a family has the name of a fault");
        assert!(!Kind::Ring.fits(3) && Kind::Ring.fits(5));
    }
}
