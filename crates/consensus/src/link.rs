//! One standing connection to a peer: what goes out, and who waits for what comes back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quipu_proto::peer as proto;
use tokio::sync::{mpsc, oneshot};

use crate::carrier::Carrier;
use crate::frame::{Outgoing, weight};

/// Messages waiting to be framed. Windows bound what sessions send; this only has to be larger
/// than all of them together.
const QUEUE_MESSAGES_MAX: usize = 16_384;

/// Bytes waiting to be framed. Sessions that failed leave theirs behind: a peer that reads nothing
/// must not have them pile up.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// The connection is gone, or takes nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no connection")]
pub(crate) struct Disconnected;

/// An answer to a single request.
#[derive(Debug)]
pub(crate) enum Answer {
    Voted(proto::Voted),
    Transferred(proto::Transferred),
}

enum Waiter {
    Session(mpsc::Sender<proto::Appended>),
    Request(oneshot::Sender<Answer>),
}

/// The sending half of a connection, and the register of who waits.
pub(crate) struct Link {
    urgent: mpsc::Sender<proto::Message>,
    bulk: mpsc::Sender<proto::Message>,
    queued_bytes: Arc<AtomicUsize>,
    /// None once closed.
    waiting: Mutex<Option<HashMap<u64, Waiter>>>,
    next: AtomicU64,
    carrier: Carrier,
}

impl Link {
    /// A link over `carrier`, and what it wants sent.
    pub(crate) fn new(carrier: Carrier) -> (Self, Outgoing) {
        let (urgent, urgent_queue) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let (bulk, bulk_queue) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let outgoing = Outgoing::new(urgent_queue, bulk_queue, Arc::clone(&queued_bytes));
        let link = Self {
            urgent,
            bulk,
            queued_bytes,
            waiting: Mutex::new(Some(HashMap::new())),
            next: AtomicU64::new(1),
            carrier,
        };
        (link, outgoing)
    }

    /// The connection itself, for calls beside the stream.
    pub(crate) fn carrier(&self) -> Carrier {
        self.carrier.clone()
    }

    /// A number no other request or session of this link has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends in order behind other data.
    pub(crate) fn send(&self, body: proto::message::Body) -> Result<(), Disconnected> {
        let message = message(body);
        let bytes = weight(&message);
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) > QUEUE_BYTES_MAX {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Disconnected);
        }
        self.bulk.try_send(message).map_err(|_| Disconnected)
    }

    /// Sends ahead of data.
    pub(crate) fn send_urgent(&self, body: proto::message::Body) -> Result<(), Disconnected> {
        self.urgent.try_send(message(body)).map_err(|_| Disconnected)
    }

    /// Registers a session: its answers arrive at `answers`, which has room for its window.
    pub(crate) fn open_session(
        &self,
        session: u64,
        answers: mpsc::Sender<proto::Appended>,
    ) -> Result<(), Disconnected> {
        self.register(session, Waiter::Session(answers))
    }

    /// Sends one request and waits for its answer.
    pub(crate) async fn request(
        &self,
        number: u64,
        body: proto::message::Body,
    ) -> Result<Answer, Disconnected> {
        let (sender, answer) = oneshot::channel();
        self.register(number, Waiter::Request(sender))?;
        let forget = Forget { link: self, number };
        self.send_urgent(body)?;
        let answer = answer.await.map_err(|_| Disconnected);
        drop(forget);
        answer
    }

    fn register(&self, number: u64, waiter: Waiter) -> Result<(), Disconnected> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_mut().ok_or(Disconnected)?.insert(number, waiter);
        Ok(())
    }

    /// Nobody waits for this one any more.
    pub(crate) fn forget(&self, number: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.as_mut() {
            waiting.remove(&number);
        }
    }

    /// Hands an answer to whoever waits; without one it came too late.
    pub(crate) fn dispatch(&self, body: proto::message::Body) {
        use proto::message::Body;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = waiting.as_mut() else { return };
        match body {
            Body::Appended(appended) => {
                if let Some(Waiter::Session(answers)) = waiting.get(&appended.session) {
                    // Room for the window: full means that the peer answers what nobody asked.
                    drop(answers.try_send(appended));
                }
            }
            Body::Voted(voted) => {
                if let Some(Waiter::Request(sender)) = waiting.remove(&voted.request) {
                    drop(sender.send(Answer::Voted(voted)));
                }
            }
            Body::Transferred(transferred) => {
                if let Some(Waiter::Request(sender)) = waiting.remove(&transferred.request) {
                    drop(sender.send(Answer::Transferred(transferred)));
                }
            }
            Body::Hello(_)
            | Body::Welcome(_)
            | Body::Append(_)
            | Body::Vote(_)
            | Body::Transfer(_)
            | Body::Beat(_) => {}
        }
    }

    /// Wakes everyone who waits: the connection is gone.
    pub(crate) fn close(&self) {
        drop(self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Forgets a request when its caller goes away.
struct Forget<'a> {
    link: &'a Link,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.link.forget(self.number);
    }
}

/// Wraps a body.
pub(crate) const fn message(body: proto::message::Body) -> proto::Message {
    proto::Message { body: Some(body) }
}
