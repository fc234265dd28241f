//! A register: it holds what was written last.

use super::Model;

/// A register without value at first.
#[derive(Clone, Copy, Debug)]
pub struct Register;

/// A call with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterCall {
    /// Writes a value.
    Write(u64),
    /// Reads; none: nothing was written.
    Read(Option<u64>),
}

impl Model for Register {
    type State = Option<u64>;
    type Call = RegisterCall;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(&self, state: &Self::State, call: &RegisterCall) -> Option<Self::State> {
        match call {
            RegisterCall::Write(value) => Some(Some(*value)),
            RegisterCall::Read(value) => (value == state).then_some(*state),
        }
    }
}
