//! HTTP/2 between nodes: few large streams, so large windows and frames.

use std::time::Duration;

use quipu_proto::peer::peer_client::PeerClient;
use quipu_types::limits;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

use crate::carrier::Carrier;
use crate::config::Config;

/// One stream carries all shards: it must never wait for a window on a fast network.
const STREAM_WINDOW: u32 = 8 << 20;
/// The stream, and calls beside it.
const CONNECTION_WINDOW: u32 = 32 << 20;
/// Larger frames mean fewer headers and fewer writes.
const FRAME_MAX: u32 = 1 << 20;
/// A peer that vanished without a word is noticed by these.
const KEEPALIVE: Duration = Duration::from_secs(1);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A server with the settings the peer service needs; add the service and serve.
#[must_use]
pub fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// The connections of a peer listener, for `serve_with_incoming`: without Nagle's delay, which a
/// server's own setting does not reach there.
#[must_use]
pub fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// Connects to a peer's listener.
pub(crate) async fn connect(address: &str, config: &Config) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| format!("address {address:?}: {error}"))?
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .buffer_size(limits::PEER_APPENDS_IN_FLIGHT_MAX)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let connected = tokio::time::timeout(config.connect_timeout, endpoint.connect()).await;
    match connected {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(format!("connect to {address}: {}", root(&error))),
        Err(_) => Err(format!("connect to {address}: timed out")),
    }
}

/// The innermost cause: tonic's own words say only "transport error".
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// A client with room for the largest message.
pub(crate) fn client(carrier: Carrier) -> PeerClient<Carrier> {
    PeerClient::new(carrier)
        .max_decoding_message_size(limits::GRPC_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::GRPC_MESSAGE_BYTES_MAX)
}
