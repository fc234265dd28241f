//! What an operator may set, and what openraft is told.

use std::sync::Arc;
use std::time::Duration;

use openraft::{SnapshotPolicy, StepDownPolicy};

/// Settings of consensus, alike on all nodes.
#[derive(Clone, Debug)]
pub struct Config {
    /// How often a leader speaks up. Default 300 ms: a dead node is
    /// noticed by its connections, and idle nodes should be idle. Well below `election_timeout_min`.
    pub heartbeat_interval: Duration,
    /// The least a follower waits for its leader. Default 1 s: several heartbeats, and above
    /// the stalls of a busy disk.
    pub election_timeout_min: Duration,
    /// The most a follower waits, and how long a leader is trusted without a sign. Default
    /// 2 s.
    pub election_timeout_max: Duration,
    /// A node unheard of for so long counts as dead, even though its connections stand. Default
    /// 2 s.
    pub silence_max: Duration,
    /// Whether voters campaign as soon as a leader's node is known to be dead, instead of waiting
    /// for their timers. Default true.
    pub is_failover_fast: bool,
    /// After a leader's node died, the n-th live voter waits n times this before it campaigns, so
    /// that votes do not split. Default 100 ms.
    pub rank_delay: Duration,
    /// How long the oldest unanswered append may take before its session starts anew. Default 2 s.
    pub append_timeout: Duration,
    /// How long to wait for a connection. Default 1 s.
    pub connect_timeout: Duration,
    /// First pause between attempts to connect; doubles, with jitter. Default 50 ms.
    pub reconnect_min: Duration,
    /// Longest pause between attempts to connect. Default 1 s.
    pub reconnect_max: Duration,
    /// Entries a checkpoint leaves in the journal for followers that lag a little. Default 4,096.
    pub entries_kept: u64,
    /// Bytes it leaves at most, whatever `entries_kept` says; never fewer than 256 entries.
    /// Default 64 MiB.
    pub bytes_kept: u64,
    /// Bytes that copies for other nodes may take in a second, all together: snapshots, partitions
    /// that move, the log for replicas without a vote. Default 100 MiB.
    pub catch_up_rate: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(300),
            election_timeout_min: Duration::from_secs(1),
            election_timeout_max: Duration::from_secs(2),
            silence_max: Duration::from_secs(2),
            is_failover_fast: true,
            rank_delay: Duration::from_millis(100),
            append_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            reconnect_min: Duration::from_millis(50),
            reconnect_max: Duration::from_secs(1),
            entries_kept: 4_096,
            bytes_kept: 64 << 20,
            catch_up_rate: 100 << 20,
        }
    }
}

impl Config {
    /// Checks that the settings fit together.
    ///
    /// # Errors
    /// A sentence about the first that does not.
    pub fn validate(&self) -> Result<(), String> {
        self.raft().map(drop)
    }

    /// A stream between nodes that brings nothing for so long, not even a beat, is given up: a
    /// length damaged on the way has it wait for bytes that never come.
    pub(crate) fn stall_max(&self) -> Duration {
        self.silence_max * 4
    }

    /// openraft's settings, each with its reason.
    pub(crate) fn raft(&self) -> Result<Arc<openraft::Config>, String> {
        let election_timeout_max = millis(self.election_timeout_max);
        let config = openraft::Config {
            cluster_name: "quipu".to_owned(),
            heartbeat_interval: millis(self.heartbeat_interval),
            election_timeout_min: millis(self.election_timeout_min),
            election_timeout_max,
            // Counted in entries only; the log reader bounds the bytes.
            max_payload_entries: 256,
            // Checkpoints are ours: see `Group::checkpoint`.
            snapshot_policy: SnapshotPolicy::Never,
            // Purging is ours too: never by itself.
            max_in_snapshot_log_to_keep: u64::MAX,
            purge_batch_size: 1,
            // Bounds; tokio allocates lazily. Far above `BUNDLES_IN_FLIGHT_MAX`.
            api_channel_size: Some(4_096),
            notification_channel_size: Some(4_096),
            state_machine_channel_size: Some(1_024),
            // Waiting for company is done in the bundler, not inside Raft.
            api_batch_linger_ms: 0,
            log_stage_capacity: Some(1),
            removed_leader_step_down: StepDownPolicy::Never,
            // Frees a leader that followers still hear but that cannot reach a quorum.
            quorum_loss_probe_interval: Some(2 * election_timeout_max + 1),
            enable_pre_vote: Some(true),
            // A follower whose disk lost what it had flushed gets it again, at once: until then the
            // entries are on fewer disks than was promised. The network reports it as an error.
            allow_log_reversion: Some(true),
            // Mandatory: a leader that lost its unflushed tail must not resume its term, or
            // it gives acknowledged entries' places to others.
            enable_leader_restore: Some(quipu_failpoint::is_planted("plant.leader.restored")),
            ..openraft::Config::default()
        };
        config.validate().map(Arc::new).map_err(|error| error.to_string())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when someone takes the line out: with the default, acknowledged writes are lost.
    #[test]
    fn a_restarted_leader_never_resumes_its_term() {
        let raft = Config::default().raft().expect("the defaults are valid");
        assert_eq!(raft.enable_leader_restore, Some(false));
        assert_eq!(raft.allow_log_reversion, Some(true), "one bad disk must not stop its leader");
        assert_eq!(raft.enable_pre_vote, Some(true));
        assert_eq!(raft.snapshot_policy, SnapshotPolicy::Never);
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let config = Config { heartbeat_interval: Duration::from_secs(5), ..Config::default() };
        assert!(config.validate().is_err());
    }
}
