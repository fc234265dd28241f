//! Topics that appear, and that are created again.

use anyhow::{Result, ensure};
use quipu_client::NewTopic;

use crate::crew::{Log, Member, cluster, handles_all, is_drained, publish};

const GROUP: &str = "auditors";

/// A pattern picks up topics that are created later; others are none of its business.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_picks_up_new_topics() -> Result<()> {
    let (_cluster, client) = cluster("court.filed", 2).await?;
    let log = Log::default();
    let consumer = client.subscribe(Vec::<String>::new()).pattern("court\\..*").group(GROUP);
    let member = Member::start("auditor", consumer, &log).await?;
    let mut expected = publish(&client, "court.filed", 0..50).await?;
    handles_all(&log, &expected).await?;
    client.admin().create_topic(NewTopic::new("court.closed").partitions(3)).await?;
    client.admin().create_topic(NewTopic::new("police.filed")).await?;
    publish(&client, "police.filed", 0..10).await?;
    expected.extend(publish(&client, "court.closed", 0..50).await?);
    handles_all(&log, &expected).await?;
    is_drained(&client, GROUP).await?;
    ensure!(log.values() == expected, "something else was read");
    member.leave().await
}

/// A topic created again under its name inherits no position.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_created_again_is_read_from_its_beginning() -> Result<()> {
    const TOPIC: &str = "reborn";
    let (_cluster, client) = cluster(TOPIC, 2).await?;
    let first = Log::default();
    let member = Member::start("first", client.subscribe([TOPIC]).group(GROUP), &first).await?;
    let all = publish(&client, TOPIC, 0..100).await?;
    handles_all(&first, &all).await?;
    is_drained(&client, GROUP).await?;
    member.leave().await?;
    client.admin().delete_topic(TOPIC).await?;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(2)).await?;
    let fresh = publish(&client, TOPIC, 1_000..1_040).await?;
    let second = Log::default();
    let member = Member::start("second", client.subscribe([TOPIC]).group(GROUP), &second).await?;
    handles_all(&second, &fresh).await?;
    ensure!(second.values() == fresh, "records of the old topic came");
    member.leave().await
}
