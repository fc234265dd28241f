//! Topics that come and go while a group reads by pattern.

use anyhow::{Context, Result, ensure};
use quipu_client::NewTopic;

use crate::crew::{Log, Member, cluster, handles_all, is_drained, publish, value};
use crate::load::Load;

const STEADY: &str = "court.filed";
const GROUP: &str = "archive";
const PART: usize = 60;
const ROUNDS: usize = 3;
/// The same name each round: another topic each time.
const FLEETING: &str = "court.hearing";

/// A topic is created, read, and deleted with records that nobody read yet, over and over, while
/// another is written to: no member sees an error, and a new topic is read from its beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_goes_on_while_topics_are_created_and_deleted_under_load() -> Result<()> {
    let (cluster, client) = cluster(STEADY, 4).await?;
    // Members learn nothing from who administers: their client is another one.
    let readers = cluster.client().await?;
    let log = Log::default();
    let member = || readers.subscribe(Vec::<String>::new()).pattern("court\\..*").group(GROUP);
    let one = Member::start("one", member(), &log).await?;
    let two = Member::start("two", member(), &log).await?;
    let load = Load::start(&client, STEADY, 0)?;
    for round in 0..ROUNDS {
        client.admin().create_topic(NewTopic::new(FLEETING).partitions(2)).await?;
        let first = 2 * round * PART;
        let fresh = publish(&client, FLEETING, first..first + PART).await?;
        handles_all(&log, &fresh).await?;
        publish(&client, FLEETING, first + PART..first + 2 * PART).await?;
        client.admin().delete_topic(FLEETING).await?;
        ensure!(one.is_running() && two.is_running(), "a member saw an error in round {round}");
    }
    let expected = load.end().await?;
    handles_all(&log, &expected).await?;
    is_drained(&client, GROUP).await?;
    ensure!(one.is_running() && two.is_running(), "a member saw an error");
    one.leave().await?;
    two.leave().await?;
    for round in 0..ROUNDS {
        begins_at_the_beginning(&log, 2 * round * PART)?;
    }
    let steady = log.all().into_iter().filter(|handled| handled.topic == STEADY).count();
    ensure!(steady == expected.len(), "{steady} records for {} values", expected.len());
    Ok(())
}

/// The topic that began with this number was read from offset 0 on, each record once.
fn begins_at_the_beginning(log: &Log, first: usize) -> Result<()> {
    let mut offsets = [Vec::new(), Vec::new()];
    let all = log.all();
    for number in first..first + PART {
        let value = value(FLEETING, number);
        let mut found = all.iter().filter(|handled| handled.value == value);
        let handled = found.next().with_context(|| format!("{value} was not handled"))?;
        ensure!(found.next().is_none(), "{value} was handled twice");
        offsets[usize::try_from(handled.partition)?].push(handled.offset);
    }
    for (partition, mut offsets) in offsets.into_iter().enumerate() {
        offsets.sort_unstable();
        let is_dense = (0..).zip(&offsets).all(|(expected, offset)| *offset == expected);
        ensure!(is_dense, "partition {partition}: {offsets:?}");
    }
    Ok(())
}
