//! Settings, checked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quipu_proto::v1;

use super::{ConsumerEvent, Rebalance};
use crate::position::Start;
use crate::{Error, Result, reader};

/// Where a group without a position starts, in each partition.
///
/// ```
/// use quipu_client::{Start, StartAt};
///
/// assert_eq!(StartAt::from(Start::Latest), StartAt::Position(Start::Latest));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// Here. `Latest` and times are fixed when the subscription begins. Partitions that appear
    /// later, or that were added since the group read the topic, start at their beginning:
    /// whatever was published to them is new to the group.
    Position(Start),
    /// Nowhere: a partition without a position is an error, `Error::NoPosition`, unless it was
    /// added since as above.
    None,
}

impl From<Start> for StartAt {
    fn from(start: Start) -> Self {
        Self::Position(start)
    }
}

/// How a group spreads partitions over its members.
///
/// ```
/// assert_eq!(quipu_client::Assignor::default(), quipu_client::Assignor::Uniform);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignor {
    /// Balanced over all topics, moving as little as possible.
    #[default]
    Uniform,
    /// Contiguous blocks of each topic.
    Range,
}

type Listener<T> = Arc<dyn Fn(T) + Send + Sync>;

/// See [`super::ConsumerBuilder`] for the meaning of each.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) group: Arc<str>,
    pub(super) topics: Vec<String>,
    pub(super) patterns: Vec<String>,
    pub(super) instance: String,
    pub(super) assignor: Assignor,
    pub(super) start: StartAt,
    pub(super) session_timeout: Duration,
    pub(super) processing_timeout: Duration,
    pub(super) revoke_timeout: Duration,
    pub(super) commit_interval: Duration,
    pub(super) concurrency: usize,
    pub(super) on_rebalance: Option<Listener<Rebalance>>,
    pub(super) on_event: Option<Listener<ConsumerEvent>>,
    pub(super) reading: reader::Config,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, topics, patterns, instance, .. } = self;
        f.debug_struct("Config")
            .field("group", group)
            .field("topics", topics)
            .field("patterns", patterns)
            .field("instance", instance)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// What must hold before anything is sent; names and patterns are the server's to judge.
    pub(super) fn validate(&self) -> Result<()> {
        self.reading.validate()?;
        let bounds = [
            ("session_timeout", self.session_timeout, 6, 1_800),
            ("processing_timeout", self.processing_timeout, 1, 86_400),
        ];
        for (name, value, min, max) in bounds {
            if !(Duration::from_secs(min)..=Duration::from_secs(max)).contains(&value) {
                let seconds = value.as_secs_f64();
                let text = format!("{name} is {seconds} s; it must be {min} s to {max} s");
                return Err(Error::invalid(text));
            }
        }
        if self.group.is_empty() {
            return Err(Error::invalid("a subscription needs a group: call group()"));
        }
        if self.topics.is_empty() && self.patterns.is_empty() {
            return Err(Error::invalid("a subscription needs a topic or a pattern"));
        }
        if self.concurrency == 0 || self.commit_interval.is_zero() {
            return Err(Error::invalid("concurrency and commit_interval must not be 0"));
        }
        Ok(())
    }

    /// How long a revoked partition waits for its messages.
    pub(super) fn revoke_grace(&self) -> Duration {
        self.revoke_timeout.min(self.session_timeout / 2)
    }

    pub(super) fn subscription(&self, client: &str) -> v1::Subscription {
        let assignor = match self.assignor {
            Assignor::Uniform => v1::Assignor::Uniform,
            Assignor::Range => v1::Assignor::Range,
        };
        let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        v1::Subscription {
            topics: self.topics.clone(),
            patterns: self.patterns.clone(),
            assignor: assignor.into(),
            client: client.to_owned(),
            instance_id: self.instance.clone(),
            session_timeout_ms: ms(self.session_timeout),
            processing_timeout_ms: ms(self.processing_timeout),
        }
    }

    pub(super) fn tell(&self, change: Rebalance) {
        let (Rebalance::Assigned(names) | Rebalance::Revoked(names) | Rebalance::Lost(names)) =
            &change;
        if names.is_empty() {
            return;
        }
        tracing::info!(group = %self.group, ?change, "partitions changed");
        if let Some(listener) = &self.on_rebalance {
            listener(change);
        }
    }
}
