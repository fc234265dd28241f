//! What clients proposed, how often, and what they were told.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_types::{EntryId, ShardId};

/// All proposals of one shard, by their bytes: no two are alike.
#[derive(Default)]
pub(crate) struct Proposals {
    all: BTreeMap<Bytes, Proposal>,
}

#[derive(Default)]
struct Proposal {
    /// How often it was proposed.
    attempts: u32,
    /// Of these, how often the answer was that it has no effect.
    refused: u32,
    /// How often it is in the log.
    found: u32,
    /// Whether somebody was told of its success.
    is_promised: bool,
}

impl Proposals {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// A client is about to propose.
    pub(crate) fn attempt(&mut self, command: &Bytes) {
        self.all.entry(command.clone()).or_default().attempts += 1;
    }

    /// An attempt was refused without effect.
    pub(crate) fn refused(&mut self, shard: ShardId, command: &Bytes) -> Result<(), String> {
        let proposal = self.all.entry(command.clone()).or_default();
        proposal.refused += 1;
        proposal.check(shard)
    }

    /// Somebody was told of its success, without its place.
    pub(crate) fn promised(&mut self, command: &Bytes) {
        self.all.entry(command.clone()).or_default().is_promised = true;
    }

    /// Everything that was promised is in the log.
    pub(crate) fn check_end(&self, shard: ShardId) -> Result<(), String> {
        let lost = self.all.values().filter(|one| one.is_promised && one.found == 0).count();
        if lost == 0 {
            return Ok(());
        }
        Err(format!("shard {shard} lost {lost} commands of which somebody was told of success"))
    }

    /// A command is in the log.
    pub(crate) fn found(
        &mut self,
        shard: ShardId,
        command: &Bytes,
        id: EntryId,
    ) -> Result<(), String> {
        let proposal = self.all.get_mut(command);
        let proposal =
            proposal.ok_or_else(|| format!("shard {shard} applies {id}, which nobody proposed"))?;
        proposal.found += 1;
        proposal.check(shard)
    }
}

impl Proposal {
    /// Refusals and places in the log together are no more than attempts.
    fn check(&self, shard: ShardId) -> Result<(), String> {
        let Self { attempts, refused, found, .. } = self;
        if found + refused <= *attempts {
            return Ok(());
        }
        Err(format!(
            "shard {shard} applied a command {found} times that was proposed {attempts} times, of \
             which {refused} were refused without effect"
        ))
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::{LogIndex, Term};

    use super::*;

    const SHARD: ShardId = ShardId::new(1);

    fn at(index: u64) -> EntryId {
        EntryId::new(Term::new(1), LogIndex::new(index))
    }

    #[test]
    fn a_command_is_applied_no_more_often_than_it_was_proposed_and_not_refused() {
        let command = Bytes::from_static(b"command");
        let mut proposals = Proposals::default();
        assert!(proposals.found(SHARD, &command, at(1)).is_err(), "nobody proposed it");
        proposals.attempt(&command);
        proposals.attempt(&command);
        assert_eq!(proposals.refused(SHARD, &command), Ok(()));
        assert_eq!(proposals.found(SHARD, &command, at(1)), Ok(()));
        assert!(proposals.found(SHARD, &command, at(2)).is_err(), "one attempt was refused");
    }

    #[test]
    fn what_was_promised_must_be_there_in_the_end() {
        let command = Bytes::from_static(b"command");
        let mut proposals = Proposals::default();
        proposals.attempt(&command);
        assert_eq!(proposals.check_end(SHARD), Ok(()));
        proposals.promised(&command);
        assert!(proposals.check_end(SHARD).is_err());
        assert_eq!(proposals.found(SHARD, &command, at(1)), Ok(()));
        assert_eq!(proposals.check_end(SHARD), Ok(()));
    }
}
