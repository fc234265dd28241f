//! Bundles messages into frames: whatever waits goes out together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{Stream, StreamExt, stream};
use metrics::Counter;
use quipu_proto::peer as proto;
use quipu_proto::peer::appended::Result as Outcome;
use quipu_proto::peer::message::Body;
use tokio::sync::mpsc;

/// A frame is sent once it holds so much; one message may be larger.
const FRAME_BYTES: usize = 256 << 10;
/// What a message without entries weighs, roughly.
const MESSAGE_BYTES: usize = 48;

/// Two queues on their way into frames: urgent messages overtake data.
pub(crate) struct Outgoing {
    urgent: mpsc::Receiver<proto::Message>,
    bulk: mpsc::Receiver<proto::Message>,
    /// What waits in `bulk`.
    bulk_bytes: Arc<AtomicUsize>,
}

impl Outgoing {
    pub(crate) const fn new(
        urgent: mpsc::Receiver<proto::Message>,
        bulk: mpsc::Receiver<proto::Message>,
        bulk_bytes: Arc<AtomicUsize>,
    ) -> Self {
        Self { urgent, bulk, bulk_bytes }
    }

    /// The frames, `first` alone in the first; their bytes are counted. Ends when both queues'
    /// senders are gone.
    pub(crate) fn frames(
        self,
        first: proto::Message,
        sent: Counter,
    ) -> impl Stream<Item = proto::Frame> + Send + 'static {
        let frames = stream::unfold((self, Some(first)), |(mut queues, first)| async move {
            let frame = match first {
                Some(first) => proto::Frame { messages: vec![first] },
                None => queues.next().await?,
            };
            Some((frame, (queues, None)))
        });
        frames.inspect(move |frame| sent.increment(frame_bytes(frame)))
    }

    async fn next(&mut self) -> Option<proto::Frame> {
        let first = tokio::select! {
            biased;
            Some(message) = self.urgent.recv() => message,
            Some(message) = self.bulk.recv() => self.counted(message),
            else => return None,
        };
        let mut frame = Bundle::default();
        frame.push(first);
        while frame.bytes < FRAME_BYTES {
            if let Ok(message) = self.urgent.try_recv() {
                frame.push(message);
            } else if let Ok(message) = self.bulk.try_recv() {
                frame.push(self.counted(message));
            } else {
                break;
            }
        }
        Some(proto::Frame { messages: frame.messages.into() })
    }

    fn counted(&self, message: proto::Message) -> proto::Message {
        self.bulk_bytes.fetch_sub(weight(&message), Ordering::Relaxed);
        message
    }
}

#[derive(Default)]
struct Bundle {
    messages: VecDeque<proto::Message>,
    bytes: usize,
}

impl Bundle {
    /// Adds a message; an acknowledgement replaces an older one of its session.
    fn push(&mut self, message: proto::Message) {
        if let Some(last) = self.messages.back_mut()
            && supersedes(&message, last)
        {
            *last = message;
            return;
        }
        self.bytes += weight(&message);
        self.messages.push_back(message);
    }
}

fn supersedes(newer: &proto::Message, older: &proto::Message) -> bool {
    match (&newer.body, &older.body) {
        (Some(Body::Appended(newer)), Some(Body::Appended(older))) => {
            let are_matches = matches!(
                (&newer.result, &older.result),
                (Some(Outcome::Matched(_)), Some(Outcome::Matched(_)))
            );
            are_matches && newer.session == older.session && newer.number > older.number
        }
        _ => false,
    }
}

/// The bytes of a message, roughly.
pub(crate) fn weight(message: &proto::Message) -> usize {
    match &message.body {
        Some(Body::Append(append)) => {
            let payloads: usize = append.entries.iter().map(|entry| entry.payload.len() + 8).sum();
            MESSAGE_BYTES + payloads
        }
        _ => MESSAGE_BYTES,
    }
}

/// The bytes of a frame, as counted in the metrics.
pub(crate) fn frame_bytes(frame: &proto::Frame) -> u64 {
    u64::try_from(frame.messages.iter().map(weight).sum::<usize>()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::message;
    use bytes::Bytes;

    fn append(bytes: usize) -> proto::Message {
        let entries = vec![proto::Entry { term: 1, payload: Bytes::from(vec![0; bytes]) }];
        message(Body::Append(proto::Append { entries, ..proto::Append::default() }))
    }

    fn matched(session: u64, number: u64) -> proto::Message {
        let result = Some(Outcome::Matched(proto::Matched::default()));
        message(Body::Appended(proto::Appended { session, number, result }))
    }

    #[tokio::test]
    async fn what_waits_goes_out_together_and_urgent_first() {
        let (urgent, urgent_queue) = mpsc::channel(16);
        let (bulk, bulk_queue) = mpsc::channel(16);
        let hello = message(Body::Hello(proto::Hello::default()));
        let queued = Arc::new(AtomicUsize::new(0));
        let outgoing = Outgoing::new(urgent_queue, bulk_queue, Arc::clone(&queued));
        let mut frames = Box::pin(outgoing.frames(hello, Counter::noop()));
        for _ in 0..4 {
            queued.fetch_add(weight(&append(100 << 10)), Ordering::Relaxed);
            bulk.try_send(append(100 << 10)).expect("room");
        }
        urgent.try_send(message(Body::Beat(proto::Beat::default()))).expect("room");
        drop((urgent, bulk));
        let mut sizes = Vec::new();
        let mut second = None;
        while let Some(frame) = frames.next().await {
            if sizes.len() == 1 {
                second = frame.messages.first().cloned();
            }
            sizes.push(frame.messages.len());
        }
        assert_eq!(sizes, [1, 4, 1]);
        assert_eq!(queued.load(Ordering::Relaxed), 0);
        assert!(matches!(second.and_then(|message| message.body), Some(Body::Beat(_))));
    }

    #[test]
    fn acknowledgements_of_one_session_merge() {
        let mut bundle = Bundle::default();
        for (session, number) in [(1, 1), (1, 2), (2, 1), (1, 3), (1, 4)] {
            bundle.push(matched(session, number));
        }
        assert_eq!(bundle.messages, [matched(1, 2), matched(2, 1), matched(1, 4)]);
    }
}
