//! A broker that serves nobody: the door for simulators.

use crate::host;
use crate::{Broker, BrokerEnv};

/// Starts what opens, moves and closes the replicas that the image names, and nothing else: nothing
/// is proposed to a shard but changes of its members.
#[must_use]
pub fn start_moving(env: BrokerEnv) -> Broker {
    Broker::start_with(env, host::members_only)
}
