//! Checkpoints, and the journal behind them.

use std::sync::{Arc, Mutex, PoisonError};

use quipu_consensus::{AppliedState, StateMachine};

use super::{Point, Replica};
use crate::journal_model::Record;
use crate::node::Node;
use crate::plant::Plant;
use crate::stop::{Step, Stop};

impl Replica {
    /// Makes everything applied durable: the journal up to there first.
    pub(super) fn checkpoint(&mut self, node: &Node) -> Step {
        let running = self.running.as_mut().expect("a replica that runs");
        if running.applied == 0 {
            return Ok(());
        }
        if let Some(job) = running.shard.machine.prepare_checkpoint() {
            job().map_err(|error| node.stop(error))?;
        }
        if !node.has(Plant::CheckpointAheadOfJournal) {
            self.wait_for_journal(node)?;
        }
        let applied = self.running.as_ref().map_or(0, |running| running.applied);
        let state = self.cluster.applied_state(applied);
        node.trace.note(format_args!("shard {} checkpoints {applied} entries", self.shard));
        self.try_point(node, state, false, |running, state| {
            running.shard.machine.checkpoint(state)
        })?;
        self.compare(node)
    }

    /// Does what makes a checkpoint; until it is done, a crash may leave either.
    pub(super) fn try_point<E: ToString>(
        &mut self,
        node: &Node,
        state: AppliedState,
        is_installed: bool,
        make: impl FnOnce(&mut super::Running, AppliedState) -> Result<(), E>,
    ) -> Step {
        let point = Point { state: state.clone(), is_installed };
        self.points.push(point.clone());
        let running = self.running.as_mut().expect("a replica that runs");
        make(running, state).map_err(|error| node.stop(error.to_string()))?;
        node.disk.flush_put_off().map_err(|error| node.stop(error))?;
        self.points = vec![point];
        Ok(())
    }

    /// Returns once everything handed to the journal is durable.
    pub(super) fn wait_for_journal(&mut self, node: &Node) -> Step {
        let running = self.running.as_ref().expect("a replica that runs");
        let heard = Arc::new(Mutex::new(None));
        let answer = Arc::clone(&heard);
        running.journal.barrier(Box::new(move |result| {
            *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }));
        node.step_journal()?;
        match heard.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(node.stop(error)),
            None => Err(Stop::violation("the journal did not answer a barrier")),
        }
    }

    /// Drops entries behind the checkpoint.
    pub(super) fn purge(&mut self, node: &Node) {
        let running = self.running.as_ref().expect("a replica that runs");
        let upto = if node.has(Plant::PurgeBeforeCheckpoint) {
            self.cluster.applied_state(running.applied).applied
        } else {
            self.points[0].state.applied
        };
        if let Some(upto) = upto.filter(|_| running.journal.state().purged < upto) {
            node.trace.note(format_args!("shard {} purges to {upto}", self.shard));
            self.calls.record(Record::Purge(upto));
            running.journal.purge(upto);
        }
    }
}
