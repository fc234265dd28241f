use std::time::Duration;

use quipu_metadata::{BootstrapError, MetadataError, NewTopic, Refusal, Setting, TopicRecord};
use quipu_types::{Effect, NodeId, ShardId, TopicName};

use crate::idle::Idle;
use crate::node::{Node, Site, eventually};

fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn topic(text: &str, partitions: u32) -> NewTopic {
    NewTopic::parse(name(text), partitions, None, [("retention-time", "90d")]).unwrap()
}

async fn create(node: &Node, text: &str) -> Result<TopicRecord, MetadataError> {
    node.metadata.create_topic(topic(text, 3), node.deadline(20)).await
}

async fn has_shards(node: &Node, count: usize) {
    eventually("shards", || (node.metadata.image().shards.len() == count).then_some(())).await;
}

/// The place in `nodes` of the one that leads the metadata group.
async fn controller(nodes: &[Node]) -> usize {
    eventually("a controller", || nodes.iter().position(|node| node.metadata.is_controller())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_forms_its_cluster_at_once() {
    let site = Site::new(1, 0).await;
    let node = site.start(1).await.unwrap();
    has_shards(&node, 2).await;
    let fees = create(&node, "fees").await.unwrap();
    assert_eq!((fees.replication, fees.partitions.len()), (1, 3));
    assert_eq!(node.metadata.image().topic(&name("fees")).map(|topic| topic.id), Some(fees.id));
    let first = node.metadata.allocate_producer_ids(node.deadline(10)).await.unwrap();
    let second = node.metadata.allocate_producer_ids(node.deadline(10)).await.unwrap();
    assert_eq!(first.end, second.start, "no id twice");
    let cluster = node.metadata.image().cluster;
    node.checkpoint().await;
    create(&node, "after-the-checkpoint").await.unwrap();
    node.stop().await;

    let node = site.start(1).await.unwrap();
    let image = node.metadata.image();
    assert_eq!(image.cluster, cluster);
    assert_eq!(image.nodes[&NodeId::new(1)].incarnation.get(), 2);
    assert!(image.topic(&name("fees")).is_some(), "from the checkpoint");
    assert!(image.topic(&name("after-the-checkpoint")).is_some(), "from the journal");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_form_one_cluster_and_any_of_them_takes_changes() {
    let site = Site::new(3, 3).await;
    let nodes = site.start_all(&[1, 2, 3]).await;
    for node in &nodes {
        has_shards(node, 6).await;
        assert_eq!(node.metadata.image().cluster, nodes[0].metadata.image().cluster);
        assert_eq!(node.metadata.image().nodes.len(), 3);
    }
    for (place, node) in nodes.iter().enumerate() {
        let made = create(node, &format!("topic-{place}")).await.unwrap();
        assert_eq!((made.replication, made.config.min_insync), (3, 2));
        assert!(node.metadata.image().topic(&made.name).is_some(), "read your writes");
        let again = create(node, &format!("topic-{place}")).await.unwrap_err();
        assert!(matches!(again, MetadataError::Refused(Refusal::TopicExists { .. })), "{again}");
    }
    let set = vec![Setting::parse("min-acks", "quorum").unwrap()];
    let deadline = nodes[1].deadline(10);
    let altered =
        nodes[1].metadata.alter_topic(name("topic-0"), set, vec![], deadline).await.unwrap();
    assert_eq!(altered.config.min_acks, quipu_types::Acks::Quorum);
    let deadline = nodes[2].deadline(10);
    nodes[2].metadata.delete_topic(name("topic-1"), deadline).await.unwrap();
    eventually("the same image everywhere", || {
        let images: Vec<_> = nodes.iter().map(|node| node.metadata.image()).collect();
        (images[0] == images[1] && images[1] == images[2]).then_some(())
    })
    .await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metadata_survives_its_leader_and_refuses_without_a_majority() {
    let site = Site::new(3, 3).await;
    let mut nodes = site.start_all(&[1, 2, 3]).await;
    has_shards(&nodes[0], 6).await;
    create(&nodes[0], "before").await.unwrap();
    let leader = controller(&nodes).await;
    nodes.remove(leader).stop().await;
    create(&nodes[0], "after").await.unwrap();
    create(&nodes[1], "after-too").await.unwrap();
    nodes.remove(0).stop().await;
    let last = nodes.remove(0);
    let deadline = last.deadline(2);
    let refused = last.metadata.create_topic(topic("never", 1), deadline).await.unwrap_err();
    let is_right = (refused == MetadataError::ControllerUnavailable
        && refused.effect() == Effect::None)
        || (refused == MetadataError::Deadline && refused.effect() == Effect::Unknown);
    assert!(is_right, "{refused}");
    last.stop().await;

    // After a total outage everything is there again.
    let nodes = site.start_all(&[1, 2, 3]).await;
    for text in ["before", "after", "after-too"] {
        assert!(nodes[2].metadata.image().topic(&name(text)).is_some(), "{text}");
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_is_turned_away_and_the_others_go_on() {
    let mut site = Site::new(3, 3).await;
    let mut nodes = site.start_all(&[1, 2, 3]).await;
    nodes.remove(0).stop().await;
    site.wipe(1);
    let refused = tokio::time::timeout(Duration::from_secs(40), site.start(1)).await.unwrap();
    let refused = refused.map(drop).unwrap_err();
    assert!(
        matches!(refused, BootstrapError::TurnedAway { .. } | BootstrapError::Refused(_)),
        "{refused}"
    );
    assert!(refused.to_string().contains("quipu node replace 1"), "{refused}");
    create(&nodes[0], "still-works").await.unwrap();
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_node_joins_follows_and_gets_its_share() {
    let site = Site::new(4, 3).await;
    let nodes = site.start_all(&[1, 2, 3]).await;
    has_shards(&nodes[0], 6).await;
    create(&nodes[0], "fees").await.unwrap();
    let fourth =
        tokio::time::timeout(Duration::from_secs(40), site.start(4)).await.unwrap().unwrap();
    assert!(fourth.metadata.image().topic(&name("fees")).is_some(), "it holds the image");
    has_shards(&fourth, 8).await;
    let image = fourth.metadata.image();
    let leads = image
        .shards
        .values()
        .filter(|shard| shard.preferred().is_some_and(|(_, node)| node == NodeId::new(4)));
    assert_eq!(leads.count(), 2);
    create(&fourth, "from-the-fourth").await.unwrap();
    fourth.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

/// A shard whose leadership ended up on the wrong node is handed to its preferred leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_come_home() {
    let site = Site::new(3, 3).await;
    let nodes = site.start_all(&[1, 2, 3]).await;
    for node in &nodes {
        has_shards(node, 6).await;
    }
    let image = nodes[0].metadata.image();
    let shards: Vec<ShardId> = image.shards.keys().copied().collect();
    for shard in &shards {
        let record = &image.shards[shard];
        let mut groups = Vec::new();
        for (replica, node) in &record.replicas {
            let at = nodes.iter().find(|other| other.consensus.identity().node == *node).unwrap();
            groups.push(at.open(*shard, *replica, Box::new(Idle)).await);
        }
        let stranger = groups.last().unwrap();
        stranger.initialize(record.replicas.clone()).await.unwrap();
    }
    eventually("every leader at home", || {
        let is_home = |shard: &ShardId| {
            let preferred = image.shards[shard].preferred().map(|(_, node)| node);
            nodes[1].consensus.leader_hint(*shard).map(|hint| hint.node) == preferred
        };
        shards.iter().all(is_home).then_some(())
    })
    .await;
    for node in nodes {
        node.stop().await;
    }
}
