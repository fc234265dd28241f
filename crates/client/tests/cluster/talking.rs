//! Connecting, looking up, administering.

use quipu_client::{Client, Error, ErrorCode, NewRecord, NewTopic, NodeId, OffsetAt, ShardId};
use tokio::net::TcpListener;

use crate::fake::Cluster;

/// An address where nobody listens.
async fn closed_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let cluster = Cluster::start(1, 1).await;
    let servers = format!("quipu://{},{}", closed_address().await, cluster.address(1));
    let client = Client::connect(&servers).await.unwrap();
    client.publish(NewRecord::new("fees", "0")).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_fails_names_every_address_and_why() {
    let (first, second) = (closed_address().await, closed_address().await);
    let error = Client::connect(&format!("{first},{second}")).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&first) && text.contains(&second), "{text}");
    assert!(text.to_lowercase().contains("refused"), "{text}");
    assert!(matches!(error, Error::Connect(_)));
    assert!(error.is_unavailable());

    let error = Client::connect("kafka://a:1").await.unwrap_err();
    assert!(error.to_string().contains("scheme \"kafka\" is unknown"), "{error}");
}

#[tokio::test]
async fn an_unknown_topic_is_an_error_of_the_call_that_named_it() {
    let cluster = Cluster::start(2, 1).await;
    let client = cluster.client().await;
    let error = client.publish(NewRecord::new("nothing", "0")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    let error = client.reader("nothing").open().await.unwrap_err();
    assert!(error.is_not_found());
    let error = client.admin().describe_topic("nothing").await.unwrap_err();
    assert!(error.is_not_found());
}

#[tokio::test]
async fn a_topic_is_found_if_any_node_knows_it() {
    let cluster = Cluster::start(3, 1).await;
    cluster.lock().ignorant = vec![1, 3];
    let client = cluster.client().await;
    client.publish(NewRecord::new("fees", "0")).await.unwrap();
}

#[tokio::test]
async fn a_topic_can_be_used_as_soon_as_it_was_created() {
    let cluster = Cluster::start(2, 1).await;
    let client = cluster.client().await;
    cluster.lock().ignorant = vec![1, 2];
    let topic = client.admin().create_topic(NewTopic::new("new").partitions(2)).await.unwrap();
    assert_eq!(topic.partitions.len(), 2);
    let receipt = client.publish(NewRecord::new("new", "0").partition(1)).await.unwrap();
    assert_eq!((receipt.partition, receipt.offset), (1, Some(0)));
    let error = client.admin().create_topic(NewTopic::new("new")).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
}

#[tokio::test]
async fn calls_follow_the_server_to_the_node_they_belong_to() {
    let cluster = Cluster::start(3, 1).await;
    let client = cluster.client().await;
    let admin = client.admin();
    admin.transfer_leader(ShardId::new(1), NodeId::new(3)).await.unwrap();
    assert_eq!(cluster.lock().topics["fees"].leaders, [Some(3)]);
    for node in 1..=3 {
        let node = NodeId::new(node);
        assert_eq!(admin.describe_cluster_at(node).await.unwrap().answering_node, node.get());
        assert_eq!(admin.partition_checksum(node, "fees", 0).await.unwrap().node_id, node.get());
    }
    cluster.lock().without_replicas = vec![2];
    let refused = admin.partition_checksum(NodeId::new(2), "fees", 0).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::WrongNode), "no other node answers for it");
    let refused = admin.describe_replica(NodeId::new(2), "fees", 0).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::WrongNode));
    let unknown = admin.describe_cluster_at(NodeId::new(9)).await.unwrap_err();
    assert!(unknown.to_string().contains("node 9 is not known"), "{unknown}");
}

#[tokio::test]
async fn offsets_are_asked_of_each_leader_even_after_it_moved() {
    let cluster = Cluster::start(2, 2).await;
    let client = cluster.client().await;
    for _ in 0..3 {
        client.publish(NewRecord::new("fees", "0").partition(1)).await.unwrap();
    }
    {
        let mut state = cluster.lock();
        let topic = state.topics.get_mut("fees").unwrap();
        topic.rumour = Some(topic.leaders.clone());
        topic.leaders = vec![Some(2), Some(1)];
    }
    let latest = client.admin().list_offsets("fees", &[], OffsetAt::Latest).await.unwrap();
    let offsets: Vec<u64> = latest.values().map(|found| found.unwrap().offset).collect();
    assert_eq!(offsets, [0, 3]);
}
