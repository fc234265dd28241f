//! The side that is asked: any node of the cluster.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use quipu_consensus::Consensus;
use quipu_runtime::{Clock, Deadline};
use quipu_types::{NodeId, ReplicaId, Retry, ShardId};

use super::question::{Answer, Question};
use crate::calls;
use crate::command::{Command, NodeRebuild, Outcome};
use crate::error::MetadataError;
use crate::handle::Metadata;

/// How long one answer may take; the node that asks waits a little longer.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(8);
/// How long the leader of a shard may take to hear of its majority.
const CONFIRM_WAIT: Duration = Duration::from_secs(3);

/// Answers nodes that ask for other replicas from now on.
pub(crate) fn answer(consensus: &Arc<Consensus>, metadata: &Metadata, clock: &Clock) {
    calls::answer_confirmations(consensus, clock);
    // Consensus keeps the handler.
    let (weak, metadata, clock) = (Arc::downgrade(consensus), metadata.downgrade(), clock.clone());
    let handler = move |from: NodeId, payload: Bytes| {
        let (weak, metadata, clock) = (weak.clone(), metadata.clone(), clock.clone());
        async move {
            let question = Question::decode(&payload).ok_or("the payload is not a question")?;
            let metadata = metadata.upgrade().ok_or("the node is shutting down")?;
            let party = Party { consensus: weak, metadata, clock, from, question };
            Ok(party.answer().await.encode())
        }
    };
    consensus.on_call(calls::REBUILD, Arc::new(handler));
}

/// Who asks whom, and what.
struct Party {
    consensus: Weak<Consensus>,
    metadata: Metadata,
    clock: Clock,
    from: NodeId,
    question: Question,
}

impl Party {
    async fn answer(&self) -> Answer {
        let deadline = Deadline::after(&self.clock, ANSWER_WAIT);
        match self.judge(deadline).await {
            Ok(Some(replica)) => Answer::Granted { replica },
            Ok(None) => Answer::Possible,
            Err(refused) => refused,
        }
    }

    async fn judge(&self, deadline: Deadline) -> Result<Option<ReplicaId>, Answer> {
        // The metadata group itself says; this node may be behind, and is not after its answer.
        self.propose(None, deadline).await?;
        let image = self.metadata.image();
        let held: BTreeSet<ShardId> = image.shards_on(self.from).map(|(shard, _)| shard).collect();
        if !quipu_failpoint::is_planted("plant.rebuild.without-majority") {
            for shard in &held {
                self.confirm(*shard, deadline).await?;
            }
        }
        if !self.question.is_in_earnest {
            return Ok(None);
        }
        quipu_failpoint::hit("metadata.rebuild.grant.before");
        let granted = self.propose(Some(held), deadline).await?;
        quipu_failpoint::hit("metadata.rebuild.grant.after");
        Ok(granted)
    }

    async fn propose(
        &self,
        shards: Option<BTreeSet<ShardId>>,
        deadline: Deadline,
    ) -> Result<Option<ReplicaId>, Answer> {
        let Question { directory, incarnation, .. } = self.question;
        let request = NodeRebuild { node: self.from, directory, incarnation, shards };
        match self.metadata.propose(Command::RebuildNode(request), deadline).await {
            Ok(Outcome::NodeRebuilding { replica }) => Ok(replica),
            Ok(_) => Err(not_now("the metadata group answered another question".to_owned())),
            Err(error) => {
                let is_final = matches!(&error, MetadataError::Refused(refusal)
                    if refusal.retry() == Retry::Never);
                Err(Answer::Refused { why: error.to_string(), is_final })
            }
        }
    }

    /// Has the leader of a shard ask its followers whether they still follow. The node that asks
    /// is silent, so a majority that answers is one without it.
    async fn confirm(&self, shard: ShardId, deadline: Deadline) -> Result<(), Answer> {
        let from = self.from;
        let none = |why: &str| {
            not_now(format!(
                "no majority of shard {shard} is there without node {from} ({why}): start the \
                 other nodes that hold it"
            ))
        };
        let consensus = self.consensus.upgrade().ok_or_else(|| none("this node is stopping"))?;
        let leader = consensus.leader_hint(shard).map(|hint| hint.node);
        let leader = leader.filter(|leader| *leader != from).ok_or_else(|| none("no leader"))?;
        let wait = deadline.earlier(Deadline::after(&self.clock, CONFIRM_WAIT));
        let payload = calls::encode_shard(shard);
        let confirmed = consensus.call(leader, calls::CONFIRM_LEADER, payload, wait).await;
        confirmed.map(drop).map_err(|error| none(&error.to_string()))
    }
}

fn not_now(why: String) -> Answer {
    Answer::Refused { why, is_final: false }
}
