//! Finds the cluster of a fresh node, or finds that it is to form one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quipu_consensus::PeerIdentity;
use quipu_runtime::Deadline;
use quipu_types::{ClusterId, NodeId};
use uuid::Uuid;

use super::error::BootstrapError;
use super::status::Status;
use super::{Node, is_nil};
use crate::calls;
use crate::identity::Founder;
use crate::refusal::Refusal;

/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one question may take.
const QUESTION_WAIT: Duration = Duration::from_secs(1);

/// What the answers add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// There is a cluster: join it.
    Join(ClusterId, Vec<Founder>),
    /// Everybody is fresh and agrees: this node forms the cluster with these.
    Form(Vec<Founder>),
    /// Somebody else forms it, or somebody has not answered.
    Wait,
}

impl Node {
    /// Asks around until there is a cluster to belong to.
    pub(super) async fn discover(&mut self) -> Result<(ClusterId, Vec<Founder>), BootstrapError> {
        loop {
            let answers = self.ask().await;
            let own = self.identity.peer_identity();
            match judge(&own, &self.settings.bootstrap, &answers)? {
                Verdict::Join(cluster, founders) => return Ok((cluster, founders)),
                Verdict::Form(founders) => {
                    let cluster = ClusterId::new(Uuid::new_v4());
                    tracing::info!(%cluster, nodes = founders.len(), "forming a cluster");
                    return Ok((cluster, founders));
                }
                Verdict::Wait => {}
            }
            self.check_rejections()?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One question to each other node of the list.
    async fn ask(&self) -> BTreeMap<NodeId, Status> {
        let own = self.identity.node();
        let mut answers = BTreeMap::new();
        for (node, _) in self.settings.bootstrap.iter().filter(|(node, _)| *node != own) {
            let deadline = Deadline::after(&self.clock, QUESTION_WAIT);
            let question =
                self.consensus.call(*node, calls::BOOTSTRAP_STATUS, Bytes::new(), deadline);
            match question.await {
                Ok(bytes) => answers.extend(Status::decode(&bytes).map(|status| (*node, status))),
                Err(error) => tracing::debug!(%node, %error, "no answer yet"),
            }
        }
        answers
    }
}

/// The decision, apart from the asking.
fn judge(
    own: &PeerIdentity,
    list: &[(NodeId, String)],
    answers: &BTreeMap<NodeId, Status>,
) -> Result<Verdict, BootstrapError> {
    let mut members = answers.iter().filter(|(_, status)| !is_nil(status.cluster));
    if let Some((first, status)) = members.next() {
        if let Some((second, other)) = members.find(|(_, other)| other.cluster != status.cluster) {
            return Err(BootstrapError::ClustersDiffer {
                first: *first,
                first_cluster: status.cluster,
                second: *second,
                second_cluster: other.cluster,
            });
        }
        // Everybody's word counts: one may know of this node what another does not know yet.
        for status in answers.values() {
            refuse_wiped(own, status)?;
        }
        return Ok(Verdict::Join(status.cluster, status.founders.clone()));
    }
    let ours = sorted(list);
    let differs = answers.iter().find(|(_, status)| sorted(&status.bootstrap) != ours);
    if let Some((node, status)) = differs {
        return Err(BootstrapError::ListsDiffer {
            node: *node,
            ours: shown(&ours),
            theirs: shown(&sorted(&status.bootstrap)),
        });
    }
    let alone = vec![(own.node, String::new())];
    let list = if list.is_empty() { &alone } else { list };
    let is_first = list.iter().map(|(node, _)| *node).min() == Some(own.node);
    let founder = |node: NodeId| {
        let directory = match node == own.node {
            true => Some(own.directory),
            false => answers.get(&node).map(|status| status.directory),
        };
        directory.map(|directory| Founder { node, directory })
    };
    let founders: Option<Vec<Founder>> =
        sorted(list).iter().map(|(node, _)| founder(*node)).collect();
    Ok(match founders.filter(|_| is_first) {
        Some(founders) => Verdict::Form(founders),
        None => Verdict::Wait,
    })
}

/// This node is fresh. If others know it with another directory, it has forgotten what it
/// promised.
fn refuse_wiped(own: &PeerIdentity, status: &Status) -> Result<(), Refusal> {
    let founder = status.founders.iter().find(|founder| founder.node == own.node);
    let known = status.caller.or_else(|| founder.map(|founder| founder.directory));
    match known.filter(|known| *known != own.directory) {
        Some(known) => Err(Refusal::NodeIdTaken { node: own.node, known, given: own.directory }),
        None => Ok(()),
    }
}

fn sorted(list: &[(NodeId, String)]) -> Vec<(NodeId, String)> {
    let mut list = list.to_vec();
    list.sort();
    list.dedup();
    list
}

fn shown(list: &[(NodeId, String)]) -> String {
    let entries: Vec<String> =
        list.iter().map(|(node, address)| format!("{node}@{address}")).collect();
    format!("[{}]", entries.join(", "))
}

#[cfg(test)]
mod tests {
    use quipu_types::{DirectoryId, Incarnation, StartHistory};

    use super::*;

    fn directory(of: u64) -> DirectoryId {
        DirectoryId::from_bytes([u8::try_from(of).expect("small"); 16])
    }

    fn cluster(id: u8) -> ClusterId {
        ClusterId::from_bytes([id; 16])
    }

    fn list(nodes: &[u64]) -> Vec<(NodeId, String)> {
        nodes.iter().map(|node| (NodeId::new(*node), format!("host-{node}:9292"))).collect()
    }

    fn founders(nodes: &[u64]) -> Vec<Founder> {
        let founder =
            |node: &u64| Founder { node: NodeId::new(*node), directory: directory(*node) };
        nodes.iter().map(founder).collect()
    }

    fn fresh(node: u64) -> (NodeId, Status) {
        let status = Status {
            cluster: ClusterId::default(),
            directory: directory(node),
            founders: Vec::new(),
            caller: None,
            bootstrap: list(&[1, 2, 3]),
        };
        (NodeId::new(node), status)
    }

    fn member(node: u64) -> (NodeId, Status) {
        let (id, status) = fresh(node);
        (id, Status { cluster: cluster(9), founders: founders(&[1, 2, 3]), ..status })
    }

    fn judged(own: u64, answers: &[(NodeId, Status)]) -> Result<Verdict, String> {
        judged_with(own, directory(own), &list(&[1, 2, 3]), answers)
    }

    fn judged_with(
        own: u64,
        directory: DirectoryId,
        list: &[(NodeId, String)],
        answers: &[(NodeId, Status)],
    ) -> Result<Verdict, String> {
        let own = PeerIdentity {
            cluster: ClusterId::default(),
            node: NodeId::new(own),
            directory,
            incarnation: Incarnation::new(1),
            starts: StartHistory::default(),
        };
        let answers = answers.iter().cloned().collect();
        judge(&own, list, &answers).map_err(|error| error.to_string())
    }

    #[test]
    fn the_lowest_forms_once_all_have_answered_and_the_others_wait() {
        let formed = Ok(Verdict::Form(founders(&[1, 2, 3])));
        assert_eq!(judged(1, &[fresh(2), fresh(3)]), formed);
        assert_eq!(judged(1, &[fresh(2)]), Ok(Verdict::Wait), "node 3 has not answered");
        assert_eq!(judged(1, &[]), Ok(Verdict::Wait));
        assert_eq!(judged(2, &[fresh(1), fresh(3)]), Ok(Verdict::Wait));
    }

    #[test]
    fn a_node_alone_forms_at_once() {
        for list in [list(&[]), list(&[5])] {
            let verdict = judged_with(5, directory(5), &list, &[]);
            assert_eq!(verdict, Ok(Verdict::Form(founders(&[5]))));
        }
    }

    #[test]
    fn a_cluster_that_exists_is_joined_even_by_the_lowest_and_by_new_nodes() {
        let joined = Ok(Verdict::Join(cluster(9), founders(&[1, 2, 3])));
        assert_eq!(judged(1, &[member(2), fresh(3)]), joined);
        assert_eq!(judged(2, &[member(1)]), joined);
        assert_eq!(judged(4, &[member(1), member(2), member(3)]), joined);
        assert_eq!(judged(4, &[fresh(1), fresh(2), fresh(3)]), Ok(Verdict::Wait), "not its list");
    }

    #[test]
    fn a_wiped_node_is_told_so() {
        let refused = judged_with(2, directory(7), &list(&[1, 2, 3]), &[member(1)]).unwrap_err();
        assert!(refused.contains("node 2 is known") && refused.contains("was wiped"), "{refused}");
        let (node, status) = member(3);
        let knows = (node, Status { caller: Some(directory(8)), ..status });
        let refused = judged(4, &[member(1), knows]).unwrap_err();
        assert!(refused.contains("node 4 is known"), "{refused}");
    }

    #[test]
    fn lists_and_clusters_that_differ_are_named() {
        let (node, status) = fresh(3);
        let other = (node, Status { bootstrap: list(&[2, 3]), ..status });
        assert_eq!(
            judged(1, &[fresh(2), other]).unwrap_err(),
            "cluster.bootstrap differs: here it is [1@host-1:9292, 2@host-2:9292, \
             3@host-3:9292], on node 3 it is [2@host-2:9292, 3@host-3:9292]: make it the same on \
             all nodes"
        );
        let (node, status) = member(3);
        let other = (node, Status { cluster: cluster(8), ..status });
        let refused = judged(1, &[member(2), other]).unwrap_err();
        assert!(refused.contains("node 2 belongs to cluster 0909"), "{refused}");
        let (node, mut status) = fresh(2);
        status.bootstrap.reverse();
        assert_eq!(judged(1, &[(node, status), fresh(3)]), Ok(Verdict::Form(founders(&[1, 2, 3]))));
    }
}
