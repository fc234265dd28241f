//! Killing servers while records flow, one after the other, each back before the next dies.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::cluster::{Cluster, NODES};
use crate::outcome::Outcome;

/// A dead server stays so long: longer than any system here needs to choose another leader.
const DEAD_FOR: Duration = Duration::from_secs(15);
/// And this is what it gets to catch up before another dies.
const BACK_FOR: Duration = Duration::from_secs(15);

/// Seconds that so many kills take.
pub(crate) fn seconds(kills: u32) -> u64 {
    u64::from(kills) * (DEAD_FOR + BACK_FOR).as_secs()
}

/// What is done when.
#[derive(Debug)]
pub(crate) struct Nemesis {
    left: u32,
    next: Instant,
    node: usize,
    is_dead: bool,
    /// Milliseconds since 1970 of each kill.
    pub(crate) kills: Vec<u64>,
}

impl Nemesis {
    pub(crate) fn new(kills: u32, first_after: Duration) -> Self {
        let next = Instant::now() + first_after;
        Self { left: kills, next, node: 0, is_dead: false, kills: Vec::new() }
    }

    /// Does what is due.
    pub(crate) fn act(&mut self, cluster: &mut Cluster) -> Result<()> {
        if Instant::now() < self.next {
            return Ok(());
        }
        if self.is_dead {
            cluster.servers[self.node].start()?;
            self.is_dead = false;
            self.node = (self.node + 1) % NODES;
            self.next = Instant::now() + BACK_FOR;
        } else if self.left > 0 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            self.kills.push(u64::try_from(now.as_millis())?);
            cluster.servers[self.node].kill()?;
            self.left -= 1;
            self.is_dead = true;
            self.next = Instant::now() + DEAD_FOR;
        }
        Ok(())
    }
}

/// The longest pause of each partition that a kill caused, in milliseconds: from the last
/// acknowledgement before to the first after. Partitions that never paused for 50 ms are left out:
/// they were led by others.
pub(crate) fn pauses(outcome: &Outcome, kills: &[u64]) -> Vec<f64> {
    let mut pauses = Vec::new();
    for kill in kills {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run fit a float")]
        let at = kill.saturating_sub(outcome.started_unix_ms) as f64;
        let until = at + DEAD_FOR.as_secs_f64() * 1e3;
        let mut longest = std::collections::BTreeMap::<u32, f64>::new();
        for gap in &outcome.gaps {
            if gap.from_ms + gap.ms >= at && gap.from_ms <= until {
                let pause = longest.entry(gap.partition).or_default();
                *pause = pause.max(gap.ms);
            }
        }
        pauses.extend(longest.into_values());
    }
    pauses.sort_by(f64::total_cmp);
    pauses
}
