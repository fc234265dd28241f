//! What a system must be able to do to be measured.

use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;

use anyhow::Result;
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use tokio::sync::mpsc;

use crate::book::{Book, Ticket};
use crate::plan::Plan;

pub(crate) mod kafka;
pub(crate) mod nats;
pub(crate) mod quipu;
pub(crate) mod rabbitmq;
pub(crate) mod redis;
pub(crate) mod streams;

/// A system.
pub(crate) trait Driver: Sized {
    /// A connection that publishes.
    type Publisher: Publisher + 'static;

    /// Connects for what is done beside the load.
    async fn connect(plan: &Plan) -> Result<Self>;

    /// Makes the topic and returns when every partition takes records.
    async fn create(&self, plan: &Plan) -> Result<()>;

    /// A connection of its own for each producer.
    async fn publisher(&self, plan: &Plan, book: Rc<Book>) -> Result<Self::Publisher>;

    /// A connection of its own that reads; returns when no record sent from now on is missed.
    async fn reader(&self, plan: &Plan, share: Share, sink: Sink) -> Result<Reading>;
}

/// Takes records; tells the book of each when it is acknowledged, or that it failed.
pub(crate) trait Publisher {
    /// Hands one over; waits only while the client has no room.
    async fn send(&mut self, payload: Bytes, ticket: Ticket) -> Result<()>;
}

/// Reads until it is dropped.
pub(crate) type Reading = LocalBoxFuture<'static, Result<()>>;

/// What one member of a group reads.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) group: u32,
    pub(crate) partitions: Vec<u32>,
    /// From the first record, not from the next.
    pub(crate) from_start: bool,
}

/// Where values go that were read.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    book: Rc<Book>,
    group: usize,
}

impl Sink {
    pub(crate) fn new(book: Rc<Book>, group: u32) -> Self {
        Self { book, group: usize::try_from(group).expect("u32 fits in usize") }
    }

    pub(crate) fn arrived(&self, value: &[u8]) {
        self.book.arrived(self.group, value);
    }
}

/// Awaits acknowledgements that come as futures: in order within a partition, a task for each, so
/// that none is noticed late because of another partition's.
pub(crate) struct Lanes<F> {
    book: Rc<Book>,
    lanes: HashMap<u32, mpsc::UnboundedSender<(F, Ticket)>>,
}

impl<F, E> Lanes<F>
where
    F: Future<Output = Result<(), E>> + 'static,
    E: std::fmt::Display + 'static,
{
    pub(crate) fn new(book: Rc<Book>) -> Self {
        Self { book, lanes: HashMap::new() }
    }

    /// Not bounded by itself: the book's room bounds what is on its way.
    pub(crate) fn push(&mut self, acknowledged: F, ticket: Ticket) {
        let book = &self.book;
        let lane = self.lanes.entry(ticket.partition).or_insert_with(|| {
            let (lane, waiting) = mpsc::unbounded_channel();
            tokio::task::spawn_local(walk(waiting, book.clone()));
            lane
        });
        // The task ends after this sender.
        drop(lane.send((acknowledged, ticket)));
    }
}

async fn walk<F, E>(mut waiting: mpsc::UnboundedReceiver<(F, Ticket)>, book: Rc<Book>)
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    while let Some((acknowledged, ticket)) = waiting.recv().await {
        match acknowledged.await {
            Ok(()) => book.acked(&ticket),
            Err(error) => book.failed(&ticket, &error.to_string()),
        }
    }
}
