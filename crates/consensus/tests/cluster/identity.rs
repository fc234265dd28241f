//! Strangers are turned away, and both sides know why.

use std::sync::Arc;

use quipu_consensus::{Config, Hello, HelloPolicy, PeerIdentity, Rejection};
use quipu_types::{ClusterId, NodeId};

use crate::cluster::{Cluster, until};
use crate::node::Node;

fn rejected(node: &Node, of: NodeId) -> Option<String> {
    let statuses = node.consensus.peers();
    statuses.into_iter().find(|status| status.node == of)?.rejected_by
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_is_turned_away() {
    let mut cluster = Cluster::plan(Config::default());
    cluster.plan_of(2).cluster = ClusterId::from_bytes([2; 16]);
    let one = Node::start(cluster.plan_of(1).clone()).await;
    let two = Node::start(cluster.plan_of(2).clone()).await;
    two.consensus.connect_peer(one.id());
    let why = until("a rejection", || rejected(&two, one.id())).await;
    assert!(why.starts_with("WRONG_CLUSTER"), "{why}");
    assert!(!two.consensus.is_alive(one.id()));
    assert!(!one.consensus.is_alive(two.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_at_anothers_address_is_not_taken_for_it() {
    let mut cluster = Cluster::plan(Config::default());
    let one = Node::start(cluster.plan_of(1).clone()).await;
    let two = Node::start(cluster.plan_of(2).clone()).await;
    let plan = cluster.plan_of(1).clone();
    let address = quipu_consensus::AddressBook::address(plan.addresses.as_ref(), two.id()).unwrap();
    plan.addresses.set(NodeId::new(3), address.parse().unwrap());
    one.consensus.connect_peer(NodeId::new(3));
    let why = until("a rejection", || rejected(&one, NodeId::new(3))).await;
    assert!(why.starts_with("WRONG_NODE"), "{why}");
    assert!(!one.consensus.is_alive(NodeId::new(3)));
}

struct Open;

impl HelloPolicy for Open {
    fn check(&self, _: &PeerIdentity, _: &Hello) -> Result<(), Rejection> {
        Ok(())
    }
}

/// A node that belongs to no cluster yet is met only where the policy says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_cluster_waits_for_a_policy_that_takes_it() {
    let mut cluster = Cluster::plan(Config::default());
    cluster.plan_of(2).cluster = ClusterId::from_bytes([0; 16]);
    let one = Node::start(cluster.plan_of(1).clone()).await;
    let two = Node::start(cluster.plan_of(2).clone()).await;
    two.consensus.connect_peer(one.id());
    let why = until("a rejection", || rejected(&two, one.id())).await;
    assert!(why.starts_with("WRONG_CLUSTER"), "{why}");
    one.consensus.set_hello_policy(Arc::new(Open));
    two.consensus.set_hello_policy(Arc::new(Open));
    until("they meet", || two.consensus.is_alive(one.id()).then_some(())).await;
    until("the rejection is forgotten", || rejected(&two, one.id()).is_none().then_some(())).await;
    two.consensus.adopt_cluster(ClusterId::from_bytes([1; 16]));
    assert_eq!(two.consensus.identity().cluster, ClusterId::from_bytes([1; 16]));
}
