//! Breaks things, one after another, and mends them later.

use std::sync::Arc;
use std::time::Duration;

use quipu_runtime::Rng;
use quipu_types::NodeId;
use tokio_util::sync::CancellationToken;

use super::census::Event;
use super::ground::Ground;
use super::host::Host;
use super::plan::disk_faults;
use crate::commands::{one_in, pick};
use crate::node::End;

/// How long a cut, a pause or a slow disk lasts, at most.
const LASTS_MS: u64 = 5_000;

/// How long a snapshot is on its way, at most. Unit: milliseconds.
const FED_MS: u64 = 25;

/// What breaks things.
pub(crate) struct Nemesis {
    ground: Ground,
    hosts: Arc<Vec<Host>>,
    rng: Rng,
    stop: CancellationToken,
}

impl Nemesis {
    pub(crate) const fn new(
        ground: Ground,
        hosts: Arc<Vec<Host>>,
        rng: Rng,
        stop: CancellationToken,
    ) -> Self {
        Self { ground, hosts, rng, stop }
    }

    /// Works until told to stop.
    pub(crate) async fn work(mut self) {
        loop {
            let pause = Duration::from_millis(self.rng.below(self.ground.plan.fault_pause_ms));
            let slept = self.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            if slept.is_none() {
                return;
            }
            self.strike();
        }
    }

    /// Strikes nodes while a replica that has nothing is sent a snapshot, until told to stop.
    pub(crate) async fn ambush(mut self) {
        let mut fed = self.ground.replicas.fed();
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            while fed.changed().await.is_ok() {
                let node = *fed.borrow_and_update();
                let victim = self.hosts.iter().find(|host| Some(host.id()) == node).cloned();
                if let Some(victim) = victim.filter(|_| one_in(&mut self.rng, 3)) {
                    let pause = Duration::from_millis(self.rng.below(FED_MS));
                    tokio::time::sleep(pause).await;
                    victim.crash(pick(&mut self.rng, &[End::Kill, End::PowerCut]));
                }
            }
        })
        .await;
    }

    fn strike(&mut self) {
        match self.rng.below(100) {
            0..12 => self.any_host().crash(End::Kill),
            12..20 => self.any_host().crash(End::PowerCut),
            20..24 => self.blackout(),
            24..36 => {
                let faults = disk_faults(&mut self.rng);
                self.any_host().plan_faults(faults);
            }
            36..58 => self.partition(),
            58..68 => self.reset(),
            68..80 => self.pause(),
            80..95 => self.slow_down(),
            _ => self.stop_one(),
        }
    }

    fn any_host(&mut self) -> Host {
        let count = u64::try_from(self.hosts.len()).expect("few");
        self.hosts[usize::try_from(self.rng.below(count)).expect("few")].clone()
    }

    fn leader(&mut self) -> Host {
        let shards: Vec<_> = self.ground.shards().collect();
        let shard = pick(&mut self.rng, &shards);
        let leads = |host: &&Host| {
            host.hosted(shard).is_some_and(|hosted| hosted.group.leadership().is_some())
        };
        let found = self.hosts.iter().find(leads).cloned();
        found.unwrap_or_else(|| self.any_host())
    }

    /// Somebody, more often than not a leader.
    fn victim(&mut self) -> Host {
        if one_in(&mut self.rng, 3) { self.any_host() } else { self.leader() }
    }

    fn blackout(&mut self) {
        self.ground.scene.count(Event::Blackout, format_args!("the power goes everywhere"));
        self.hosts.iter().for_each(|host| host.crash(End::PowerCut));
    }

    fn reset(&mut self) {
        let (one, other) = (self.any_host().id(), self.any_host().id());
        self.ground.net.reset(one, other);
    }

    /// Cuts some nodes off, in one direction or both.
    fn partition(&mut self) {
        let first = self.victim().id();
        let side: Vec<NodeId> =
            self.ground.nodes().filter(|node| *node == first || one_in(&mut self.rng, 4)).collect();
        let others: Vec<NodeId> = self.ground.nodes().filter(|node| !side.contains(node)).collect();
        let (leaves, enters) = pick(&mut self.rng, &[(true, true), (true, false), (false, true)]);
        let mut cuts = Vec::new();
        for (one, other) in
            side.iter().flat_map(|one| others.iter().map(move |other| (*one, *other)))
        {
            cuts.extend(leaves.then_some((one, other)));
            cuts.extend(enters.then_some((other, one)));
        }
        let event = format_args!("nothing passes {cuts:?}");
        self.ground.scene.count(Event::Partitioned, event);
        self.cut_for_a_while(cuts);
    }

    fn cut_for_a_while(&mut self, cuts: Vec<(NodeId, NodeId)>) {
        let net = self.ground.net.clone();
        cuts.iter().for_each(|(from, to)| net.cut(*from, *to));
        self.later(move || cuts.iter().for_each(|(from, to)| net.mend(*from, *to)));
    }

    /// Does something after a while, or as soon as all is to be mended.
    fn later(&mut self, mend: impl FnOnce() + Send + 'static) {
        let pause = Duration::from_millis(self.rng.below(LASTS_MS));
        let stop = self.stop.clone();
        self.ground.spawn("mend", async move {
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            mend();
        });
    }

    /// A node that stands still: nothing comes, nothing goes, nothing is flushed.
    fn pause(&mut self) {
        let host = self.victim();
        let own = host.id();
        self.ground.scene.count(Event::Paused, format_args!("node {own} stands still"));
        let others = self.ground.nodes().filter(|node| *node != own);
        let cuts: Vec<_> = others.flat_map(|other| [(own, other), (other, own)]).collect();
        let net = self.ground.net.clone();
        cuts.iter().for_each(|(from, to)| net.cut(*from, *to));
        host.pace.hold();
        self.later(move || {
            host.pace.release();
            cuts.iter().for_each(|(from, to)| net.mend(*from, *to));
        });
    }

    /// A disk that takes long, and mostly a crash before it is done.
    fn slow_down(&mut self) {
        let host = self.victim();
        self.ground.scene.count(Event::Slowed, format_args!("node {} is slow", host.id()));
        host.pace.slow(true);
        let crashes = !one_in(&mut self.rng, 3);
        let stop = self.stop.clone();
        self.later(move || {
            host.pace.slow(false);
            if crashes && !stop.is_cancelled() {
                host.crash(End::PowerCut);
            }
        });
    }

    fn stop_one(&mut self) {
        let host = self.any_host();
        self.ground.spawn("stop", async move { host.stop().await });
    }
}
