//! What carries calls to a peer, and who makes it: TCP, or the network of a simulator.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Service, StdError};
use tonic::transport::Channel;

use crate::config::Config;
use crate::transport;

/// A call on its way.
pub type Answering = BoxFuture<'static, Result<Response<Body>, StdError>>;

/// Makes connections to peers.
pub trait Connector: Send + Sync + 'static {
    /// Connects to the listener at an address, within [`Config::connect_timeout`].
    fn connect(
        &self,
        address: String,
        config: &Config,
    ) -> BoxFuture<'static, Result<Carrier, String>>;
}

/// Connects over TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp;

impl Connector for Tcp {
    fn connect(
        &self,
        address: String,
        config: &Config,
    ) -> BoxFuture<'static, Result<Carrier, String>> {
        let config = config.clone();
        async move { transport::connect(&address, &config).await.map(Carrier::Http2) }.boxed()
    }
}

/// A connection to one peer. Clones share it.
#[derive(Clone)]
pub enum Carrier {
    /// HTTP/2 over TCP.
    Http2(Channel),
    /// Whatever the function does with a request.
    Function(Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>),
}

impl Service<Request<Body>> for Carrier {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        match self {
            Self::Http2(channel) => channel.poll_ready(cx).map_err(Into::into),
            Self::Function(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        match self {
            Self::Http2(channel) => {
                channel.call(request).map(|answer| answer.map_err(Into::into)).boxed()
            }
            Self::Function(function) => function(request),
        }
    }
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http2(_) => "HTTP/2",
            Self::Function(_) => "a function",
        })
    }
}
