//! One call over a connection: the request's body on its way, the answer's on its way back.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use quipu_consensus::PeerService;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Service, StdError};

use super::Net;
use super::connection::Connection;
use crate::l1::life::Life;

/// Frames of one direction under way: then the sender has to wait.
const FRAMES_UNDER_WAY: usize = 64;

/// A frame, and when it arrives.
type Sent = (Instant, Frame<Bytes>);

/// One direction of a call.
#[derive(Clone)]
struct Way {
    net: Net,
    source: Life,
    target: Life,
    /// The connection broke, or the caller went away.
    reset: CancellationToken,
}

/// Makes a call. Dropping the future, or the answer's body, resets the call.
pub(super) async fn start(
    net: Net,
    connection: Connection,
    service: PeerService,
    request: Request<Body>,
) -> Result<Response<Body>, StdError> {
    let reset = connection.broken.child_token();
    let guard = reset.clone().drop_guard();
    let Connection { client, server, .. } = connection;
    let there = Way { net, source: client, target: server, reset: reset.clone() };
    let (answer, answered) = oneshot::channel();
    let (parts, body) = request.into_parts();
    let body = there.carry(body, None);
    let request = Request::from_parts(parts, body);
    let served = serve(there.clone(), service, request, answer);
    let until_reset = reset.clone();
    there
        .net
        .spawn("call", async move { until_reset.run_until_cancelled(served).await.unwrap_or(()) });
    let answered = reset.run_until_cancelled(answered).await;
    let answer = answered.and_then(Result::ok).ok_or("connection reset")?;
    let (parts, frames) = answer.into_parts();
    let back = there.reversed();
    Ok(Response::from_parts(parts, back.body(frames, Some(guard))))
}

/// The server's side.
async fn serve(
    there: Way,
    mut service: PeerService,
    request: Request<Body>,
    answer: oneshot::Sender<Response<mpsc::Receiver<Sent>>>,
) {
    there.arrival().await;
    let Ok(response) = service.call(request).await;
    let back = there.reversed();
    let (parts, body) = response.into_parts();
    let frames = back.pump(body);
    back.arrival().await;
    // A caller that went away has reset the call.
    let _ = answer.send(Response::from_parts(parts, frames));
}

impl Way {
    fn reversed(&self) -> Self {
        let (source, target) = (self.target.clone(), self.source.clone());
        Self { source, target, ..self.clone() }
    }

    /// Waits as long as something sent now takes.
    async fn arrival(&self) {
        tokio::time::sleep(self.net.delay()).await;
        self.net.passage(self.source.node(), self.target.node()).await;
        self.while_alive().await;
    }

    /// A process that is gone sends nothing any more.
    async fn while_alive(&self) {
        if self.source.is_over() {
            self.reset.cancelled().await;
        }
    }

    /// The body as it comes out at the other end.
    fn carry(&self, body: Body, guard: Option<DropGuard>) -> Body {
        self.body(self.pump(body), guard)
    }

    /// Sends a body's frames off as they come.
    fn pump(&self, mut body: Body) -> mpsc::Receiver<Sent> {
        let (sender, frames) = mpsc::channel(FRAMES_UNDER_WAY);
        let own = self.clone();
        let pumping = async move {
            let mut last = Instant::now();
            while let Some(Ok(frame)) = body.frame().await {
                own.while_alive().await;
                last = last.max(Instant::now() + own.net.delay());
                if sender.send((last, frame)).await.is_err() {
                    break;
                }
            }
        };
        let reset = self.reset.clone();
        self.net
            .spawn("pump", async move { reset.run_until_cancelled(pumping).await.unwrap_or(()) });
        frames
    }

    /// What arrives, in order.
    fn body(&self, frames: mpsc::Receiver<Sent>, guard: Option<DropGuard>) -> Body {
        Body::new(StreamBody::new(self.clone().arriving(frames, guard).boxed()))
    }

    fn arriving(
        self,
        frames: mpsc::Receiver<Sent>,
        guard: Option<DropGuard>,
    ) -> impl Stream<Item = Result<Frame<Bytes>, StdError>> {
        stream::unfold(Some((self, frames, guard)), |state| async move {
            let (own, mut frames, guard) = state?;
            let next = own.reset.run_until_cancelled(own.next(&mut frames)).await;
            match next {
                Some(Some(frame)) => Some((Ok(frame), Some((own, frames, guard)))),
                Some(None) => None,
                None => Some((Err("connection reset".into()), None)),
            }
        })
    }

    async fn next(&self, frames: &mut mpsc::Receiver<Sent>) -> Option<Frame<Bytes>> {
        let (at, frame) = frames.recv().await?;
        tokio::time::sleep_until(at).await;
        self.net.passage(self.source.node(), self.target.node()).await;
        Some(frame)
    }
}
