//! What every handler gets.

use std::time::Duration;

use quipu_broker::Broker;
use quipu_runtime::{Deadline, TaskGroup};

use super::memory::RequestMemory;
use crate::config::{CALL_TIMEOUT_DEFAULT, CALL_TIMEOUT_MAX};

/// Shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) broker: Broker,
    pub(crate) memory: RequestMemory,
    pub(crate) tasks: TaskGroup,
}

impl Context {
    /// The deadline of a call that asks for `timeout_ms`; 0 means the default.
    pub(crate) fn deadline(&self, timeout_ms: u32) -> Deadline {
        Deadline::after(self.broker.clock(), call_timeout(timeout_ms))
    }
}

fn call_timeout(timeout_ms: u32) -> Duration {
    match timeout_ms {
        0 => CALL_TIMEOUT_DEFAULT,
        ms => Duration::from_millis(u64::from(ms)).min(CALL_TIMEOUT_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_a_timeout_gets_one_and_a_long_one_is_cut() {
        assert_eq!(call_timeout(0), CALL_TIMEOUT_DEFAULT);
        assert_eq!(call_timeout(1), Duration::from_millis(1));
        assert_eq!(call_timeout(u32::MAX), CALL_TIMEOUT_MAX);
    }
}
