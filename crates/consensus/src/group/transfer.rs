//! Handing leadership over.

use quipu_types::ReplicaId;

use super::Group;
use crate::error::TransferError;
use crate::status::Role;

/// Entries a successor may have to catch up on while nobody writes.
const TRANSFER_LAG_MAX: u64 = 64;

impl Group {
    /// Hands leadership to another voter, which must be alive and nearly caught up. Writes are
    /// refused meanwhile (`NotLeader`, without effect).
    ///
    /// # Errors
    /// `NotTaken` when the successor did not appear in time; an election then decides.
    pub async fn transfer_leadership(&self, to: ReplicaId) -> Result<(), TransferError> {
        if to == self.inner.replica && self.leadership().is_some() {
            return Ok(());
        }
        self.may_succeed(to)?;
        let trigger = self.inner.raft.trigger();
        trigger.transfer_leader(to.get()).await.map_err(|_| TransferError::Stopped)?;
        let mut status = self.status();
        let taken = status.wait_for(|status| {
            status.leader.is_some_and(|(leader, _)| leader == to) || status.role == Role::Stopped
        });
        let patience = self.inner.config.election_timeout_max * 2;
        match tokio::time::timeout(patience, taken).await {
            Ok(Ok(status)) if status.role != Role::Stopped => Ok(()),
            Ok(_) => Err(TransferError::Stopped),
            Err(_) => Err(TransferError::NotTaken(to)),
        }
    }

    fn may_succeed(&self, to: ReplicaId) -> Result<(), TransferError> {
        if self.leadership().is_none() {
            return Err(TransferError::NotLeader { leader: self.other_leader() });
        }
        let members = self.members();
        let member = members.iter().find(|member| member.replica == to && member.is_voter);
        let member = member.ok_or(TransferError::NotVoter(to))?;
        if !self.inner.peers.is_alive(member.node) {
            return Err(TransferError::NotAlive(to));
        }
        let last = self.positions().last.map_or(0, |last| last.index.get() + 1);
        let matched = self.replication().into_iter().find(|(replica, _, _)| *replica == to);
        let matched = matched.and_then(|(_, _, matched)| matched).map_or(0, |at| at.get() + 1);
        let entries = last.saturating_sub(matched);
        if entries > TRANSFER_LAG_MAX {
            return Err(TransferError::Behind { replica: to, entries });
        }
        Ok(())
    }
}
