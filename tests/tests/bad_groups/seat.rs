//! A member's stream, spoken by hand.

use futures::StreamExt;
use quipu_proto::v1;
use quipu_proto::v1::groups_client::GroupsClient;
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::bench::{TOPIC, within};
use crate::refusal::{Answer, Refusal, Reply};

/// Requests that may wait to be sent: a case sends one at a time.
const REQUESTS_MAX: usize = 4;

/// A place in a group, with what was heard last.
#[derive(Debug)]
pub(crate) struct Seat {
    requests: mpsc::Sender<v1::JoinRequest>,
    answers: Streaming<v1::JoinResponse>,
    pub(crate) epoch: u64,
    pub(crate) assigned: Vec<v1::TopicPartitions>,
}

/// A first request that is good: it reads the topic of all cases.
pub(crate) fn joining(group: &str, member: &str) -> v1::JoinRequest {
    let subscription = v1::Subscription { topics: vec![TOPIC.to_owned()], ..Default::default() };
    subscribing(group, member, subscription)
}

/// A first request with this subscription.
pub(crate) fn subscribing(
    group: &str,
    member: &str,
    subscription: v1::Subscription,
) -> v1::JoinRequest {
    v1::JoinRequest {
        group: group.to_owned(),
        member_id: member.to_owned(),
        subscription: Some(subscription),
        ..v1::JoinRequest::default()
    }
}

impl Seat {
    /// Opens a stream with a first request; resolves with its first answer.
    pub(crate) async fn take(channel: Channel, first: v1::JoinRequest) -> Reply<Self> {
        let (requests, mut receiver) = mpsc::channel(REQUESTS_MAX);
        // A fresh channel has room, and its receiver is here.
        let _ = requests.send(first).await;
        let stream = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
        let answers = GroupsClient::new(channel).join(stream).await?.into_inner();
        let mut seat = Self { requests, answers, epoch: 0, assigned: Vec::new() };
        seat.hear().await?;
        Ok(seat)
    }

    /// The next answer.
    async fn hear(&mut self) -> Reply<v1::JoinResponse> {
        let answer = self.answers.next().await.ok_or(Refusal::Ended)??.reply()?;
        self.epoch = answer.epoch;
        if let Some(assignment) = &answer.assignment {
            self.assigned.clone_from(&assignment.assigned);
        }
        Ok(answer)
    }

    /// Waits until it is to read so many partitions.
    pub(crate) async fn owns(&mut self, count: u32) -> Reply<()> {
        within("an assignment", async {
            while self.partitions().len() != usize::try_from(count).unwrap_or(usize::MAX) {
                self.hear().await?;
            }
            Ok(())
        })
        .await
    }

    /// What it is to read.
    pub(crate) fn partitions(&self) -> Vec<u32> {
        self.assigned.iter().flat_map(|topic| topic.partitions.clone()).collect()
    }

    /// Says something; resolves with the answer to it, past news that come between.
    pub(crate) async fn say(&mut self, request: v1::JoinRequest) -> Reply<()> {
        within("an answer on the stream", async {
            // When the stream is over, its last answer says why.
            let _ = self.requests.send(request).await;
            while self.hear().await?.assignment.is_some() {}
            Ok(())
        })
        .await
    }

    /// A heartbeat without news.
    pub(crate) async fn beat(&mut self) -> Reply<()> {
        self.say(v1::JoinRequest { epoch: self.epoch, ..v1::JoinRequest::default() }).await
    }

    /// Leaves for good; resolves once the stream is over.
    pub(crate) async fn leave(&mut self) -> Reply<()> {
        let leaving = v1::Leaving::Now.into();
        self.say(v1::JoinRequest { leaving, ..v1::JoinRequest::default() }).await?;
        self.last().await
    }

    /// The error the stream ends with; an answer if it ends without one.
    pub(crate) async fn last(&mut self) -> Reply<()> {
        within("the end of the stream", async {
            loop {
                match self.hear().await {
                    Ok(_) => {}
                    Err(Refusal::Ended) => return Ok(()),
                    Err(refusal) => return Err(refusal),
                }
            }
        })
        .await
    }
}

/// Sends these requests and closes at once; says how many answers came before the end.
pub(crate) async fn closed_after(channel: Channel, requests: Vec<v1::JoinRequest>) -> Reply<usize> {
    let opened = GroupsClient::new(channel).join(futures::stream::iter(requests)).await;
    let mut answers = opened?.into_inner();
    let mut count = 0;
    while let Some(answer) = answers.next().await {
        answer?.reply()?;
        count += 1;
    }
    Ok(count)
}
