//! Consumer groups: one owner, positions that stay, every record at least once.

mod delivery;
mod healing;
mod ownership;
mod positions;
mod statics;

pub(crate) use delivery::Delivery;
pub(crate) use healing::Healing;
pub(crate) use ownership::Ownership;
pub(crate) use positions::Positions;
pub(crate) use statics::Statics;

use crate::history::Partition;

/// A group and a partition it reads.
type Share = (String, Partition);

/// A group's share of a partition, for people.
fn shown(group: &str, partition: &Partition) -> String {
    format!("{group}: {partition}")
}
