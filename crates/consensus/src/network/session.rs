//! One pipelined run of AppendEntries to one replica.
//!
//! openraft puts no bound on what is under way: the window is here. Requests are numbered, answers
//! are cumulative. The session fails when its oldest request waits too long, so that a silent
//! follower does not hold the journal's purge back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use quipu_proto::peer as proto;
use quipu_proto::peer::message::Body;
use quipu_types::{ReplicaId, ShardId, limits};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::acked::Acked;
use super::{Client, Failure, unreachable};
use crate::link::{Disconnected, Link};
use crate::peers::Peers;
use crate::type_config::TypeConfig;
use crate::wire;

/// Bytes under way per session; one larger request is always allowed.
const WINDOW_BYTES: usize = 2 * limits::PEER_APPEND_BYTES_MAX;

/// The answers to what `input` yields.
pub(super) struct Session<S> {
    /// None once it has ended.
    input: Option<S>,
    link: Arc<Link>,
    peers: Arc<Peers>,
    target: proto::Target,
    acked: Arc<Mutex<Acked>>,
    is_urgent: bool,
    session: u64,
    sent: u64,
    answers: mpsc::Receiver<proto::Appended>,
    under_way: VecDeque<UnderWay>,
    under_way_bytes: usize,
    /// Until more may go to a replica that does not vote yet.
    pause: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    is_over: bool,
}

struct UnderWay {
    number: u64,
    bytes: usize,
    overdue_at: Instant,
}

fn lock(acked: &Mutex<Acked>) -> MutexGuard<'_, Acked> {
    acked.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Session<S> {
    /// Begins a session; gives the requests back when the link is closed.
    pub(super) fn open(
        link: Arc<Link>,
        client: &Client,
        patience: Duration,
        input: S,
    ) -> Result<Self, S> {
        let session = link.number();
        let (sender, answers) = mpsc::channel(limits::PEER_APPENDS_IN_FLIGHT_MAX + 1);
        if link.open_session(session, sender).is_err() {
            return Err(input);
        }
        Ok(Self {
            input: Some(input),
            link,
            peers: Arc::clone(&client.peers),
            target: client.target,
            acked: Arc::clone(&client.acked),
            is_urgent: client.is_urgent,
            session,
            sent: 0,
            answers,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            pause: None,
            patience,
            timer: Box::pin(tokio::time::sleep(patience)),
            is_over: false,
        })
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < limits::PEER_APPENDS_IN_FLIGHT_MAX
            && self.under_way_bytes < WINDOW_BYTES
    }

    fn send(&mut self, request: &AppendEntriesRequest<TypeConfig>) -> Result<(), Disconnected> {
        self.sent += 1;
        lock(&self.acked).lead(&request.vote);
        let (append, bytes) = wire::to_append(request, self.target, self.session, self.sent);
        let overdue_at = Instant::now() + self.patience;
        self.under_way.push_back(UnderWay { number: self.sent, bytes, overdue_at });
        self.under_way_bytes += bytes;
        self.pause = self.pause_after(bytes).map(|pause| Box::pin(tokio::time::sleep(pause)));
        let body = Body::Append(append);
        if self.is_urgent { self.link.send_urgent(body) } else { self.link.send(body) }
    }

    /// Nobody waits for a replica that does not vote: it makes way for appends.
    fn pause_after(&self, bytes: usize) -> Option<Duration> {
        let (shard, replica) = (ShardId::new(self.target.shard), self.target.replica);
        if bytes == 0 || !self.peers.is_newcomer(shard, ReplicaId::new(replica)) {
            return None;
        }
        let pause = self.peers.pace.owe(self.peers.clock(), bytes);
        (!pause.is_zero()).then_some(pause)
    }

    fn settle(
        &mut self,
        answer: proto::Appended,
    ) -> Result<StreamAppendResult<TypeConfig>, Failure> {
        while let Some(first) = self.under_way.front()
            && first.number <= answer.number
        {
            self.under_way_bytes -= first.bytes;
            self.under_way.pop_front();
        }
        let result = wire::from_outcome(answer.result);
        self.is_over = !matches!(result, Ok(Ok(_)));
        let result = result.map_err(unreachable)?;
        if let Some(lost) = lock(&self.acked).note(&result) {
            tracing::error!(shard = self.target.shard, replica = self.target.replica, %lost);
        }
        Ok(result)
    }

    fn fail(&mut self, why: impl ToString) -> Failure {
        self.is_over = true;
        unreachable(why).into()
    }

    /// Ready once the oldest request has waited too long.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(oldest) = self.under_way.front() else { return Poll::Pending };
            ready!(self.timer.as_mut().poll(cx));
            let overdue_at = oldest.overdue_at;
            if Instant::now() >= overdue_at {
                return Poll::Ready(());
            }
            // Set for a request that was answered meanwhile: requests become overdue in order, so
            // the timer only ever moves forward, and only when it rings.
            self.timer.as_mut().reset(overdue_at);
        }
    }
}

impl<S> Stream for Session<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    type Item = Result<StreamAppendResult<TypeConfig>, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        loop {
            match this.answers.poll_recv(cx) {
                Poll::Ready(Some(answer)) => return Poll::Ready(Some(this.settle(answer))),
                Poll::Ready(None) => {
                    return Poll::Ready(Some(Err(this.fail("the connection broke"))));
                }
                Poll::Pending => {}
            }
            if !this.has_room() {
                break;
            }
            if let Some(pause) = this.pause.as_mut() {
                if pause.as_mut().poll(cx).is_pending() {
                    break;
                }
                this.pause = None;
            }
            let Some(input) = this.input.as_mut() else { break };
            match Pin::new(input).poll_next(cx) {
                Poll::Ready(Some(request)) => {
                    if let Err(gone) = this.send(&request) {
                        return Poll::Ready(Some(Err(this.fail(gone))));
                    }
                }
                Poll::Ready(None) => {
                    this.input = None;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if this.input.is_none() && this.under_way.is_empty() {
            this.is_over = true;
            return Poll::Ready(None);
        }
        if this.poll_overdue(cx).is_ready() {
            return Poll::Ready(Some(Err(this.fail("the oldest append is overdue"))));
        }
        Poll::Pending
    }
}

impl<S> Drop for Session<S> {
    fn drop(&mut self) {
        self.link.forget(self.session);
    }
}
