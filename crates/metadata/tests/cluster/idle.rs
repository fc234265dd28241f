//! A state machine without a state: for groups that only elect.

use std::sync::Arc;

use bytes::Bytes;
use quipu_consensus::{
    AppliedState, Payload, Reply, SnapshotReceiver, SnapshotSource, StateMachine, StateMachineError,
};
use quipu_types::EntryId;

pub(crate) struct Idle;

impl StateMachine for Idle {
    fn applied_state(&self) -> AppliedState {
        AppliedState::default()
    }

    fn apply(&mut self, _: EntryId, _: Payload) -> Result<Reply, StateMachineError> {
        Ok(Reply::default())
    }

    fn end_of_round(&mut self) {}

    fn checkpoint(&mut self, _: AppliedState) -> Result<(), StateMachineError> {
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Arc<dyn SnapshotSource>, StateMachineError> {
        Err(StateMachineError::new("nothing to send"))
    }

    fn receiver(&mut self, _: Bytes) -> Result<Box<dyn SnapshotReceiver>, StateMachineError> {
        Err(StateMachineError::new("nothing to receive"))
    }

    fn install(
        &mut self,
        _: AppliedState,
        _: Box<dyn SnapshotReceiver>,
    ) -> Result<(), StateMachineError> {
        Err(StateMachineError::new("nothing to install"))
    }
}
