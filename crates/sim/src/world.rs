//! A node and its lives, under one seed.

use std::sync::Arc;

use quipu_disk::Faults;
use quipu_kv::SimTables;
use quipu_runtime::Rng;
use quipu_types::ShardId;

use crate::commands::one_in;
use crate::node::{End, Leaving, Node, Remains};
use crate::plan::{Plan, faults_of_a_life, faults_of_a_start};
use crate::plant::Plant;
use crate::replica::Replica;
use crate::stop::{Step, Stop};
use crate::trace::Trace;

/// Starts that fail in a row, before the next one is left alone.
const FAILED_STARTS_MAX: u32 = 5;

/// A node, through crashes.
pub(crate) struct World {
    rng: Rng,
    plan: Plan,
    trace: Trace,
    plant: Option<Plant>,
    remains: Remains,
    replicas: Vec<Replica>,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace, plant: Option<Plant>) -> Self {
        let mut rng = Rng::seeded(seed);
        let plan = Plan::draw(&mut rng);
        trace.note(format_args!("seed {seed}: {plan:?}"));
        let remains = Remains::new(rng.next_u64());
        let replicas = (1..=plan.shards).map(|shard| Replica::new(ShardId::new(shard))).collect();
        Self { rng, plan, trace, plant, remains, replicas }
    }

    /// Lives all lives, and starts once more at the end.
    pub(crate) fn run(&mut self) -> Step {
        for _ in 0..self.plan.lives {
            let node = self.start()?;
            let lived = self.live(&node);
            self.end(node, lived)?;
        }
        let node = self.start()?;
        self.replicas.iter_mut().for_each(Replica::end);
        drop(node);
        Ok(())
    }

    /// Starts until it works: the power may go on the way, and what one start found the next must
    /// find again.
    fn start(&mut self) -> Step<Node> {
        for attempt in 0.. {
            let faults = match attempt {
                0..FAILED_STARTS_MAX => faults_of_a_start(&mut self.rng),
                _ => Faults::default(),
            };
            self.trace.note(format_args!("start with {faults:?}"));
            self.remains.disk.set_faults(faults);
            match self.try_start() {
                Ok(node) if !node.disk.has_failed() && !one_in(&mut self.rng, 6) => {
                    self.remains.disk.set_faults(Faults::default());
                    return Ok(node);
                }
                Ok(node) => self.crash(Some(node)),
                Err(Stop::Fault) => self.crash(None),
                Err(violation) => return Err(violation),
            }
        }
        unreachable!("a start without faults works or is a violation")
    }

    fn try_start(&mut self) -> Step<Node> {
        let node = Node::open(&self.remains, self.plan, &self.trace, self.plant)?;
        for replica in &mut self.replicas {
            replica.start(&node)?;
        }
        Ok(node)
    }

    /// Does what a node does, until the life is over or a fault strikes.
    fn live(&mut self, node: &Node) -> Step {
        let faults = faults_of_a_life(&mut self.rng);
        self.trace.note(format_args!("live with {faults:?}"));
        self.remains.disk.set_faults(faults);
        for _ in 0..self.rng.below(self.plan.steps_max) {
            let count = u64::try_from(self.replicas.len()).expect("few");
            let which = usize::try_from(self.rng.below(count)).expect("few");
            self.replicas[which].act(node, &mut self.rng)?;
        }
        Ok(())
    }

    /// Ends a life: cleanly, or not.
    fn end(&mut self, node: Node, lived: Step) -> Step {
        match lived {
            Ok(()) if one_in(&mut self.rng, 4) => self.close(node),
            Ok(()) | Err(Stop::Fault) => self.crash(Some(node)),
            Err(violation) => return Err(violation),
        }
        Ok(())
    }

    /// Shuts down as one should; then the power may go.
    fn close(&mut self, node: Node) {
        self.trace.note(format_args!("close"));
        let Node { journal, tables, .. } = node;
        let journal = Arc::into_inner(journal).expect("nobody else holds it");
        if journal.close().is_ok() {
            self.replicas.iter_mut().for_each(Replica::all_is_durable);
        }
        self.leave(&tables);
    }

    /// Kills the process, or cuts the power.
    fn crash(&mut self, node: Option<Node>) {
        let tables =
            node.as_ref().map_or_else(|| self.remains.tables.clone(), |node| node.tables.clone());
        self.leave(&tables);
        // Torn down only now: the disk that is left does not hear of it.
        drop(node);
    }

    fn leave(&mut self, tables: &SimTables) {
        let end = if one_in(&mut self.rng, 3) { End::Kill } else { End::PowerCut };
        let Self { rng, trace, plant, .. } = self;
        let mut leaving = Leaving { rng, trace, plant: *plant };
        self.remains.left(tables, end, &mut leaving);
        self.replicas.iter_mut().for_each(Replica::end);
    }
}
