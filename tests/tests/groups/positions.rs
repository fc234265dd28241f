//! Positions: committed, reset, fenced, kept.

use anyhow::{Context, Result, ensure};
use quipu_client::TopicPartition;
use quipu_types::ErrorCode;

use crate::crew::{Log, Member, cluster, handles_all, is_drained, publish};

const TOPIC: &str = "tolls";
const GROUP: &str = "billing";

/// A consumer that was away finds what was published meanwhile, and only that (document 000).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_is_handled_after_a_restart() -> Result<()> {
    let (_cluster, client) = cluster(TOPIC, 3).await?;
    let first = Log::default();
    let member = Member::start("before", client.subscribe([TOPIC]).group(GROUP), &first).await?;
    let handled = publish(&client, TOPIC, 0..300).await?;
    handles_all(&first, &handled).await?;
    member.leave().await?;

    let missed = publish(&client, TOPIC, 300..400).await?;
    let second = Log::default();
    let member = Member::start("after", client.subscribe([TOPIC]).group(GROUP), &second).await?;
    handles_all(&second, &missed).await?;
    ensure!(second.values() == missed, "more than what was missed was handled again");
    is_drained(&client, GROUP).await?;
    member.leave().await
}

/// A reset while members are there takes effect with `fence` only, and then for certain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_is_refused_while_members_are_active_unless_it_fences_them() -> Result<()> {
    let (_cluster, client) = cluster(TOPIC, 1).await?;
    let log = Log::default();
    let member = Member::start("reader", client.subscribe([TOPIC]).group(GROUP), &log).await?;
    let all = publish(&client, TOPIC, 0..50).await?;
    handles_all(&log, &all).await?;
    is_drained(&client, GROUP).await?;

    let back = || [(TOPIC, 0, 10)];
    let refused = client.admin().reset_offsets(GROUP, back(), false).await;
    let refused = refused.err().context("it was reset under a reader")?;
    ensure!(refused.code() == Some(ErrorCode::GroupNotEmpty), "{refused}");
    let before = log.all().len();
    client.admin().reset_offsets(GROUP, back(), true).await?;
    let again = all.iter().filter(|value| {
        let number: usize =
            value.rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        number >= 10
    });
    let again = again.count();
    quipu_testkit::until("the records to be handled again", crate::crew::WAIT, || async {
        let more = log.all().len() - before;
        ensure!(more >= again, "{more} of {again}");
        Ok(())
    })
    .await?;
    ensure!(log.all()[before].offset == 10, "it went on at {:?}", log.all()[before]);
    is_drained(&client, GROUP).await?;
    ensure!(member.is_running(), "being fenced is no error to a reader");
    member.leave().await
}

/// Positions outside of any membership, and the end of a group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_without_members_are_stored_shown_and_deleted() -> Result<()> {
    let (mut cluster, client) = cluster(TOPIC, 2).await?;
    publish(&client, TOPIC, 0..20).await?;
    let admin = client.admin();
    admin.commit_offsets(GROUP, [(TOPIC, 0, 3), (TOPIC, 1, 4)]).await?;
    cluster.kill_all()?;
    cluster.start_all()?;
    cluster.wait_healthy().await?;
    let stored = admin.fetch_offsets(GROUP).await?;
    let at = |partition| stored.get(&TopicPartition::new(TOPIC, partition)).map(|it| it.offset);
    ensure!((at(0), at(1)) == (Some(3), Some(4)), "{stored:?}");
    let listed = admin.list_groups().await?;
    ensure!(
        listed.iter().any(|group| group.group == GROUP && group.state == "empty"),
        "{listed:?}"
    );
    admin.delete_group(GROUP).await?;
    let gone = admin.describe_group(GROUP).await.err().context("it is there still")?;
    ensure!(gone.code() == Some(ErrorCode::UnknownGroup), "{gone}");
    ensure!(admin.fetch_offsets(GROUP).await?.is_empty(), "positions outlived their group");
    Ok(())
}
