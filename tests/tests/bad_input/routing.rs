//! Family: calls to a node that does not lead the partition.

use anyhow::{Result, ensure};
use bytes::Bytes;
use quipu_proto::v1;
use quipu_proto::v1::offset_query::At;
use quipu_testkit::until;
use quipu_types::ErrorCode::NotLeader;

use crate::batch::Batch;
use crate::bench::{Bench, Topic};
use crate::call;
use crate::catalogue::Catalogue;
use crate::refusal::{Refusal, Reply};

const PARTITIONS: u32 = 3;
const WAIT: std::time::Duration = std::time::Duration::from_secs(20);

pub(crate) async fn run(bench: &Bench, catalogue: &mut Catalogue) -> Result<()> {
    catalogue.family("routing");
    let topic = bench.topic("bad.routing", PARTITIONS, &[]).await?;
    for partition in 0..PARTITIONS {
        for offset in 1..=2 {
            let from = |verb: &str| format!("{verb} partition {partition} at follower {offset}");
            let ask = Question { bench, topic: &topic, partition, offset };
            let acks = |level: v1::Acks| i32::from(level);
            for (verb, level) in [
                ("append at quorum to", acks(v1::Acks::Quorum)),
                ("append at leader to", acks(v1::Acks::Leader)),
                ("append at none to", acks(v1::Acks::None)),
            ] {
                let batch = v1::ProduceBatch {
                    topic_id: topic.id.clone(),
                    partition,
                    records: Bytes::from(Batch::of(1).done()),
                };
                let call = async |node| call::append(&node, level, batch.clone()).await;
                ask.is_redirected(catalogue, from(verb), call).await;
            }
            let topic_id = topic.id.clone();
            let position = v1::FetchPosition { topic_id, partition, offset: 0, max_bytes: 0 };
            let call = async |node| call::fetch_one(&node, position.clone()).await;
            ask.is_redirected(catalogue, from("fetch from"), call).await;
            for (what, at) in [
                ("latest", At::Latest(v1::Latest {})),
                ("earliest", At::Earliest(v1::Earliest {})),
                ("by time", At::TimestampMs(0)),
            ] {
                let topic_id = topic.id.clone();
                let query = v1::OffsetQuery { topic_id, partition, at: Some(at) };
                let call = async |node| call::offset(&node, query.clone()).await;
                ask.is_redirected(catalogue, from(&format!("offset {what} of")), call).await;
            }
        }
        let end = bench.end(&topic, partition).await?;
        catalogue.note("the end", if end == 0 { Ok(()) } else { Err(anyhow::anyhow!("{end}")) });
    }
    Ok(())
}

/// A call that belongs to another node.
struct Question<'a> {
    bench: &'a Bench,
    topic: &'a Topic,
    partition: u32,
    /// Which of the other nodes is asked: 1 or 2 after the leader.
    offset: u64,
}

impl Question<'_> {
    /// The node asked refuses and names the leader.
    async fn is_redirected<T: std::fmt::Debug>(
        &self,
        catalogue: &mut Catalogue,
        name: String,
        call: impl AsyncFn(tonic::transport::Channel) -> Result<Reply<T>>,
    ) {
        // A leadership may move while the question is under way: then it is asked again.
        let judged = until("a redirection to the leader", WAIT, || async {
            let leader = self.bench.leader(self.topic, self.partition).await?;
            let other = 1 + (leader - 1 + self.offset) % 3;
            let reply = call(self.bench.channel(other).clone()).await?;
            let same = self.bench.leader(self.topic, self.partition).await?;
            ensure!(same == leader, "leadership moved");
            Ok((leader, reply))
        })
        .await;
        match judged {
            Ok((leader, reply)) => {
                catalogue.case_with(&name, NotLeader, &[("leader", leader)], &reply);
                catalogue.note(name, names(leader, &reply));
            }
            Err(error) => catalogue.judge(name, Err(error)),
        }
    }
}

/// The refusal says where to go.
fn names<T: std::fmt::Debug>(leader: u64, reply: &Reply<T>) -> Result<()> {
    let Err(Refusal::Typed(error)) = reply else { return Ok(()) };
    let retry = error.retry.and_then(|retry| retry.node_id);
    ensure!(retry == Some(leader), "retry at {retry:?}, the leader is {leader}");
    Ok(())
}
