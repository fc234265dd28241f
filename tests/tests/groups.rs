//! Consumer groups on three real nodes: nothing is missed, nobody owns what another owns, positions
//! stay (RELIABILITY §2.6).

#[path = "groups/crew.rs"]
mod crew;
#[path = "groups/faults.rs"]
mod faults;
#[path = "groups/members.rs"]
mod members;
#[path = "groups/positions.rs"]
mod positions;
#[path = "groups/topics.rs"]
mod topics;
