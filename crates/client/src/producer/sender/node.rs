//! One node: its stream and what is unanswered on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quipu_proto::v1;
use tokio::sync::mpsc;

use super::Key;
use crate::client::Shared;
use crate::link::{LINK_REQUESTS_MAX, Link, LinkEvent, LinkId, Produce};

/// A request is not filled further: smaller ones keep the pipeline moving.
const REQUEST_BYTES: usize = 4 << 20;

/// Unanswered requests that keep a server's pipeline full (its bundles in flight, halved between
/// the way there and the way back).
const BUSY_REQUESTS: usize = 4;

/// A batch for the next request.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: Key,
    pub(super) number: u64,
    pub(super) batch: v1::ProduceBatch,
}

/// A request on its way: which batches it holds, in order.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) sent_at: Duration,
    pub(super) batches: Vec<(Key, u64)>,
}

/// A node and the stream to it.
#[derive(Debug, Default)]
pub(super) struct Node {
    link: Option<Link<Produce>>,
    pub(super) pending: Vec<Pending>,
    pub(super) unanswered: BTreeMap<u64, Unanswered>,
    /// Partitions that wait for room on the stream.
    pub(super) stalled: Vec<Key>,
    pub(super) answered_at: Duration,
    /// Streams that broke since the last answer.
    pub(super) failures: u32,
    pub(super) not_before: Duration,
}

impl Node {
    pub(super) fn route(&self) -> Option<LinkId> {
        self.link.as_ref().map(|link| link.id)
    }

    pub(super) fn open(
        &mut self,
        client: Arc<Shared>,
        id: LinkId,
        events: mpsc::Sender<LinkEvent<v1::ProduceResponse>>,
    ) {
        self.link = Some(Link::open(client, id, events));
    }

    /// Another batch still fits into what may be unanswered.
    pub(super) fn has_room(&self) -> bool {
        let bytes: usize = self.pending.iter().map(|pending| pending.batch.records.len()).sum();
        self.unanswered.len() + bytes / REQUEST_BYTES + 1 < LINK_REQUESTS_MAX
    }

    /// So much is on its way that another small batch would gain nothing by being sent now. An
    /// answer, or the end of the stream, wakes those who wait.
    pub(super) fn is_busy(&self) -> bool {
        self.unanswered.len() >= BUSY_REQUESTS
    }

    /// Hands what is pending to the stream, in as few requests as fit.
    pub(super) fn send_pending(
        &mut self,
        now: Duration,
        mut request: impl FnMut(Vec<v1::ProduceBatch>) -> v1::ProduceRequest,
    ) {
        let mut pending = std::mem::take(&mut self.pending).into_iter().peekable();
        while pending.peek().is_some() {
            let mut bytes = 0;
            let (mut keys, mut batches) = (Vec::new(), Vec::new());
            while let Some(next) = pending.next_if(|next| {
                batches.is_empty() || bytes + next.batch.records.len() <= REQUEST_BYTES
            }) {
                bytes += next.batch.records.len();
                keys.push((next.key, next.number));
                batches.push(next.batch);
            }
            let request = request(batches);
            let unanswered = Unanswered { sent_at: now, batches: keys };
            self.unanswered.insert(request.request_id, unanswered);
            // A dead stream takes nothing: its end, which is on its way, brings the batches back.
            let _ = self.link.as_ref().map(|link| link.send(request));
        }
    }

    /// The stream is gone: the partitions that have something on it.
    pub(super) fn close(&mut self) -> BTreeSet<Key> {
        self.link = None;
        let unanswered = std::mem::take(&mut self.unanswered);
        unanswered.into_values().flat_map(|it| it.batches).map(|(key, _)| key).collect()
    }

    /// The oldest request without an answer.
    pub(super) fn oldest(&self) -> Option<&Unanswered> {
        self.unanswered.values().next()
    }
}
