//! Consumer groups on three real nodes: nothing is missed, nobody owns what another owns, positions
//! stay (RELIABILITY §2.6).

#[path = "groups/absences.rs"]
mod absences;
#[path = "groups/churn.rs"]
mod churn;
#[path = "groups/crew.rs"]
mod crew;
#[path = "groups/fairness.rs"]
mod fairness;
#[path = "groups/faults.rs"]
mod faults;
#[path = "groups/growth.rs"]
mod growth;
#[path = "groups/load.rs"]
mod load;
#[path = "groups/members.rs"]
mod members;
#[path = "groups/positions.rs"]
mod positions;
#[path = "groups/process.rs"]
mod process;
#[path = "groups/restarts.rs"]
mod restarts;
#[path = "groups/revocations.rs"]
mod revocations;
#[path = "groups/scale.rs"]
mod scale;
#[path = "groups/starts.rs"]
mod starts;
#[path = "groups/topics.rs"]
mod topics;
#[path = "groups/watch.rs"]
mod watch;
#[path = "groups/windows.rs"]
mod windows;
