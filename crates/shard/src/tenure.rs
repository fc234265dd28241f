//! How a partition came to a shard, and whether it stays: partitions move between shards.
//!
//! Byte table: `docs/formats/bundle.md`.

use bytes::{Buf, BufMut, BytesMut};
use quipu_types::MoveId;

use crate::row::InvalidRow;

/// Directories of a partition that one move may need: it may be closed and received again before
/// a checkpoint has forgotten the first.
const GENERATIONS_PER_MOVE: u32 = 1 << 4;
/// Generations of partitions that moved here, apart from those of partitions opened here.
const MOVED: u32 = 1 << 31;

/// Bits of the first byte. Persisted; never reuse.
mod flag {
    pub(super) const ARRIVED: u8 = 1;
    pub(super) const RECEIVING: u8 = 2;
    pub(super) const SEALED: u8 = 4;
}

/// How a partition came to a shard, and whether it stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tenure {
    /// The move that brought it; none for one that was opened here.
    pub arrived_by: Option<MoveId>,
    /// Whether it is whole, and this shard's.
    pub stage: Stage,
}

/// Whether a partition is whole, and this shard's. Only an open one is shown to anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// It is.
    #[default]
    Open,
    /// It is being filled.
    Receiving,
    /// It is about to go, or has gone: nothing changes any more.
    Sealed(MoveId),
}

/// What a hosted partition means to a move that is to bring it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is what the move brought.
    Same,
    /// It is left from an earlier move and makes way.
    Replaces,
    /// It is this shard's: the move is an old one.
    Refused,
}

impl Tenure {
    /// Of a partition that a move has begun to bring.
    pub(crate) const fn receiving(by: MoveId) -> Self {
        Self { arrived_by: Some(by), stage: Stage::Receiving }
    }

    /// Whether it is shown.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether the move is filling it.
    pub(crate) fn is_receiving(self, by: MoveId) -> bool {
        self.stage == Stage::Receiving && self.arrived_by == Some(by)
    }

    pub(crate) fn claim(self, by: MoveId) -> Claim {
        let is_newer = self.arrived_by.is_none_or(|known| known < by);
        match self.stage {
            _ if self.arrived_by == Some(by) => Claim::Same,
            Stage::Receiving if is_newer => Claim::Replaces,
            Stage::Sealed(gone_by) if is_newer && gone_by < by => Claim::Replaces,
            Stage::Open | Stage::Receiving | Stage::Sealed(_) => Claim::Refused,
        }
    }

    /// Whether a directory is that of a partition that moved here.
    pub(crate) const fn is_moved(generation: u32) -> bool {
        generation >= MOVED
    }

    /// The first of its directories.
    #[must_use]
    pub fn first_generation(arrived_by: Option<MoveId>) -> u32 {
        let Some(by) = arrived_by else { return 0 };
        let number = u32::try_from(by.get() % u64::from(MOVED / GENERATIONS_PER_MOVE));
        MOVED + number.expect("below the divisor") * GENERATIONS_PER_MOVE
    }

    /// The first byte of the stored form; [`Self::put_moves`] writes the rest.
    pub(crate) fn flags(self) -> u8 {
        let arrived = if self.arrived_by.is_some() { flag::ARRIVED } else { 0 };
        let stage = match self.stage {
            Stage::Open => 0,
            Stage::Receiving => flag::RECEIVING,
            Stage::Sealed(_) => flag::SEALED,
        };
        arrived | stage
    }

    /// The moves that the flags speak of.
    pub(crate) fn put_moves(self, into: &mut BytesMut) {
        if let Some(by) = self.arrived_by {
            into.put_u64(by.get());
        }
        if let Stage::Sealed(by) = self.stage {
            into.put_u64(by.get());
        }
    }

    /// Reads what [`Self::flags`] and [`Self::put_moves`] wrote.
    pub(crate) fn get(flags: u8, bytes: &mut impl Buf) -> Result<Self, InvalidRow> {
        let mut next = || {
            let is_there = bytes.remaining() >= 8;
            if is_there { Ok(MoveId::new(bytes.get_u64())) } else { Err(InvalidRow) }
        };
        let has_arrived = flags & flag::ARRIVED != 0;
        let arrived_by = has_arrived.then(&mut next).transpose()?;
        let stage = match flags & !flag::ARRIVED {
            0 => Stage::Open,
            flag::RECEIVING if has_arrived => Stage::Receiving,
            flag::SEALED => Stage::Sealed(next()?),
            _ => return Err(InvalidRow),
        };
        Ok(Self { arrived_by, stage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: MoveId = MoveId::new(7);
    const NEW: MoveId = MoveId::new(9);

    fn all() -> Vec<Tenure> {
        let stages = [Stage::Open, Stage::Receiving, Stage::Sealed(NEW)];
        let arrivals = [None, Some(OLD)];
        let pairs = stages.iter().flat_map(|stage| arrivals.map(|by| (*stage, by)));
        let all = pairs.map(|(stage, arrived_by)| Tenure { arrived_by, stage });
        all.filter(|it| it.arrived_by.is_some() || it.stage != Stage::Receiving).collect()
    }

    #[test]
    fn tenures_survive_the_trip_and_nothing_else_is_taken_for_one() {
        for tenure in all() {
            let mut bytes = BytesMut::new();
            tenure.put_moves(&mut bytes);
            assert_eq!(Tenure::get(tenure.flags(), &mut bytes.clone().freeze()), Ok(tenure));
            if !bytes.is_empty() {
                let cut = bytes.len() - 1;
                let found = Tenure::get(tenure.flags(), &mut bytes.freeze().slice(..cut));
                assert_eq!(found, Err(InvalidRow), "{tenure:?}");
            }
        }
        for flags in [flag::RECEIVING, flag::RECEIVING | flag::SEALED, 8, 0xFF] {
            let found = Tenure::get(flags, &mut [0_u8; 32].as_slice());
            assert_eq!(found, Err(InvalidRow), "{flags}");
        }
    }

    #[test]
    fn a_move_takes_the_place_of_what_an_earlier_one_left_and_of_nothing_else() {
        let next = MoveId::new(11);
        let claims: Vec<Claim> = all().iter().map(|tenure| tenure.claim(next)).collect();
        let (open, left) = (Claim::Refused, Claim::Replaces);
        assert_eq!(claims, [open, open, left, left, left]);
        let late = all().iter().map(|tenure| tenure.claim(MoveId::new(8))).collect::<Vec<_>>();
        assert_eq!(late, [open, open, left, open, open], "sealed by a later move");
        let same: Vec<Claim> = all().iter().map(|tenure| tenure.claim(OLD)).collect();
        assert_eq!(same, [open, Claim::Same, Claim::Same, open, Claim::Same]);
    }

    #[test]
    fn directories_of_moves_are_apart() {
        assert_eq!(Tenure::first_generation(None), 0);
        let first = Tenure::first_generation(Some(OLD));
        let next = Tenure::first_generation(Some(MoveId::new(8)));
        assert_eq!(next - first, GENERATIONS_PER_MOVE);
        assert!(Tenure::is_moved(first) && !Tenure::is_moved(0));
    }
}
