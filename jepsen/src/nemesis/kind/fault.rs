//! What each kind does.

use super::super::partition::Shape;
use super::super::rot::{Rot, Target};
use super::super::{
    Fault, clients, clock, disk_error, disk_full, duplicate, kill, limits, loss, lost_writes,
    membership, memory, packets, part_kill, partition, pause, power, rolling, slow, slow_disk,
    swapped, wiped,
};
use super::Kind;
use crate::cluster::{Operation, Treatment};

impl Kind {
    /// The fault, before it began.
    pub(in crate::nemesis) fn fault(self) -> Box<dyn Fault> {
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
            Self::Delay => Box::new(packets::Wire::of(Treatment::Delay)),
            Self::Reorder => Box::new(packets::Wire::of(Treatment::Reorder)),
            Self::Duplicate => Box::new(duplicate::Duplicate::default()),
            Self::Corrupt => Box::new(packets::Wire::of(Treatment::Spoil)),
            Self::ClockOne => Box::new(clock::Clocks::one()),
            Self::ClockAll => Box::new(clock::Clocks::all()),
            Self::ClockStrobe => Box::new(clock::Clocks::strobe()),
            Self::FsyncError => Box::new(disk_error::DiskError::of(Operation::Flush)),
            Self::WriteError => Box::new(disk_error::DiskError::of(Operation::Write)),
            Self::ReadError => Box::new(disk_error::DiskError::of(Operation::Read)),
            Self::SlowDisk => Box::new(slow_disk::SlowDisk::default()),
            Self::LostWrites => Box::new(lost_writes::LostWrites::whole(false)),
            Self::LostWritesAll => Box::new(lost_writes::LostWrites::whole(true)),
            Self::TornWrites => Box::new(lost_writes::LostWrites::torn(false)),
            Self::TornWritesAll => Box::new(lost_writes::LostWrites::torn(true)),
            Self::Memory => Box::new(memory::Memory::default()),
            Self::RotJournal => Box::new(Rot::of(Target::Journal)),
            Self::RotSegment => Box::new(Rot::of(Target::Segment)),
            Self::RotIndex => Box::new(Rot::of(Target::Index)),
            Self::RotTable => Box::new(Rot::of(Target::Table)),
            Self::Wiped => Box::new(wiped::Wiped::default()),
            Self::Swapped => Box::new(swapped::Swapped::default()),
            Self::Drain => Box::new(membership::Drain::default()),
            Self::MoveShard => Box::new(membership::MoveShard),
            Self::MovePartition => Box::new(membership::MovePartition),
            Self::PartKill => Box::new(part_kill::PartKill::default()),
        }
    }
}
