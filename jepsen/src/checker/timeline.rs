//! A figure that only rises, and when it was first known.

use super::family::Moment;

/// A figure that only rises, and when it was first known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rising {
    steps: Vec<(Moment, u64)>,
}

impl Rising {
    /// Learns a figure; lower ones change nothing.
    pub(crate) fn learn(&mut self, at: Moment, figure: u64) {
        if self.steps.last().is_none_or(|(_, known)| figure > *known) {
            self.steps.push((at, figure));
        }
    }

    /// The greatest figure known before a moment, with the line it was known from.
    pub(crate) fn before(&self, moment: Moment) -> Option<(Moment, u64)> {
        let end = self.steps.partition_point(|(at, _)| *at < moment);
        self.steps[..end].last().copied()
    }

    /// When a figure above this was first known.
    pub(crate) fn first_above(&self, figure: u64) -> Option<Moment> {
        let place = self.steps.partition_point(|(_, known)| *known <= figure);
        self.steps.get(place).map(|(at, _)| *at)
    }
}
