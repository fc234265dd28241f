//! One stream of requests to one node, and its answers as events.
//!
//! A link is opened in the background and dies at its first failure; its owner opens another,
//! with a new generation, so that late events of the old one are told apart.

use std::future::Future;
use std::sync::Arc;

use quipu_proto::v1;
use quipu_types::NodeId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::Error;
use crate::channels::Class;
use crate::client::{Shared, groups_service, log_service};
use crate::tasks::{Task, spawn_owned};

/// Requests a link holds before its stream takes them. Owners keep fewer unanswered.
pub(crate) const LINK_REQUESTS_MAX: usize = 32;

/// What runs over a link.
pub(crate) trait Protocol: Send + 'static {
    type Request: Send + 'static;
    type Answer: Send + 'static;
    const CLASS: Class;
    /// For errors: "produce to".
    const ACTION: &'static str;

    fn open(
        channel: Channel,
        requests: ReceiverStream<Self::Request>,
    ) -> impl Future<Output = Result<Streaming<Self::Answer>, Status>> + Send;
}

/// `Log.Produce`.
#[derive(Debug)]
pub(crate) struct Produce;

/// `Log.Fetch`.
#[derive(Debug)]
pub(crate) struct Fetch;

/// `Groups.Join`.
#[derive(Debug)]
pub(crate) struct Join;

impl Protocol for Produce {
    type Request = v1::ProduceRequest;
    type Answer = v1::ProduceResponse;
    const CLASS: Class = Class::Produce;
    const ACTION: &'static str = "produce to";

    async fn open(
        channel: Channel,
        requests: ReceiverStream<Self::Request>,
    ) -> Result<Streaming<Self::Answer>, Status> {
        Ok(log_service(channel).produce(requests).await?.into_inner())
    }
}

impl Protocol for Fetch {
    type Request = v1::FetchRequest;
    type Answer = v1::FetchResponse;
    const CLASS: Class = Class::Fetch;
    const ACTION: &'static str = "fetch from";

    async fn open(
        channel: Channel,
        requests: ReceiverStream<Self::Request>,
    ) -> Result<Streaming<Self::Answer>, Status> {
        Ok(log_service(channel).fetch(requests).await?.into_inner())
    }
}

impl Protocol for Join {
    type Request = v1::JoinRequest;
    type Answer = v1::JoinResponse;
    const CLASS: Class = Class::Control;
    const ACTION: &'static str = "join a group at";

    async fn open(
        channel: Channel,
        requests: ReceiverStream<Self::Request>,
    ) -> Result<Streaming<Self::Answer>, Status> {
        Ok(groups_service(channel).join(requests).await?.into_inner())
    }
}

/// Which link an event is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkId {
    pub(crate) node: NodeId,
    pub(crate) generation: u64,
}

/// What a link tells its owner.
#[derive(Debug)]
pub(crate) enum LinkEvent<A> {
    Answer {
        link: LinkId,
        address: Arc<str>,
        answer: A,
    },
    /// The link is dead. `has_sent` is false when no request can have reached the node.
    Down {
        link: LinkId,
        error: Error,
        has_sent: bool,
    },
}

/// The owner's end. Dropping it closes the stream.
#[derive(Debug)]
pub(crate) struct Link<P: Protocol> {
    pub(crate) id: LinkId,
    /// `None` once the owner said that nothing more comes.
    requests: Option<mpsc::Sender<P::Request>>,
    _task: Task,
}

impl<P: Protocol> Link<P> {
    /// Starts to connect.
    pub(crate) fn open(
        client: Arc<Shared>,
        id: LinkId,
        events: mpsc::Sender<LinkEvent<P::Answer>>,
    ) -> Self {
        let (requests, waiting) = mpsc::channel(LINK_REQUESTS_MAX);
        let task = spawn_owned(async move {
            let down = run::<P>(&client, id, waiting, &events).await;
            // An owner that is gone needs no event.
            let _ = events.send(down).await;
        });
        Self { id, requests: Some(requests), _task: task }
    }

    /// Queues a request; gives it back when the link is full or dead.
    pub(crate) fn send(&self, request: P::Request) -> Result<(), P::Request> {
        let Some(requests) = &self.requests else { return Err(request) };
        requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(request)
            | mpsc::error::TrySendError::Closed(request) => request,
        })
    }

    /// Nothing more is sent; what was queued goes out and answers still come.
    pub(crate) fn finish(&mut self) {
        self.requests = None;
    }
}

async fn run<P: Protocol>(
    client: &Shared,
    link: LinkId,
    requests: mpsc::Receiver<P::Request>,
    events: &mpsc::Sender<LinkEvent<P::Answer>>,
) -> LinkEvent<P::Answer> {
    let (channel, address) = match client.connect(link.node, P::CLASS).await {
        Ok(connected) => connected,
        Err(error) => return LinkEvent::Down { link, error, has_sent: false },
    };
    let error = match P::open(channel, ReceiverStream::new(requests)).await {
        Ok(answers) => pass_on::<P>(link, &address, answers, events).await,
        Err(status) => Error::from_status(&status, P::ACTION, &address),
    };
    client.channels.forget(&address, P::CLASS);
    LinkEvent::Down { link, error, has_sent: true }
}

async fn pass_on<P: Protocol>(
    link: LinkId,
    address: &str,
    mut answers: Streaming<P::Answer>,
    events: &mpsc::Sender<LinkEvent<P::Answer>>,
) -> Error {
    let shared: Arc<str> = address.into();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                let event = LinkEvent::Answer { link, address: shared.clone(), answer };
                if events.send(event).await.is_err() {
                    return Error::Closed;
                }
            }
            Ok(None) => {
                return Error::stream_ended(P::ACTION, address, "the server ended the stream");
            }
            Err(status) => return Error::from_status(&status, P::ACTION, address),
        }
    }
}
