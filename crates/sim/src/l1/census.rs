//! How often what happened: a run that does nothing finds nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

/// A kind of event worth counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Event {
    /// An entry was applied.
    Applied,
    /// A proposal was acknowledged.
    Acknowledged,
    /// A proposal's outcome stayed unknown.
    Unknown,
    /// A proposal was refused without effect.
    Refused,
    /// A proposal of unknown outcome was made again.
    Repeated,
    /// A read was answered.
    Read,
    /// A replica began to lead.
    Elected,
    /// Leadership was handed over.
    HandedOver,
    /// A checkpoint was made.
    Checkpointed,
    /// The journal forgot entries behind a checkpoint.
    Purged,
    /// A snapshot was installed.
    Installed,
    /// A replica dropped entries that another leader replaced.
    Truncated,
    /// A process was killed.
    Killed,
    /// A node shut down as it should.
    Stopped,
    /// A node's power was cut.
    PowerCut,
    /// All nodes lost power at once.
    Blackout,
    /// A process ended because its disk failed.
    DiskFailed,
    /// The network was cut between nodes.
    Partitioned,
    /// A connection broke.
    Disconnected,
    /// A node stood still.
    Paused,
    /// A node's disk was slow.
    Slowed,
    /// A replica was compared with the model, byte for byte.
    Compared,
    /// A shard's record named other replicas.
    MoveBegun,
    /// A replica that was to leave was to stay after all.
    MovedBack,
    /// A node came to lead that had missed how a move was called off.
    Misled,
    /// A shard's group came to be what its record wanted.
    MoveDone,
    /// A replica was given a vote that it never had.
    ReplicaAdded,
    /// A replica was no member of its group any more.
    ReplicaRemoved,
    /// A node that had held a shard began to hold it again, as another replica.
    ReplicaReplaced,
    /// A snapshot was installed on a replica that had nothing.
    FreshFed,
    /// A node ended while a replica that had nothing was receiving a snapshot.
    FeedCutShort,
    /// Everything of a former replica was deleted.
    Evicted,
    /// A batch was acknowledged to its producer.
    Stored,
    /// A batch was sent again.
    SentAgain,
    /// A batch was acknowledged that was stored by an earlier attempt.
    Duplicate,
    /// A producer gave a batch up, not knowing whether it is stored.
    InDoubt,
    /// A producer went on under a new id.
    Identified,
    /// Records were read.
    Fetched,
    /// A read below the log start was refused.
    BelowStart,
    /// A read by somebody honest was refused because of the end of the log.
    AboveEnd,
    /// A member joined its group anew.
    Joined,
    /// A member lost its stream and went on with another.
    Resumed,
    /// A partition was taken by a member.
    Taken,
    /// A partition was given up by a member that was told to.
    LetGo,
    /// A partition went from one member to another that confirmed.
    HandedOn,
    /// A partition was taken from a member that was not asked.
    TakenAway,
    /// A member was told that it is none any more.
    Fenced,
    /// A member's session ended without a heartbeat.
    Expired,
    /// A member died.
    Died,
    /// A member stood still.
    Stalled,
    /// A member left.
    LeftGroup,
    /// A record was handled.
    Handled,
    /// A record was handled again.
    HandledAgain,
    /// Positions of a member were committed.
    Committed,
    /// A commit was refused because the partition is somebody else's.
    CommitRefused,
    /// A commit of a dead member arrived.
    LateCommit,
    /// Positions of a group were looked up.
    LookedUp,
    /// Old records went because of their age or the size of the log.
    Retired,
    /// Records went on request.
    Deleted,
    /// Records went before a group had read them, and it was told.
    Skipped,
    /// A machine's wall clock jumped.
    Jumped,
}

/// Counts of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<Event, u64>);

impl Census {
    pub(crate) fn add(&mut self, event: Event) {
        *self.0.entry(event).or_default() += 1;
    }

    /// How often an event happened.
    #[must_use]
    pub fn of(&self, event: Event) -> u64 {
        self.0.get(&event).copied().unwrap_or(0)
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Self) {
        for (event, count) in &other.0 {
            *self.0.entry(*event).or_default() += count;
        }
    }
}

/// As `applied=120 read=7`: what happened, in the order of [`Event`].
impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (event, count)) in self.0.iter().enumerate() {
            let name = event.to_possible_value().expect("no variant is hidden");
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}{}={count}", name.get_name())?;
        }
        Ok(())
    }
}

impl FromStr for Census {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut census = Self::default();
        for word in text.split_whitespace() {
            let (name, count) = word.split_once('=').ok_or_else(|| format!("{word}: no count"))?;
            let event = Event::from_str(name, false)?;
            census.0.insert(event, count.parse().map_err(|_| format!("{word}: no number"))?);
        }
        Ok(census)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_come_back_from_their_text() {
        let mut census = Census::default();
        census.add(Event::Applied);
        census.add(Event::PowerCut);
        census.merge(&census.clone());
        assert_eq!(census.to_string(), "applied=2 power-cut=2");
        assert_eq!(census.to_string().parse(), Ok(census));
        assert!("applied=many".parse::<Census>().is_err());
        assert!("nothing=1".parse::<Census>().is_err());
    }
}
