//! A stream of requests and the stream of their answers.
//!
//! Requests are *taken* one at a time, in the order they came (that is where a produce request
//! waits for room and is put into its queues), then *settle* side by side; answers leave as they
//! settle. A client that does not read its answers is read no further once its share of unanswered
//! requests is used up, and requests keep settling meanwhile, so that it holds nobody's memory but
//! its own.

use std::collections::VecDeque;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

#[cfg(test)]
mod tests;

/// A request that was taken: the rest of its way, to its answer.
pub(crate) struct Settling<A>(BoxFuture<'static, A>);

impl<A> Settling<A> {
    /// The rest of the way.
    pub(crate) fn new(rest: impl Future<Output = A> + Send + 'static) -> Self {
        Self(Box::pin(rest))
    }
}

/// What is done with the requests of a stream.
pub(crate) trait Pipeline: Send + 'static {
    /// A request.
    type Request: Send + 'static;
    /// Its answer.
    type Answer: Send + 'static;
    /// Requests that may be unanswered.
    const UNANSWERED_MAX: usize;

    /// Takes a request; the next one is read only after this is ready.
    fn take(&self, request: Self::Request) -> BoxFuture<'static, Settling<Self::Answer>>;

    /// The monotonic clock.
    fn now(&self) -> Duration;

    /// The client took an answer so long after it was there.
    fn responded(&self, took: Duration);
}

/// Runs a stream to its end: the client is gone, or it sent its last request and has all answers.
/// After `stopping` no further request is read; those under way are answered.
pub(crate) async fn run<P: Pipeline>(
    pipeline: P,
    mut requests: impl Stream<Item = Result<P::Request, Status>> + Unpin + Send,
    answers: mpsc::Sender<Result<P::Answer, Status>>,
    stopping: CancellationToken,
) {
    let mut taking: Option<BoxFuture<'static, Settling<P::Answer>>> = None;
    let mut settling: FuturesUnordered<BoxFuture<'static, P::Answer>> = FuturesUnordered::new();
    let mut settled: VecDeque<(Duration, Result<P::Answer, Status>)> = VecDeque::new();
    let mut has_ended = false;
    loop {
        let unanswered = settling.len() + settled.len();
        let may_read = !has_ended && taking.is_none() && unanswered < P::UNANSWERED_MAX;
        if has_ended && taking.is_none() && unanswered == 0 {
            break;
        }
        // Every arm is cancel-safe: a reserved place, a look at a future that stays, a decoder
        // that keeps its buffer.
        tokio::select! {
            biased;
            () = answers.closed() => break,
            place = answers.reserve(), if !settled.is_empty() => {
                if let (Ok(place), Some((since, answer))) = (place, settled.pop_front()) {
                    place.send(answer);
                    pipeline.responded(pipeline.now().saturating_sub(since));
                }
            }
            Some(answer) = settling.next(), if !settling.is_empty() => {
                settled.push_back((pipeline.now(), Ok(answer)));
            }
            taken = ready(&mut taking), if taking.is_some() => {
                taking = None;
                settling.push(taken.0);
            }
            () = stopping.cancelled(), if !has_ended => has_ended = true,
            request = requests.next(), if may_read => match request {
                Some(Ok(request)) => taking = Some(pipeline.take(request)),
                Some(Err(status)) => {
                    has_ended = true;
                    settled.push_back((pipeline.now(), Err(status)));
                }
                None => has_ended = true,
            },
        }
    }
}

/// Waits for a future that stays where it is.
async fn ready<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
