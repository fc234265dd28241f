//! Reading as a member of a group: partitions are shared with others, positions are the group's.
//!
//! Two tasks per consumer: the [`member`] keeps up the membership, commits and lets partitions
//! go; the reader's fetcher follows the plan of the [`table`], which knows what is held, what was
//! handed out and what is acknowledged.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{Stream, StreamExt};
use quipu_types::PartitionId;
use tokio::sync::{mpsc, oneshot, watch};

use crate::client::Shared;
use crate::error::OffsetOutOfRange;
use crate::metrics::{self, LastPoll};
use crate::position::{End, Start};
use crate::reader::bounds;
use crate::reader::cursor::Cursor;
use crate::reader::fetcher::Observer;
use crate::{Error, Result, clock};

mod builder;
mod config;
mod member;
mod message;
mod news;
mod run;
mod table;
pub(crate) mod tracker;

pub use builder::ConsumerBuilder;
use config::Config;
pub use config::{Assignor, StartAt};
use member::Command;
use message::Handle;
pub use message::{Batch, Message};
pub use news::{ConsumerEvent, ConsumerState, Rebalance, TopicPartition};
use table::Table;

/// A member of a group. It is a [`Stream`] of messages, in order within each partition.
///
/// - Delivery is at least once: after a crash, a lost partition or an unacknowledged message
///   reading goes on at the group's position, which is the lowest unacknowledged offset.
/// - An error of one partition (damaged records, a position out of range) is an item; the others
///   are read on, and that one after [`Self::seek`] or when it is assigned anew.
/// - Processing timeout: when a message stays unacknowledged for longer than that, the stream
///   yields [`Error::ProcessingTimeout`] once, the member leaves its group, and acknowledgements
///   answer [`crate::AckError::Expired`]. The next call of [`Self::next`] joins again.
/// - Other errors of the membership itself (another member took the instance id, the group is
///   full) are the last item.
/// - Dropping it never blocks: a background task commits what is acknowledged and leaves. Prefer
///   [`Self::shutdown`], which waits.
///
/// ```no_run
/// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
/// use std::time::Duration;
///
/// let mut consumer = client.subscribe(["fees"]).group("sms-service").join().await?;
/// while let Some(message) = consumer.next().await {
///     let message = message?;
///     message.ack().await?;
/// #   break;
/// }
/// consumer.shutdown(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    client: Arc<Shared>,
    config: Arc<Config>,
    table: Arc<Table>,
    member_id: String,
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<ConsumerState>,
    last_poll: LastPoll,
    current: Option<Cursor>,
    /// Came while a batch was gathered.
    stashed: Option<Error>,
    must_rejoin: bool,
    is_over: bool,
}

impl Consumer {
    fn new(
        client: Arc<Shared>,
        config: Arc<Config>,
        table: Arc<Table>,
        member_id: String,
        (commands, state): (mpsc::Sender<Command>, watch::Receiver<ConsumerState>),
    ) -> Self {
        let last_poll = metrics::last_poll(&client.service, &config.group);
        Self {
            client,
            last_poll,
            config,
            table,
            member_id,
            commands,
            state,
            current: None,
            stashed: None,
            must_rejoin: false,
            is_over: false,
        }
    }

    /// The next message; `None` once the consumer is closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Message>> {
        StreamExt::next(self).await
    }

    /// Up to `max` messages: what is there after `wait`, or as soon as there are so many. None
    /// when nothing came.
    ///
    /// # Errors
    /// As the stream's items. Messages that came before an error are given out first.
    pub async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Batch> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut batch = Batch::default();
        while batch.messages.len() < max {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(Some(Ok(message))) => batch.messages.push(message),
                Ok(Some(Err(error))) if batch.messages.is_empty() => return Err(error),
                Ok(Some(Err(error))) => {
                    self.stashed = Some(error);
                    break;
                }
                Ok(None) | Err(_) => break,
            }
        }
        Ok(batch)
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.config.group
    }

    /// This member's id in its group.
    #[must_use]
    pub fn member_id(&self) -> &str {
        &self.member_id
    }

    /// What is assigned to this member at this moment.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.table.assignment()
    }

    /// The position of each partition: the lowest offset that is not acknowledged.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<TopicPartition, u64> {
        self.table.positions()
    }

    /// How the consumer stands to its group, as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConsumerState> {
        self.state.clone()
    }

    /// Stops delivering messages of these partitions until [`Self::resume`]; they stay assigned.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a partition that is not assigned; others are paused.
    pub fn pause(&self, partitions: impl IntoIterator<Item = TopicPartition>) -> Result<()> {
        self.set_paused(partitions, true)
    }

    /// Delivers messages of these partitions again, from the first that was not handed out.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a partition that is not assigned; others are resumed.
    pub fn resume(&self, partitions: impl IntoIterator<Item = TopicPartition>) -> Result<()> {
        self.set_paused(partitions, false)
    }

    fn set_paused(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        is_paused: bool,
    ) -> Result<()> {
        let mut unknown = None;
        for name in partitions {
            match self.table.find(&name) {
                Some(id) => self.table.set_paused(id, is_paused),
                None => unknown = Some(name),
            }
        }
        unknown.map_or(Ok(()), |name| Err(not_assigned(&name)))
    }

    /// Goes on at `to` in one partition. Nothing fetched before is delivered; messages handed out
    /// before answer [`crate::AckError::AssignmentLost`]. The new position is committed with the
    /// next interval.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a partition that is not assigned, and as looking up the offset.
    pub async fn seek(&mut self, topic: &str, partition: u32, to: Start) -> Result<()> {
        let name = TopicPartition::new(topic, partition);
        let id = self.table.find(&name).ok_or_else(|| not_assigned(&name))?;
        let offset = match to {
            Start::Offset(offset) => offset,
            Start::Earliest
            | Start::Latest
            | Start::Last(_)
            | Start::Timestamp(_)
            | Start::Ago(_) => {
                let topic = self.client.topic(topic).await?;
                let meant = (to, End::Never, clock::wall());
                let found = bounds::find(&self.client, &topic, &[partition], meant).await?;
                found.get(&partition).map_or(0, |found| found.start)
            }
        };
        if self.table.seek(id, offset) { Ok(()) } else { Err(not_assigned(&name)) }
    }

    /// Stops fetching, waits until the messages that were handed out are settled, commits, and
    /// leaves the group. A static member leaves for a while: its partitions are kept for it until
    /// the session timeout.
    ///
    /// # Errors
    /// [`Error::Timeout`] when messages were not settled, or positions not committed, within
    /// `deadline`; what was acknowledged is committed nevertheless if a coordinator answers.
    pub async fn shutdown(self, deadline: Duration) -> Result<()> {
        let (done, closed) = oneshot::channel();
        let command = Command::Shutdown { deadline, done };
        if self.commands.send(command).await.is_err() {
            return Ok(());
        }
        closed.await.unwrap_or(Ok(()))
    }

    /// The next record of the chunk that is being read.
    fn read(&mut self) -> Option<Result<Message>> {
        let cursor = self.current.as_mut()?;
        let (id, generation) = (cursor.chunk.id, cursor.chunk.generation);
        match cursor.next() {
            Some(Ok(record)) => {
                let Some(handle) = self.handle(id, generation, record.offset) else {
                    self.current = None;
                    return None;
                };
                Some(Ok(Message::new(record, handle)))
            }
            Some(Err(error)) => {
                self.current = None;
                self.table.park(id, generation).then_some(Err(error))
            }
            None => {
                self.table.end_chunk(id, generation, cursor.chunk.next);
                self.current = None;
                None
            }
        }
    }

    fn handle(&self, id: PartitionId, generation: u64, offset: u64) -> Option<Handle> {
        let (fate, metrics) = self.table.hand_out(id, generation, offset)?;
        Some(Handle { table: self.table.clone(), id, offset, fate, metrics })
    }
}

impl Stream for Consumer {
    type Item = Result<Message>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.last_poll.now();
        if let Some(error) = self.stashed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if self.must_rejoin && self.commands.try_send(Command::Rejoin).is_ok() {
            self.must_rejoin = false;
        }
        while !self.is_over {
            if let Some(item) = self.read() {
                return Poll::Ready(Some(item));
            }
            if self.current.is_some() {
                continue;
            }
            match ready!(self.table.output.poll_take(context)) {
                Some(Ok(chunk)) => {
                    if self.table.begin_chunk(chunk.id, chunk.generation, chunk.from) {
                        self.current = Some(Cursor::new(chunk));
                    }
                }
                Some(Err(error)) => {
                    self.must_rejoin = matches!(error, Error::ProcessingTimeout(_));
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.is_over = true,
            }
        }
        Poll::Ready(None)
    }
}

/// Tells the table and the application what servers said beside the records.
struct Watcher {
    table: Arc<Table>,
    config: Arc<Config>,
}

impl Observer for Watcher {
    fn at_end(&self, id: PartitionId, generation: u64, high_watermark: u64) {
        self.table.at_end(id, generation, high_watermark);
    }

    fn skipped(&self, reason: &OffsetOutOfRange) {
        if let Some(listener) = &self.config.on_event {
            listener(ConsumerEvent::of(reason));
        }
    }
}

fn not_assigned(name: &TopicPartition) -> Error {
    Error::invalid(format!("{name} is not assigned to this member"))
}
