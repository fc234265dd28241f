//! Settings of a consumer, and how it begins.

use std::sync::Arc;
use std::time::Duration;

use super::config::{Assignor, Config, StartAt};
use super::member::{self, Member, Origin};
use super::table::Table;
use super::{Consumer, ConsumerEvent, Rebalance, Watcher};
use crate::Result;
use crate::backoff;
use crate::client::Shared;
use crate::reader::fetcher::Fetcher;
use crate::reader::{self, OutOfRange};
use crate::tasks::{spawn_detached, spawn_owned};

/// Settings of a [`Consumer`].
///
/// ```no_run
/// # async fn example(client: quipu_client::Client) -> quipu_client::Result<()> {
/// use std::time::Duration;
///
/// use quipu_client::Start;
///
/// let consumer = client
///     .subscribe(["fees", "tolls"])
///     .pattern("court\\..*")
///     .group("sms-service")
///     .start_at(Start::Latest)
///     .instance("sms-1")
///     .session_timeout(Duration::from_secs(30))
///     .join()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "call join()"]
pub struct ConsumerBuilder {
    client: Arc<Shared>,
    config: Config,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Arc<Shared>, topics: Vec<String>) -> Self {
        let reading = reader::Config {
            buffer_bytes: 32 << 20,
            fetch_bytes: 1 << 20,
            max_wait: Duration::from_millis(500),
            below_start: OutOfRange::Earliest,
            above_end: OutOfRange::Fail,
            give_up_after: Duration::MAX,
            node: None,
        };
        let config = Config {
            group: "".into(),
            topics,
            patterns: Vec::new(),
            instance: String::new(),
            assignor: Assignor::Uniform,
            start: StartAt::Position(crate::Start::Earliest),
            session_timeout: Duration::from_secs(45),
            processing_timeout: Duration::from_secs(300),
            revoke_timeout: Duration::from_secs(30),
            commit_interval: Duration::from_secs(1),
            concurrency: 1,
            on_rebalance: None,
            on_event: None,
            reading,
        };
        Self { client, config }
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// The group whose members share the partitions. Must be set.
    pub fn group(self, name: impl Into<Arc<str>>) -> Self {
        self.with(|it| it.group = name.into())
    }

    /// Adds all topics whose whole names match this regular expression, those that are created
    /// later too.
    pub fn pattern(self, pattern: impl Into<String>) -> Self {
        self.with(|it| it.patterns.push(pattern.into()))
    }

    /// Where the group starts in partitions in which it has no position. The earliest unless set.
    pub fn start_at(self, start: impl Into<StartAt>) -> Self {
        self.with(|it| it.start = start.into())
    }

    /// What to do when retention removed events before they were read. Goes on at the first kept
    /// one unless set.
    pub fn on_below_start(self, policy: OutOfRange) -> Self {
        self.with(|it| it.reading.below_start = policy)
    }

    /// What to do when a position is above the end. Fails unless set.
    pub fn on_above_end(self, policy: OutOfRange) -> Self {
        self.with(|it| it.reading.above_end = policy)
    }

    /// Makes the member static: it keeps its partitions over a restart within the session
    /// timeout. The name must be its own.
    pub fn instance(self, name: impl Into<String>) -> Self {
        self.with(|it| it.instance = name.into())
    }

    /// How partitions are spread. Uniformly unless set.
    pub fn assignor(self, assignor: Assignor) -> Self {
        self.with(|it| it.assignor = assignor)
    }

    /// How long the member may be silent before the group goes on without it: 6 s to 30 min,
    /// 45 s unless set.
    pub fn session_timeout(self, timeout: Duration) -> Self {
        self.with(|it| it.session_timeout = timeout)
    }

    /// How long a message may stay unacknowledged: 1 s to 24 h, 5 min unless set. See
    /// [`Consumer`] for what happens then.
    pub fn processing_timeout(self, timeout: Duration) -> Self {
        self.with(|it| it.processing_timeout = timeout)
    }

    /// How long a revoked partition waits for the acknowledgements of messages that were handed
    /// out. 30 s unless set, and at most half of the session timeout.
    pub fn revoke_timeout(self, timeout: Duration) -> Self {
        self.with(|it| it.revoke_timeout = timeout)
    }

    /// How often positions are committed when nobody waits for them. 1 s unless set.
    pub fn commit_interval(self, interval: Duration) -> Self {
        self.with(|it| it.commit_interval = interval)
    }

    /// Nothing more is fetched while so much is not handed out yet, over all partitions. 32 MiB
    /// unless set.
    pub fn buffer_bytes(self, bytes: usize) -> Self {
        self.with(|it| it.reading.buffer_bytes = bytes)
    }

    /// What one fetch brings at most, if a single batch is not larger. 1 MiB unless set.
    pub fn fetch_bytes(self, bytes: usize) -> Self {
        self.with(|it| it.reading.fetch_bytes = bytes)
    }

    /// How many handlers [`Consumer::run`] calls at the same time. 1 unless set.
    pub fn concurrency(self, lanes: usize) -> Self {
        self.with(|it| it.concurrency = lanes)
    }

    /// Is told when partitions come and go. Called from a background task: be short.
    pub fn on_rebalance(self, listener: impl Fn(Rebalance) + Send + Sync + 'static) -> Self {
        self.with(|it| it.on_rebalance = Some(Arc::new(listener)))
    }

    /// Is told when events were skipped. Called from a background task: be short.
    pub fn on_event(self, listener: impl Fn(ConsumerEvent) + Send + Sync + 'static) -> Self {
        self.with(|it| it.on_event = Some(Arc::new(listener)))
    }

    /// Joins the group and starts to read what is assigned. Resolves once the coordinator
    /// accepted the member; partitions may be assigned later.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC` for a topic named that does not exist; `INVALID_GROUP`,
    /// `INVALID_SUBSCRIPTION`, `INSTANCE_IN_USE`, `GROUP_FULL`; [`crate::Error::Timeout`] when
    /// no coordinator answered within the client's request timeout; [`crate::Error::Invalid`]
    /// for settings outside their bounds.
    pub async fn join(self) -> Result<Consumer> {
        let Self { client, config } = self;
        config.validate()?;
        let origin = Origin::find(&client, &config).await?;
        let config = Arc::new(config);
        let table = Arc::new(Table::new());
        let watcher = Watcher { table: table.clone(), config: config.clone() };
        let fetcher = Fetcher::new(client.clone(), table.plan.clone(), config.reading);
        let fetcher = fetcher.observed_by(Arc::new(watcher));
        let fetching = spawn_owned(fetcher.run(table.output.clone()));
        let member_id = format!("{:016x}{:016x}", backoff::random(), backoff::random());
        let (member, handle) = Member::new(
            member::Parts {
                client: client.clone(),
                config: config.clone(),
                origin,
                member_id: member_id.clone(),
            },
            table.clone(),
            fetching,
        );
        spawn_detached(member.run());
        let member::Handle { commands, state, joined } = handle;
        let consumer = Consumer::new(client, config, table, member_id, (commands, state));
        joined.await.unwrap_or(Err(crate::Error::Closed))?;
        Ok(consumer)
    }
}
