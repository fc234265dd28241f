//! Keeps one connection to one peer, from this side.

use std::sync::Arc;
use std::time::Duration;

use quipu_proto::peer as proto;
use quipu_proto::peer::message::Body;
use quipu_runtime::Rng;
use tonic::{Code, Streaming};

use crate::frame::frame_bytes;
use crate::identity::{Hello, judge_welcome};
use crate::link::{Link, message};
use crate::peers::{Peer, Peers};
use crate::{transport, wire};

/// Why a connection did not come about, or ended.
enum End {
    /// Worked for a while, then broke.
    Broke,
    /// Nobody answered.
    Absent(String),
    /// The peer turned this node away.
    RejectedBy(String),
    /// This node turned the peer away.
    Rejected(String),
}

/// Dials for ever, with pauses that grow and a jitter that keeps nodes apart.
pub(crate) async fn keep_connected(peers: Arc<Peers>, peer: Arc<Peer>) {
    let mut rng = Rng::from_entropy();
    let (shortest, longest) = (peers.config().reconnect_min, peers.config().reconnect_max);
    let mut pause = shortest;
    loop {
        let end = connection(&peers, &peer).await;
        pause = next_pause(&end, pause, shortest, longest);
        report(&peer, end);
        tokio::select! {
            biased;
            () = tokio::time::sleep(rng.jitter(pause, 0.2)) => {}
            () = peer.woken() => {}
        }
    }
}

fn next_pause(end: &End, pause: Duration, shortest: Duration, longest: Duration) -> Duration {
    match end {
        End::Broke => shortest,
        End::Absent(_) => (pause * 2).min(longest),
        End::RejectedBy(_) | End::Rejected(_) => longest,
    }
}

fn report(peer: &Peer, end: End) {
    match end {
        End::Broke => tracing::info!(node = %peer.node(), "connection to peer broke"),
        End::Absent(why) => tracing::debug!(node = %peer.node(), why, "peer does not answer"),
        End::RejectedBy(why) => {
            tracing::warn!(node = %peer.node(), why, "the peer turns this node away");
            peer.set_rejected_by(Some(why));
        }
        End::Rejected(why) => peer.set_rejected(Some(why)),
    }
}

/// One connection from dial to break.
async fn connection(peers: &Arc<Peers>, peer: &Arc<Peer>) -> End {
    let opened = tokio::time::timeout(peers.config().connect_timeout * 2, open(peers, peer)).await;
    let (link, mut frames) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(end)) => return end,
        Err(_) => return End::Absent("the handshake took too long".to_owned()),
    };
    peer.set_link(Some(Arc::clone(&link)));
    // Also when this task is dropped: nobody may wait on a link that nobody reads.
    let unlink = Unlink { peers, peer };
    tracing::info!(node = %peer.node(), "connected to peer");
    peers.note_change();
    let stall_max = peers.config().stall_max();
    while let Ok(Ok(Some(frame))) = tokio::time::timeout(stall_max, frames.message()).await {
        peer.heard(peers.clock().monotonic());
        peers.traffic().received.increment(frame_bytes(&frame));
        frame.messages.into_iter().filter_map(|message| message.body).for_each(|body| {
            link.dispatch(body);
        });
    }
    drop(unlink);
    End::Broke
}

struct Unlink<'a> {
    peers: &'a Arc<Peers>,
    peer: &'a Arc<Peer>,
}

impl Drop for Unlink<'_> {
    fn drop(&mut self) {
        self.peer.set_link(None);
        self.peers.note_change();
    }
}

async fn open(
    peers: &Arc<Peers>,
    peer: &Arc<Peer>,
) -> Result<(Arc<Link>, Streaming<proto::Frame>), End> {
    let Some(address) = peers.address(peer.node()) else {
        return Err(End::Absent("the node has no known address".to_owned()));
    };
    let carrier = peers.connect(address).await.map_err(End::Absent)?;
    let (link, outgoing) = Link::new(carrier.clone());
    let hello = message(Body::Hello(wire::to_hello(&peers.hello(peer.node()))));
    let mut client = transport::client(carrier);
    let frames = client
        .exchange(outgoing.frames(hello, peers.traffic().sent.clone()))
        .await
        .map_err(|status| {
            if status.code() == Code::FailedPrecondition {
                End::RejectedBy(status.message().to_owned())
            } else {
                End::Absent(status.message().to_owned())
            }
        })?;
    peer.set_rejected_by(None);
    let mut frames = frames.into_inner();
    welcomed(peers, peer, &mut frames).await?;
    Ok((Arc::new(link), frames))
}

/// Reads the answer to the hello.
async fn welcomed(
    peers: &Peers,
    peer: &Peer,
    frames: &mut Streaming<proto::Frame>,
) -> Result<(), End> {
    let first =
        frames.message().await.map_err(|status| End::Absent(status.message().to_owned()))?;
    let first = first.and_then(|frame| frame.messages.into_iter().next());
    let Some(Body::Welcome(welcome)) = first.and_then(|message| message.body) else {
        return Err(End::Absent("no welcome".to_owned()));
    };
    let identity = wire::from_identity(&welcome);
    let identity = identity.ok_or_else(|| End::Absent("a welcome cut short".to_owned()))?;
    let incarnation = identity.incarnation;
    judge_welcome(peer.node(), &identity)
        .and_then(|()| peers.judge(&Hello { sender: identity, receiver: peers.node() }))
        .map_err(|rejection| End::Rejected(rejection.to_string()))?;
    peer.met(incarnation, peers.clock().monotonic());
    Ok(())
}
