//! Calling a handler for each message: lanes by key, acknowledgement after success.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Consumer;
use super::message::{Handle, Message};
use crate::error::RunError;

/// Messages that may wait for one lane: enough to keep others busy behind a slow key.
const LANE_WAITING_MAX: usize = 16;

impl Consumer {
    /// Calls `handler` for each message until the consumer is closed or something fails. A message
    /// is acknowledged after its handler returned `Ok`, and committed with the next interval.
    ///
    /// - With [`super::ConsumerBuilder::concurrency`] several handlers run at the same time, in
    ///   this task; messages with the same key, and those of a partition without key, never do,
    ///   and keep their order.
    /// - The processing timeout of a message starts when its handler is called.
    /// - What a handler publishes carries the trace and the correlation id of its message
    ///   ([`crate::TraceContext::scope`]).
    /// - Dropping the future drops the handlers that run; their messages stay unacknowledged.
    ///
    /// ```no_run
    /// # async fn example(mut consumer: quipu_client::Consumer) -> Result<(), Box<dyn std::error::Error>> {
    /// use quipu_client::Message;
    ///
    /// consumer
    ///     .run(|message: Message| async move {
    ///         println!("{}@{}", message.partition, message.offset);
    ///         Ok::<(), std::io::Error>(())
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RunError::Handler`] with the first error of a handler; handlers that run are finished and
    /// acknowledged, messages that wait are not handled. [`RunError::Consumer`] for an error of
    /// the stream.
    pub async fn run<E, F>(&mut self, handler: impl Fn(Message) -> F) -> Result<(), RunError<E>>
    where
        F: Future<Output = Result<(), E>>,
    {
        self.run_until(handler, std::future::pending::<()>()).await
    }

    /// As [`Self::run`], until `stop` resolves: handlers that run are finished and acknowledged.
    /// [`Self::shutdown`] afterwards commits and leaves.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_until<E, F, T>(
        &mut self,
        handler: impl Fn(Message) -> F,
        stop: impl Future<Output = T>,
    ) -> Result<(), RunError<E>>
    where
        F: Future<Output = Result<(), E>>,
    {
        let mut lanes = Lanes::new(self.config.concurrency);
        let mut running = FuturesUnordered::new();
        let handler = &handler;
        let mut end = None;
        let mut stop = std::pin::pin!(stop);
        loop {
            if end.is_none() {
                for (lane, message) in lanes.ready() {
                    running.push(handle(lane, message, handler));
                }
            }
            if end.is_some() && running.is_empty() {
                break;
            }
            let takes = end.is_none() && lanes.have_room();
            tokio::select! {
                biased;
                _ = &mut stop, if end.is_none() => end = Some(Ok(())),
                Some((lane, result)) = running.next(), if !running.is_empty() => {
                    lanes.is_busy[lane] = false;
                    if let Err(error) = result {
                        end = Some(match end.take() {
                            Some(Err(earlier)) => Err(earlier),
                            Some(Ok(())) | None => Err(error),
                        });
                    }
                }
                item = self.next(), if takes => match item {
                    Some(Ok(message)) => lanes.push(message),
                    Some(Err(error)) => end = Some(Err(RunError::Consumer(error))),
                    None => end = Some(Ok(())),
                },
            }
        }
        end.unwrap_or(Ok(()))
    }
}

/// Calls the handler once and acknowledges its success.
async fn handle<E, F>(
    lane: usize,
    message: Message,
    handler: &impl Fn(Message) -> F,
) -> (usize, Result<(), RunError<E>>)
where
    F: Future<Output = Result<(), E>>,
{
    let handle: Arc<Handle> = message.handle.clone();
    let (topic, partition) = (message.topic.clone(), message.partition);
    let begun = Instant::now();
    handle.set_since(Some(begun));
    let context = message.trace_context();
    let result = context.scope(async { handler(message).await }).await;
    handle.metrics.seconds.record(begun.elapsed().as_secs_f64());
    let result = match result {
        Ok(()) => {
            handle.ack_later();
            Ok(())
        }
        Err(error) => {
            handle.metrics.errors.increment(1);
            Err(RunError::Handler { error, topic, partition, offset: handle.offset })
        }
    };
    (lane, result)
}

/// Messages that wait, by lane: one lane is handled in order.
#[derive(Debug)]
struct Lanes {
    waiting: Vec<VecDeque<Message>>,
    is_busy: Vec<bool>,
}

impl Lanes {
    fn new(count: usize) -> Self {
        Self { waiting: (0..count).map(|_| VecDeque::new()).collect(), is_busy: vec![false; count] }
    }

    /// Whether any message can be taken, whichever lane it is for.
    fn have_room(&self) -> bool {
        let limit = if self.waiting.len() == 1 { 1 } else { LANE_WAITING_MAX };
        self.waiting.iter().all(|lane| lane.len() < limit)
    }

    fn push(&mut self, message: Message) {
        // Its time runs from the call of the handler.
        message.handle.set_since(None);
        let lane = lane_of(&message, self.waiting.len());
        self.waiting[lane].push_back(message);
    }

    /// The next message of each lane that is idle; they are busy from now on.
    fn ready(&mut self) -> Vec<(usize, Message)> {
        let idle = self.is_busy.iter_mut().zip(&mut self.waiting).enumerate();
        idle.filter(|(_, (is_busy, _))| !**is_busy)
            .filter_map(|(lane, (is_busy, waiting))| {
                let message = waiting.pop_front()?;
                *is_busy = true;
                Some((lane, message))
            })
            .collect()
    }
}

fn lane_of(message: &Message, lanes: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    match &message.key {
        Some(key) => key.hash(&mut hasher),
        None => (&message.topic, message.partition).hash(&mut hasher),
    }
    let lanes = u64::try_from(lanes).unwrap_or(1);
    usize::try_from(hasher.finish() % lanes).unwrap_or(0)
}
