//! The door: connect once, clone the handle.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quipu_proto::v1;
use quipu_proto::v1::admin_client::AdminClient;
use quipu_proto::v1::cluster_client::ClusterClient;
use quipu_proto::v1::groups_client::GroupsClient;
use quipu_proto::v1::log_client::LogClient;
use quipu_types::{Effect, NodeId};
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::address::Bootstrap;
use crate::admin::Admin;
use crate::call::{Call, Target};
use crate::channels::{Channels, Class, with_limits};
use crate::cluster_view::{self, ClusterView, Topic};
use crate::consumer::ConsumerBuilder;
use crate::error::{ConnectError, TimeoutError};
use crate::producer::{Producer, ProducerBuilder};
use crate::reader::ReaderBuilder;
use crate::record::{NewRecord, Receipt};
use crate::tasks::{Task, spawn_owned};
use crate::{Error, Result, backoff};

/// A connection to a cluster. Cheap to clone; all clones share connections and knowledge.
///
/// ```no_run
/// # async fn example() -> quipu_client::Result<()> {
/// use std::time::Duration;
///
/// use quipu_client::Client;
///
/// let client = Client::builder("quipu://n1:9192,n2:9192,n3:9192")
///     .service("permit-office")
///     .connect_timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    /// Made by the first [`Self::publish`].
    default_producer: Arc<OnceLock<Producer>>,
}

/// What all handles of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) service: String,
    pub(crate) settings: Settings,
    pub(crate) channels: Channels,
    pub(crate) view: ClusterView,
    refresher: OnceLock<Task>,
}

/// Plain settings; see [`ClientBuilder`] for their meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) request_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) metadata_refresh: Duration,
}

/// Settings of a [`Client`].
#[derive(Clone, Debug)]
#[must_use = "call connect()"]
pub struct ClientBuilder {
    servers: String,
    service: String,
    settings: Settings,
}

impl Client {
    /// Starts from addresses: `quipu://host:port,host:port`; the port is 9192 if left out. One
    /// that answers is enough: the others are learned from it.
    pub fn builder(servers: &str) -> ClientBuilder {
        ClientBuilder {
            servers: servers.to_owned(),
            service: "unnamed".to_owned(),
            settings: Settings {
                request_timeout: Duration::from_secs(30),
                connect_timeout: Duration::from_secs(5),
                metadata_refresh: Duration::from_secs(30),
            },
        }
    }

    /// Connects with all defaults.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    pub async fn connect(servers: &str) -> Result<Self> {
        Self::builder(servers).connect().await
    }

    /// The name given to [`ClientBuilder::service`].
    #[must_use]
    pub fn service(&self) -> &str {
        &self.shared.service
    }

    /// A producer with its own settings.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.shared.clone())
    }

    /// Publishes one event with the default settings and resolves once a quorum has it on disk.
    ///
    /// - Order: events of one partition keep the order of calls.
    /// - Dropping the future does not cancel the event once it is in the buffer.
    ///
    /// # Errors
    /// See [`Producer::publish`].
    pub async fn publish(&self, record: NewRecord) -> Result<Receipt> {
        self.default_producer()?.publish(record).await
    }

    /// Reads a topic from its earliest event on, without end, unless told otherwise.
    pub fn reader(&self, topic: &str) -> ReaderBuilder {
        ReaderBuilder::new(self.shared.clone(), topic)
    }

    /// Reads what a topic holds now and stops there, unless told otherwise. Touches no group.
    pub fn replay(&self, topic: &str) -> ReaderBuilder {
        self.reader(topic).until(crate::End::Latest)
    }

    /// Reads topics together with the other members of a group: [`ConsumerBuilder::group`] names
    /// it. Topics may be none when [`ConsumerBuilder::pattern`] says which.
    pub fn subscribe<T: Into<String>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> ConsumerBuilder {
        let topics = topics.into_iter().map(Into::into).collect();
        ConsumerBuilder::new(self.shared.clone(), topics)
    }

    /// Topics and the cluster itself.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.shared.clone())
    }

    /// Delivers what [`Self::publish`] still holds, within `deadline`.
    ///
    /// # Errors
    /// The first delivery that failed or did not make it in time.
    pub async fn close(&self, deadline: Duration) -> Result<()> {
        match self.default_producer.get() {
            Some(producer) => producer.close(deadline).await,
            None => Ok(()),
        }
    }

    fn default_producer(&self) -> Result<&Producer> {
        if let Some(producer) = self.default_producer.get() {
            return Ok(producer);
        }
        let made = self.producer().build()?;
        Ok(self.default_producer.get_or_init(|| made))
    }
}

impl ClientBuilder {
    /// Names the service: the label of its metrics and its name in the servers' logs.
    pub fn service(self, name: impl Into<String>) -> Self {
        Self { service: name.into(), ..self }
    }

    /// Bounds each attempt to connect. 5 s unless set.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self { settings: Settings { connect_timeout: timeout, ..self.settings }, ..self }
    }

    /// Bounds each administrative call with all its retries. 30 s unless set.
    pub fn request_timeout(self, timeout: Duration) -> Self {
        Self { settings: Settings { request_timeout: timeout, ..self.settings }, ..self }
    }

    /// How often leaders are asked for without a reason. 30 s unless set.
    pub fn metadata_refresh(self, interval: Duration) -> Self {
        Self { settings: Settings { metadata_refresh: interval, ..self.settings }, ..self }
    }

    /// Asks the addresses one after the other until one answers.
    ///
    /// # Errors
    /// `Error::Invalid` for a list that cannot be read; [`Error::Connect`] names every address
    /// tried and why it did not serve.
    pub async fn connect(self) -> Result<Client> {
        let bootstrap = Bootstrap::from_str(&self.servers)
            .map_err(|error| Error::invalid(error.to_string()))?;
        let user_agent = format!("quipu-client/{} ({})", env!("CARGO_PKG_VERSION"), self.service);
        let shared = Arc::new(Shared {
            channels: Channels::new(self.settings.connect_timeout, user_agent),
            view: ClusterView::new(bootstrap.addresses().to_vec()),
            service: self.service,
            settings: self.settings,
            refresher: OnceLock::new(),
        });
        first_contact(&shared).await?;
        let interval = self.settings.metadata_refresh;
        let keep_fresh = cluster_view::keep_fresh(Arc::downgrade(&shared), interval);
        shared.refresher.get_or_init(|| spawn_owned(keep_fresh));
        Ok(Client { shared, default_producer: Arc::default() })
    }
}

async fn first_contact(shared: &Shared) -> Result<()> {
    let mut attempts = Vec::new();
    for address in shared.view.bootstrap() {
        let call = Call {
            action: "connect".to_owned(),
            target: Target::Address(address.clone()),
            is_repeatable: true,
        };
        let request = v1::MetadataRequest::default();
        let asked = shared.once(&call, request, |channel, request| async move {
            cluster_service(channel).metadata(request).await
        });
        match asked.await {
            Ok((answer, from)) => return shared.view.merge(&answer, &from),
            Err(error) => attempts.push((address.clone(), error)),
        }
    }
    Err(Error::Connect(Arc::new(ConnectError { attempts })))
}

impl Shared {
    /// A topic, looked up if it is not known yet; waits while no server answers.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<Topic>> {
        if let Some(topic) = self.view.topic(name) {
            return Ok(topic);
        }
        let begun = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match cluster_view::lookup(self, name).await {
                Err(error) if error.is_unavailable() => error,
                found => return found,
            };
            let (waited, effect) = (begun.elapsed(), Effect::None);
            if waited >= self.settings.request_timeout {
                let action = format!("look up topic {name:?}");
                let last = Some(error);
                return Err(Error::timeout(TimeoutError {
                    action,
                    waited,
                    attempts,
                    effect,
                    last,
                }));
            }
            tokio::time::sleep(backoff::pause(attempts, Duration::ZERO)).await;
        }
    }

    /// The connection to a node, by the address it advertises.
    pub(crate) async fn connect(&self, node: NodeId, class: Class) -> Result<(Channel, String)> {
        let known = self.view.load().nodes.get(&node).cloned();
        let Some(address) = known else {
            self.view.want_refresh();
            return Err(Error::invalid(format!("the address of node {node} is not known yet")));
        };
        match self.channels.get(&address, class).await {
            Ok(channel) => Ok((channel, address)),
            Err(error) => Err(error.with_hint(|| {
                format!(
                    "node {node} advertises this address; if clients cannot reach it, set the \
                     node's advertised address"
                )
            })),
        }
    }
}

pub(crate) fn log_service(channel: Channel) -> LogClient<Channel> {
    with_limits!(LogClient::new(channel))
}

pub(crate) fn groups_service(channel: Channel) -> GroupsClient<Channel> {
    with_limits!(GroupsClient::new(channel))
}

pub(crate) fn admin_service(channel: Channel) -> AdminClient<Channel> {
    with_limits!(AdminClient::new(channel))
}

pub(crate) fn cluster_service(channel: Channel) -> ClusterClient<Channel> {
    with_limits!(ClusterClient::new(channel))
}
