//! Connections to nodes, kept and shared.
//!
//! Each class of traffic has its own connection, so that a large fetch does not stand before the
//! acknowledgement of a small produce.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use quipu_types::limits::GRPC_MESSAGE_BYTES_MAX;
use tonic::transport::{Channel, Endpoint};

use crate::Error;

/// Flow-control windows: hyper's defaults stall streams of batches on a fast network.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// A peer that is silent for the sum of both is gone.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Control,
    Produce,
    Fetch,
}

/// The open connections by address.
#[derive(Debug)]
pub(crate) struct Channels {
    connect_timeout: Duration,
    user_agent: String,
    open: Mutex<HashMap<(String, Class), Channel>>,
}

impl Channels {
    pub(crate) fn new(connect_timeout: Duration, user_agent: String) -> Self {
        Self { connect_timeout, user_agent, open: Mutex::default() }
    }

    /// The connection to `address`, made if there is none.
    pub(crate) async fn get(&self, address: &str, class: Class) -> Result<Channel, Error> {
        let key = (address.to_owned(), class);
        if let Some(channel) = self.lock().get(&key) {
            return Ok(channel.clone());
        }
        let endpoint = self.endpoint(address)?;
        let channel = match tokio::time::timeout(self.connect_timeout, endpoint.connect()).await {
            Ok(connected) => connected.map_err(|error| Error::unreachable(address, &error))?,
            Err(_) => {
                let waited = self.connect_timeout.as_secs_f64();
                let silent = std::io::Error::other(format!("no answer within {waited:.1} s"));
                return Err(Error::unreachable(address, &silent));
            }
        };
        self.lock().insert(key, channel.clone());
        Ok(channel)
    }

    /// Drops a connection that failed: the next call dials again, names resolved anew.
    pub(crate) fn forget(&self, address: &str, class: Class) {
        self.lock().remove(&(address.to_owned(), class));
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, Error> {
        let invalid = |error: &tonic::transport::Error| Error::unreachable(address, error);
        Ok(Endpoint::from_shared(format!("http://{address}"))
            .and_then(|endpoint| endpoint.user_agent(self.user_agent.clone()))
            .map_err(|error| invalid(&error))?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(PING_INTERVAL))
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .max_frame_size(FRAME_BYTES_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Class), Channel>> {
        self.open.lock().expect("nothing panics while it holds this lock")
    }
}

/// Sets the message limits of a generated client.
macro_rules! with_limits {
    ($client:expr) => {
        $client
            .max_decoding_message_size($crate::channels::MESSAGE_BYTES_MAX)
            .max_encoding_message_size($crate::channels::MESSAGE_BYTES_MAX)
    };
}
pub(crate) use with_limits;

pub(crate) const MESSAGE_BYTES_MAX: usize = GRPC_MESSAGE_BYTES_MAX;
