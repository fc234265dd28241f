//! The broker's side of streams: what the listener does with requests, without gRPC.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use quipu_broker::coordinator::{Assignment, GroupError, Heartbeat, JoinCommand, Membership};
use quipu_broker::produce::{ProduceCommand, ProduceEntry, ProduceError, Produced};
use quipu_broker::{Broker, OperationError};
use quipu_runtime::{Deadline, OnExit};
use quipu_types::record::ValidatedBatch;
use quipu_types::{Acks, Effect, ErrorCode, NodeId, PartitionId, Retry};

use super::call::Way;
use super::link::{Receiver, Sender, direction};

/// How long a broker may take for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// An error as it crosses the wire.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) code: ErrorCode,
    pub(super) effect: Effect,
    pub(super) retry: Retry,
    pub(super) words: String,
}

impl Refused {
    pub(super) fn of(error: &impl OperationError) -> Self {
        let (code, effect, retry) = (error.code(), error.effect(), error.retry());
        Self { code, effect, retry, words: error.to_string() }
    }
}

/// A batch to be stored.
pub(super) struct ToStore {
    pub(super) partition: PartitionId,
    pub(super) number: u64,
    pub(super) batch: ValidatedBatch,
}

/// What became of it.
pub(super) struct StoreTold {
    pub(super) partition: PartitionId,
    pub(super) number: u64,
    pub(super) result: Result<Produced, Refused>,
}

/// What a member says.
pub(super) enum Said {
    Join(Box<JoinCommand>),
    Beat(Heartbeat),
}

/// What a coordinator answers.
pub(super) struct Answered {
    pub(super) epoch: u64,
    pub(super) heartbeat_interval: Duration,
    pub(super) assignment: Option<Assignment>,
}

/// A stream as its client holds it.
pub(super) type Stream<Q, A> = (Sender<Q>, Receiver<A>);

impl Way {
    /// Opens a stream for batches.
    pub(super) fn open_produce(&self, node: NodeId) -> Option<Stream<ToStore, StoreTold>> {
        let (process, broker, host) = self.listener(node)?;
        let (requests, served) = direction(&self.road, process.life(), &host.pace);
        let (answers, told) = direction(&self.road, process.life(), &host.pace);
        process.tasks().spawn("produce", OnExit::Log, serve_produce(broker, served, answers));
        Some((requests, told))
    }

    /// Opens a member's stream.
    pub(super) fn open_join(
        &self,
        node: NodeId,
    ) -> Option<Stream<Said, Result<Answered, Refused>>> {
        let (process, broker, host) = self.listener(node)?;
        let (requests, served) = direction(&self.road, process.life(), &host.pace);
        let (answers, told) = direction(&self.road, process.life(), &host.pace);
        let serve = async move {
            let mut stream = MemberStream { broker, requests: served, answers };
            if let Err(error) = stream.run().await {
                stream.answers.send(Err(Refused::of(&error)));
            }
        };
        process.tasks().spawn("join", OnExit::Log, serve);
        Some((requests, told))
    }
}

/// Appends in order, and answers as the answers come.
async fn serve_produce(
    broker: Broker,
    mut requests: Receiver<ToStore>,
    mut answers: Sender<StoreTold>,
) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = answers.closed() => return,
            Some(told) = under_way.next(), if !under_way.is_empty() => {
                answers.send(told);
            }
            request = requests.recv() => {
                let Some(ToStore { partition, number, batch }) = request else { return };
                let deadline = Deadline::after(broker.clock(), REQUEST_TIMEOUT);
                let entry =
                    ProduceEntry { topic: partition.topic, partition: partition.index, batch };
                let begun = broker.clock().monotonic();
                let (acks, entries) = (Acks::Quorum, vec![entry]);
                let command = ProduceCommand { acks, deadline, begun, entries };
                let stored = match broker.admit(command).await {
                    Ok(admitted) => Ok(broker.produce(admitted)),
                    Err(error) => Err(error),
                };
                under_way.push(async move {
                    let result = match stored {
                        Ok(futures) => one(futures).await,
                        Err(error) => Err(error),
                    };
                    let result = result.map_err(|error| Refused::of(&error));
                    StoreTold { partition, number, result }
                });
            }
        }
    }
}

async fn one(futures: Vec<quipu_broker::produce::ProduceFuture>) -> Result<Produced, ProduceError> {
    let future = futures.into_iter().next();
    future.expect("one future for one batch").await
}

/// A member's stream, as `quipu_listener` serves it.
struct MemberStream {
    broker: Broker,
    requests: Receiver<Said>,
    answers: Sender<Result<Answered, Refused>>,
}

impl MemberStream {
    async fn run(&mut self) -> Result<(), GroupError> {
        let Some(Said::Join(command)) = self.requests.recv().await else { return Ok(()) };
        let mut membership = self.broker.join_group(*command).await?;
        loop {
            tokio::select! {
                biased;
                () = self.answers.closed() => return Ok(()),
                assignment = membership.news() => {
                    let assignment = assignment?;
                    self.say(&membership, Some(assignment));
                }
                said = self.requests.recv() => {
                    let Some(Said::Beat(beat)) = said else { return Ok(()) };
                    let stays = membership.beat(beat).await?;
                    self.say(&membership, None);
                    if !stays {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn say(&mut self, membership: &Membership, assignment: Option<Assignment>) {
        let heartbeat_interval = membership.heartbeat_interval();
        let epoch = membership.epoch();
        self.answers.send(Ok(Answered { epoch, heartbeat_interval, assignment }));
    }
}
