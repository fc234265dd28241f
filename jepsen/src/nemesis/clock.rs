//! The wall clock jumps. The monotonic clock goes on as it did: it cannot jump.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use quipu_testkit::until;

use super::{Fault, Hit, World};

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;
/// How far clocks jump, there or back.
const JUMPS: [i64; 4] = [3 * MINUTE, 17 * MINUTE, DAY, 365 * DAY];
/// How often a clock goes back and forth, and how long it stays: longer than a process takes to
/// notice.
const STROBES: u64 = 3;
const STROBE: Duration = Duration::from_millis(1_200);
/// How long a process may take to notice.
const BITE_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    One,
    All,
}

/// A jump of wall clocks, taken back at the end.
#[derive(Debug)]
pub(super) struct Clocks {
    whom: Whom,
    is_strobe: bool,
    hit: Vec<u64>,
}

impl Clocks {
    pub(super) const fn one() -> Self {
        Self { whom: Whom::One, is_strobe: false, hit: Vec::new() }
    }

    pub(super) const fn all() -> Self {
        Self { whom: Whom::All, is_strobe: false, hit: Vec::new() }
    }

    pub(super) const fn strobe() -> Self {
        Self { whom: Whom::One, is_strobe: true, hit: Vec::new() }
    }

    async fn set(&self, world: &mut World<'_>, seconds: i64) -> Result<bool> {
        let mut bit = true;
        for node in &self.hit {
            let node = world.cluster.node(*node)?;
            let clock = node.clock()?;
            clock.set(seconds)?;
            let pid = node.pid();
            let bites = until("a clock to be believed", BITE_WAIT, || async {
                let is_wrong = pid.map(|pid| clock.is_wrong_for(pid, seconds)).transpose()?;
                ensure!(is_wrong == Some(true), "not yet");
                Ok(())
            });
            bit &= bites.await.is_ok();
        }
        Ok(bit)
    }
}

impl Fault for Clocks {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            self.hit = match self.whom {
                Whom::One => vec![world.leader()?],
                Whom::All => world.all(),
            };
            let jump = JUMPS[usize::try_from(world.rng.below(4))?];
            let seconds = if world.rng.below(2) == 0 { jump } else { -jump };
            let mut bit = self.set(world, seconds).await?;
            if self.is_strobe {
                for _ in 0..STROBES {
                    for to in [-seconds, seconds] {
                        tokio::time::sleep(STROBE).await;
                        bit &= self.set(world, to).await?;
                    }
                }
            }
            let words = format!("the clocks of {:?} are {seconds:+} s wrong", self.hit);
            Ok(Hit::hindered(&self.hit, bit, words))
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            for node in &self.hit {
                world.cluster.node(*node)?.clock()?.set(0)?;
            }
            Ok(())
        }
        .boxed()
    }
}
