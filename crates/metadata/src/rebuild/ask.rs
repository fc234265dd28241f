//! The side that asks: a node that has opened nothing but its identity.

use std::sync::Arc;
use std::time::Duration;

use quipu_consensus::{CallError, Consensus};
use quipu_runtime::{Clock, Deadline};
use quipu_types::{NodeId, ReplicaId};

use super::answer::ANSWER_WAIT;
use super::question::{Answer, Question};
use crate::calls;
use crate::identity::Identity;

/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(250);
/// How long one question may take: longer than its answer, whose sentence would be lost otherwise.
const QUESTION_WAIT: Duration = ANSWER_WAIT.saturating_add(Duration::from_secs(2));
/// How long a node asks: an election is over by then. Who starts it again has it ask again.
const ASK_WAIT: Duration = Duration::from_secs(20);

/// Why a node gets no other replicas.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRebuilt {
    /// Nobody else could feed it.
    #[error("cluster.bootstrap names no other node, so nothing could feed this one")]
    Alone,
    /// The cluster says so.
    #[error("{0}")]
    Refused(String),
    /// Nobody said that it may, in time.
    #[error("no majority of the metadata group answered within {} s: {why}", wait.as_secs())]
    NoAnswer {
        /// What the last node said, or why it said nothing.
        why: String,
        /// How long it was asked.
        wait: Duration,
    },
}

/// A node and whom it asks.
#[derive(Debug)]
pub struct Petition {
    identity: Identity,
    consensus: Arc<Consensus>,
    clock: Clock,
    peers: Vec<NodeId>,
}

impl Petition {
    /// Asks these nodes, over consensus that has no group open.
    ///
    /// # Errors
    /// `Alone` when there is nobody else.
    pub fn new(
        identity: Identity,
        consensus: Arc<Consensus>,
        clock: Clock,
        bootstrap: &[(NodeId, String)],
    ) -> Result<Self, NotRebuilt> {
        let own = identity.node();
        let peers = bootstrap.iter().map(|(node, _)| *node).filter(|node| *node != own);
        let peers: Vec<NodeId> = peers.collect();
        if peers.is_empty() {
            return Err(NotRebuilt::Alone);
        }
        peers.iter().for_each(|peer| consensus.connect_peer(*peer));
        Ok(Self { identity, consensus, clock, peers })
    }

    /// Whether the node could have other replicas. Changes nothing anywhere.
    ///
    /// # Errors
    /// [`NotRebuilt`], whose sentence says why not.
    pub async fn could(&self) -> Result<(), NotRebuilt> {
        self.ask(false).await.map(drop)
    }

    /// Gets other replicas for the node; gives its id in the metadata group.
    ///
    /// # Errors
    /// [`NotRebuilt`]. It may have got them all the same: from now on its old ones must not be
    /// opened.
    pub async fn get(&self) -> Result<ReplicaId, NotRebuilt> {
        let given = self.ask(true).await?;
        given.ok_or_else(|| NotRebuilt::Refused("the answer was to another question".to_owned()))
    }

    async fn ask(&self, is_in_earnest: bool) -> Result<Option<ReplicaId>, NotRebuilt> {
        let until = Deadline::after(&self.clock, ASK_WAIT);
        let mut last = "no other node answered".to_owned();
        loop {
            for peer in &self.peers {
                match self.ask_one(*peer, is_in_earnest).await {
                    Ok(Answer::Possible) => return Ok(None),
                    Ok(Answer::Granted { replica }) => return Ok(Some(replica)),
                    Ok(Answer::Refused { why, is_final: true }) => {
                        return Err(NotRebuilt::Refused(why));
                    }
                    Ok(Answer::Refused { why, is_final: false }) => note(&mut last, why),
                    Err(error) => {
                        tracing::debug!(node = %peer, %error, "no answer");
                        if let Some(why) = self.turned_away() {
                            note(&mut last, why);
                        }
                    }
                }
            }
            if until.is_past(&self.clock) {
                return Err(NotRebuilt::NoAnswer { why: last, wait: ASK_WAIT });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask_one(&self, peer: NodeId, is_in_earnest: bool) -> Result<Answer, CallError> {
        let directory = self.identity.directory();
        let question =
            Question { directory, incarnation: self.identity.incarnation(), is_in_earnest };
        let deadline = Deadline::after(&self.clock, QUESTION_WAIT);
        let call = self.consensus.call(peer, calls::REBUILD, question.encode(), deadline);
        let answer = Answer::decode(&call.await?);
        answer.ok_or_else(|| CallError::Refused("it answers in an unknown form".to_owned()))
    }

    /// Why a node does not want to hear of this one.
    fn turned_away(&self) -> Option<String> {
        let mut peers = self.consensus.peers().into_iter();
        peers.find_map(|peer| Some(format!("node {}: {}", peer.node, peer.rejected_by?)))
    }
}

/// A reason to wait that differs from the last one is told.
fn note(last: &mut String, why: String) {
    if *last != why {
        tracing::warn!(%why, "this node is not rebuilt yet; asking again");
        *last = why;
    }
}
