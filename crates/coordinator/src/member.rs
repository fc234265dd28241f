//! A member of a group.

use std::collections::BTreeSet;

use quipu_types::{TopicId, TopicName};
use serde::{Deserialize, Serialize};

use crate::command::{Assignor, Join, Subscribed};
use crate::{GroupEpoch, MemberId};

/// A member, as it joined and as its subscription is by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    id: MemberId,
    instance: Option<String>,
    client: String,
    host: String,
    topics: Vec<TopicName>,
    patterns: Vec<String>,
    resolved: Vec<TopicId>,
    pub(crate) assignor: Assignor,
    session_timeout_ms: u32,
    processing_timeout_ms: u32,
    #[serde(default)]
    joined: GroupEpoch,
    /// Left for a while; its partitions are kept for it.
    pub(crate) is_away: bool,
}

impl Member {
    pub(crate) fn new(join: Join, joined: GroupEpoch) -> Self {
        Self {
            id: join.member,
            instance: join.instance,
            client: join.client,
            host: join.host,
            topics: join.topics,
            patterns: join.patterns,
            resolved: join.resolved,
            assignor: join.assignor,
            session_timeout_ms: join.session_timeout_ms,
            processing_timeout_ms: join.processing_timeout_ms,
            joined,
            is_away: false,
        }
    }

    /// Reads something else. What was looked up in older metadata is added to what it reads: a
    /// topic that is missing there may be there by now, and who looks it up again will say.
    pub(crate) fn subscribe(&mut self, to: Subscribed, is_behind: bool) {
        self.topics = to.topics;
        self.patterns = to.patterns;
        let before = std::mem::replace(&mut self.resolved, to.resolved);
        if is_behind {
            let both: BTreeSet<TopicId> =
                before.into_iter().chain(self.resolved.drain(..)).collect();
            self.resolved = both.into_iter().collect();
        }
    }

    /// What orders members: the instance where there is one, so that a restart moves nothing.
    pub(crate) fn place(&self) -> &str {
        self.instance.as_deref().unwrap_or_else(|| self.id.as_str())
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &MemberId {
        &self.id
    }

    /// Its lasting name.
    #[must_use]
    pub const fn instance(&self) -> Option<&String> {
        self.instance.as_ref()
    }

    /// Name of the service.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Where it runs.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Topics it named.
    #[must_use]
    pub fn topics(&self) -> &[TopicName] {
        &self.topics
    }

    /// Patterns it gave.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// The topics these are by now.
    #[must_use]
    pub fn resolved(&self) -> &[TopicId] {
        &self.resolved
    }

    /// How long it may be silent. Unit: milliseconds.
    #[must_use]
    pub const fn session_timeout_ms(&self) -> u32 {
        self.session_timeout_ms
    }

    /// How long its handler may take. Unit: milliseconds.
    #[must_use]
    pub const fn processing_timeout_ms(&self) -> u32 {
        self.processing_timeout_ms
    }

    /// The epoch that its joining made: tells its stays apart.
    #[must_use]
    pub const fn joined(&self) -> GroupEpoch {
        self.joined
    }

    /// Whether it left for a while.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        self.is_away
    }
}
