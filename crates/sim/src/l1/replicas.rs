//! Which replica of a shard lives where, through all moves, and what must never be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quipu_metadata::{Image, ShardRecord};
use quipu_types::{EntryId, MetadataVersion, NodeId, ReplicaId, ShardId};
use tokio::sync::watch;

use super::census::Event;
use super::members::Members;
use super::scene::Scene;

/// Entries that a replica may lack when its vote is committed: what a step allows, and what was
/// proposed while it was taken.
const LAG_MAX: u64 = 64 + 64;

/// All shards' replicas. Clones share them.
#[derive(Clone)]
pub(crate) struct Replicas {
    shards: Arc<Mutex<BTreeMap<ShardId, Lives>>>,
    /// The node that was the last to be sent a snapshot for a replica that had nothing.
    fed: watch::Sender<Option<NodeId>>,
    scene: Scene,
}

/// One shard's.
#[derive(Default)]
struct Lives {
    /// Every record it had, as any node showed it.
    records: BTreeMap<MetadataVersion, ShardRecord>,
    /// Where each replica that ever was is.
    places: BTreeMap<ReplicaId, NodeId>,
    /// Whose data each node has.
    residents: BTreeMap<NodeId, ReplicaId>,
    /// Those whose data went.
    evicted: BTreeSet<ReplicaId>,
    /// Entries that each has on its disk.
    reached: BTreeMap<ReplicaId, u64>,
    /// Those that ever had a vote.
    voters: BTreeSet<ReplicaId>,
    /// The last members that were committed.
    members: Option<Members>,
}

impl Replicas {
    pub(crate) fn new(scene: Scene) -> Self {
        Self { shards: Arc::default(), fed: watch::Sender::new(None), scene }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, Lives>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node shows an image.
    pub(crate) fn shown(&self, image: &Image) -> Result<(), String> {
        let mut shards = self.lock();
        for (shard, record) in &image.shards {
            let lives = shards.entry(*shard).or_default();
            let is_done = lives.shown(image.version, record);
            if is_done.map_err(|what| format!("shard {shard}: {what}"))? {
                let event = format_args!("shard {shard} has moved to {:?}", record.replicas);
                self.scene.count(Event::MoveDone, event);
            }
        }
        Ok(())
    }

    /// The newest record that any node showed.
    pub(crate) fn record(&self, shard: ShardId) -> Option<ShardRecord> {
        let shards = self.lock();
        shards.get(&shard)?.records.values().next_back().cloned()
    }

    /// The last members that were committed.
    pub(crate) fn members(&self, shard: ShardId) -> Option<Members> {
        self.lock().get(&shard)?.members.clone()
    }

    /// The log says who the members are from now on.
    pub(crate) fn changed(
        &self,
        shard: ShardId,
        id: EntryId,
        before: Option<&Members>,
        after: &Members,
    ) -> Result<(), String> {
        let mut shards = self.lock();
        let lives = shards.entry(shard).or_default();
        let checked = lives.changed(id, before, after);
        checked.map_err(|what| format!("shard {shard} at {id}: {what}"))?;
        let Some(before) = before else { return Ok(()) };
        for voter in after.new_voters(before) {
            if lives.voters.insert(voter) {
                let event = format_args!("shard {shard} has a new voter {voter}");
                self.scene.count(Event::ReplicaAdded, event);
            }
        }
        for lost in after.lost(before) {
            let event = format_args!("shard {shard} has no replica {lost} any more");
            self.scene.count(Event::ReplicaRemoved, event);
        }
        Ok(())
    }

    /// A replica was chosen to lead, and the log goes on with what it wrote.
    pub(crate) fn check_leader(
        &self,
        shard: ShardId,
        leader: ReplicaId,
        id: EntryId,
    ) -> Result<(), String> {
        let checked = self.lock().get(&shard).map_or(Ok(()), |lives| lives.check_leader(leader));
        checked.map_err(|what| format!("shard {shard} at {id}: {what}"))
    }

    /// A replica begins on a node, or goes on there.
    pub(crate) fn opens(
        &self,
        shard: ShardId,
        replica: ReplicaId,
        node: NodeId,
    ) -> Result<(), String> {
        let mut shards = self.lock();
        let lives = shards.entry(shard).or_default();
        let was_held = lives.evicted.iter().any(|former| lives.places.get(former) == Some(&node));
        let begins = lives.opens(replica, node);
        if begins.map_err(|what| format!("shard {shard}: {what}"))? && was_held {
            let event = format_args!("shard {shard} is on node {node} again, as {replica}");
            self.scene.count(Event::ReplicaReplaced, event);
        }
        Ok(())
    }

    /// Everything that a node has of a shard is about to go, unless it is `keeps`'s. Says whose.
    pub(crate) fn evicts(
        &self,
        shard: ShardId,
        node: NodeId,
        keeps: Option<ReplicaId>,
    ) -> Result<Option<ReplicaId>, String> {
        let mut shards = self.lock();
        let lives = shards.entry(shard).or_default();
        let Some(resident) = lives.residents.get(&node).copied() else { return Ok(None) };
        if keeps == Some(resident) {
            return Ok(None);
        }
        if lives.members.as_ref().is_some_and(|members| members.votes(resident)) {
            return Err(format!("shard {shard}: the data of voter {resident} goes on {node}"));
        }
        lives.residents.remove(&node);
        lives.evicted.insert(resident);
        Ok(Some(resident))
    }

    /// A replica that has nothing begins to receive a snapshot.
    pub(crate) fn is_fed(&self, node: NodeId) {
        self.fed.send_replace(Some(node));
    }

    /// Follows which nodes are fed.
    pub(crate) fn fed(&self) -> watch::Receiver<Option<NodeId>> {
        self.fed.subscribe()
    }

    /// A replica has so many entries on its disk.
    pub(crate) fn reached(&self, shard: ShardId, replica: ReplicaId, entries: u64) {
        let mut shards = self.lock();
        let reached = shards.entry(shard).or_default().reached.entry(replica).or_default();
        *reached = entries.max(*reached);
    }
}

impl Lives {
    /// Says whether a move is done by it.
    fn shown(&mut self, version: MetadataVersion, record: &ShardRecord) -> Result<bool, String> {
        if let Some(known) = self.records.get(&version) {
            return if known == record {
                Ok(false)
            } else {
                Err(format!("two records of {version}: {known:?} and {record:?}"))
            };
        }
        let mut nodes = BTreeSet::new();
        for (replica, node) in record.replicas.iter().chain(&record.leaving) {
            if !nodes.insert(*node) {
                return Err(format!("two replicas on node {node}: {record:?}"));
            }
            self.lives_on(*replica, *node)?;
        }
        let before = self.records.range(..version).next_back();
        let is_done = before.is_some_and(|(_, before)| before.is_moving()) && !record.is_moving();
        self.records.insert(version, record.clone());
        Ok(is_done && self.records.keys().next_back() == Some(&version))
    }

    /// A replica lives on one node for ever.
    fn lives_on(&mut self, replica: ReplicaId, node: NodeId) -> Result<(), String> {
        match *self.places.entry(replica).or_insert(node) {
            known if known == node => Ok(()),
            known => Err(format!("replica {replica} is on node {known} and on node {node}")),
        }
    }

    fn changed(
        &mut self,
        id: EntryId,
        before: Option<&Members>,
        after: &Members,
    ) -> Result<(), String> {
        after.check()?;
        for (replica, node) in after.places() {
            self.lives_on(replica, node)?;
            if self.evicted.contains(&replica) && after.votes(replica) {
                return Err(format!("{replica} votes, and its data is gone: {after:?}"));
            }
            // Whoever is to leave is named until the shard is settled without it, and then no entry
            // that lets it join is under way: the newest record is not too much to ask.
            let record = self.records.values().next_back();
            let is_named = record.is_none_or(|it| it.replica_on(node) == Some(replica));
            if !is_named && before.is_some_and(|before| !before.has(replica)) {
                return Err(format!("{replica} joins, and is not wanted: {record:?}"));
            }
        }
        if let Some(before) = before {
            after.check_follows(before)?;
            for voter in after.new_voters(before) {
                let reached = self.reached.get(&voter).copied().unwrap_or(0);
                if reached == 0 || reached + LAG_MAX < id.index.get() {
                    return Err(format!("{voter} votes, and has {reached} entries"));
                }
            }
        } else {
            self.voters.extend(after.places().map(|(replica, _)| replica));
        }
        self.members = Some(after.clone());
        Ok(())
    }

    /// Whoever leads had a vote once. It need not have one by the last members in the log: one of
    /// whose removal the others do not know for sure may lead to end that change, and counts for
    /// nothing while it does (Raft §4.2.2). That the others chose it shows that it lacks nothing.
    fn check_leader(&self, leader: ReplicaId) -> Result<(), String> {
        let members = &self.members;
        if self.evicted.contains(&leader) {
            return Err(format!("{leader} leads, and its data is gone: {members:?}"));
        }
        if members.is_some() && !self.voters.contains(&leader) {
            return Err(format!("{leader} leads, and never had a vote: {members:?}"));
        }
        Ok(())
    }

    /// Says whether it begins there.
    fn opens(&mut self, replica: ReplicaId, node: NodeId) -> Result<bool, String> {
        self.lives_on(replica, node)?;
        if self.evicted.contains(&replica) {
            return Err(format!("{replica} opens, and its data is gone"));
        }
        match self.residents.insert(node, replica) {
            None => Ok(true),
            Some(resident) if resident == replica => Ok(false),
            Some(resident) => {
                Err(format!("{replica} opens on node {node}, which has {resident}'s data"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quipu_types::{LogIndex, Term};

    use super::super::members::tests::members;
    use super::*;
    use crate::trace::Trace;

    const SHARD: ShardId = ShardId::new(1);
    const FOURTH: ReplicaId = ReplicaId::new(4);

    fn at(index: u64) -> EntryId {
        EntryId { term: Term::new(1), index: LogIndex::new(index) }
    }

    /// Three replicas that vote, and a fourth that follows and has all entries.
    fn four() -> Replicas {
        let replicas = Replicas::new(Scene::new(Trace::silent(), None));
        let three = members(&[&[1, 2, 3]], &[]);
        let followed = members(&[&[1, 2, 3]], &[4]);
        replicas.changed(SHARD, at(0), None, &three).unwrap();
        replicas.changed(SHARD, at(1), Some(&three), &followed).unwrap();
        replicas.opens(SHARD, FOURTH, NodeId::new(4)).unwrap();
        replicas.reached(SHARD, FOURTH, 2);
        replicas
    }

    #[tokio::test]
    async fn who_was_never_given_a_vote_may_not_lead() {
        let replicas = four();
        assert_eq!(replicas.check_leader(SHARD, ReplicaId::new(1), at(2)), Ok(()));
        let refused = replicas.check_leader(SHARD, FOURTH, at(2)).unwrap_err();
        assert!(refused.contains("never had a vote"), "{refused}");
    }

    #[tokio::test]
    async fn who_lost_its_vote_may_lead_until_its_data_is_gone() {
        let replicas = four();
        let steps = [
            members(&[&[1, 2, 3]], &[4]),
            members(&[&[1, 2, 3], &[1, 2, 3, 4]], &[]),
            members(&[&[1, 2, 3, 4]], &[]),
            members(&[&[1, 2, 3, 4], &[1, 2, 3]], &[]),
            members(&[&[1, 2, 3]], &[]),
        ];
        for (index, step) in (2..).zip(steps.windows(2)) {
            replicas.changed(SHARD, at(index), Some(&step[0]), &step[1]).unwrap();
        }
        assert_eq!(replicas.check_leader(SHARD, FOURTH, at(6)), Ok(()));
        replicas.evicts(SHARD, NodeId::new(4), None).unwrap();
        let refused = replicas.check_leader(SHARD, FOURTH, at(7)).unwrap_err();
        assert!(refused.contains("data is gone"), "{refused}");
    }
}
