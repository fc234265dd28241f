//! One batch's way to its acknowledgement.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use quipu_shard::{AppendFuture, Appended};

use super::ProduceError;
use crate::metrics::Appending;

/// What an acknowledgement says.
pub type Produced = Appended;

/// Resolves when the batch is acknowledged as asked, or will not be.
///
/// Dropping it does not cancel the append.
#[derive(Debug)]
pub struct ProduceFuture(State);

#[derive(Debug)]
enum State {
    Refused(Option<ProduceError>),
    Waiting { append: AppendFuture, counted: Appending },
}

impl ProduceFuture {
    /// A future that has its answer.
    pub(super) fn refused(error: ProduceError) -> Self {
        Self(State::Refused(Some(error)))
    }

    /// A future that waits for the shard's.
    pub(super) fn waiting(append: AppendFuture, counted: Appending) -> Self {
        Self(State::Waiting { append, counted })
    }
}

impl Future for ProduceFuture {
    type Output = Result<Produced, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(error) => {
                Poll::Ready(Err(error.take().expect("a future is not polled after it was ready")))
            }
            State::Waiting { append, counted } => {
                let answer = ready!(Pin::new(append).poll(context));
                if let Ok(appended) = &answer {
                    counted.done(appended.is_duplicate);
                }
                Poll::Ready(answer.map_err(ProduceError::Append))
            }
        }
    }
}
