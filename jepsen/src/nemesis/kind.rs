//! The faults there are, by name.

use std::fmt;

use super::partition::Shape;
use super::{
    Fault, clients, disk_full, kill, limits, loss, partition, pause, power, rolling, slow,
};

/// What a fault needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Processes.
    Nothing,
    /// A network and a disk per node.
    Lab,
    /// Those, and iptables.
    Iptables,
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
}

/// All faults: name, family, what they need.
const ALL: [(Kind, &str, &str, Needs); 20] = [
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
            let meant = Self::all()
                .filter(|kind| name == "all" || name == kind.name() || name == kind.family());
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
        matches!(self, Self::KillLeader | Self::PauseLeader | Self::IsolateLeader)
    }

    /// Whether it hits everything, so that no other fault may overlap with it.
    #[must_use]
    pub const fn is_for_all(self) -> bool {
        matches!(self, Self::KillAll | Self::PowerAll | Self::Rolling)
    }

    /// Whether a node may end by itself because of it.
    #[must_use]
    pub const fn may_end_nodes(self) -> bool {
        matches!(self, Self::DiskFull | Self::Files)
    }

    pub(super) fn fault(self) -> Box<dyn Fault> {
        match self {
            Self::KillOne => Box::new(kill::Kill::one()),
            Self::KillLeader => Box::new(kill::Kill::leader()),
            Self::KillAll => Box::new(kill::Kill::all()),
            Self::PauseOne => Box::new(pause::Pause::one()),
            Self::PauseLeader => Box::new(pause::Pause::leader()),
            Self::IsolateOne => Box::new(partition::Cut::of(Shape::One)),
            Self::IsolateLeader => Box::new(partition::Cut::of(Shape::Leader)),
            Self::Halves => Box::new(partition::Cut::of(Shape::Halves)),
            Self::Bridge => Box::new(partition::Cut::of(Shape::Bridge)),
            Self::Ring => Box::new(partition::Cut::of(Shape::Ring)),
            Self::Deaf => Box::new(partition::Cut::of(Shape::Deaf)),
            Self::Mute => Box::new(partition::Cut::of(Shape::Mute)),
            Self::Clients => Box::new(clients::Clients::default()),
            Self::Loss => Box::new(loss::Loss::default()),
            Self::Slow => Box::new(slow::Slow::default()),
            Self::DiskFull => Box::new(disk_full::DiskFull::default()),
            Self::PowerOne => Box::new(power::PowerLoss::one()),
            Self::PowerAll => Box::new(power::PowerLoss::all()),
            Self::Files => Box::new(limits::Files::default()),
            Self::Rolling => Box::new(rolling::Rolling),
        }
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
        Self { name: name.to_owned(), families: families.join(", "), names: names.join(", ") }
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
        assert!(!Kind::Ring.fits(3) && Kind::Ring.fits(5));
    }
}
