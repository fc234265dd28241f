//! The metadata as rows of the tables, and as one document for snapshots. JSON: small, and
//! readable when something went wrong. The tables have checksums of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quipu_consensus::AppliedState;
use quipu_types::{ClusterId, DirectoryId, EntryId, FormatLevel, MetadataVersion, NodeId, ShardId};
use serde::{Deserialize, Serialize};

use crate::image::{Image, NodeRecord, PlannedMoves, ShardRecord, TopicRecord};
use crate::policy::Policies;
use crate::state_machine::State;

/// The only layout so far. Persisted; never reuse.
const VERSION: u32 = 1;

/// A row is damaged, or written by a newer release.
#[derive(Debug, thiserror::Error)]
#[error("a row of the metadata is damaged or of a newer release: {0}")]
pub struct InvalidRow(String);

/// Everything but the topics.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Core {
    v: u32,
    version: MetadataVersion,
    cluster: ClusterId,
    shards_per_node: u32,
    #[serde(default)]
    level: FormatLevel,
    founders: BTreeMap<NodeId, DirectoryId>,
    nodes: BTreeMap<NodeId, NodeRecord>,
    shards: BTreeMap<ShardId, ShardRecord>,
    slices: Vec<ShardId>,
    #[serde(default)]
    removed: BTreeMap<NodeId, DirectoryId>,
    #[serde(default)]
    planned: PlannedMoves,
    /// Absent while there are none, so that a release without policies reads it.
    #[serde(default, skip_serializing_if = "Policies::is_empty")]
    policies: Policies,
    next_shard: u32,
    next_replica: u64,
    next_producer: i64,
    /// How many topics belong to it: rows that are missing are noticed.
    topics: usize,
}

impl Core {
    fn new(state: &State) -> Self {
        let image = &state.image;
        Self {
            v: VERSION,
            version: image.version,
            cluster: image.cluster,
            shards_per_node: image.shards_per_node,
            level: image.level,
            founders: image.founders.clone(),
            nodes: image.nodes.clone(),
            shards: image.shards.clone(),
            slices: image.slices.clone(),
            removed: image.removed.clone(),
            planned: image.planned.clone(),
            policies: Policies::clone(&image.policies),
            next_shard: state.next_shard,
            next_replica: state.next_replica,
            next_producer: state.next_producer,
            topics: image.topics.len(),
        }
    }

    fn with_topics(
        self,
        topics: impl Iterator<Item = Result<TopicRecord, InvalidRow>>,
    ) -> Result<State, InvalidRow> {
        if self.v != VERSION {
            let reason = format!("version {}, this release reads {VERSION}", self.v);
            return Err(InvalidRow(reason));
        }
        let mut image = Image::default();
        image.version = self.version;
        image.cluster = self.cluster;
        image.shards_per_node = self.shards_per_node;
        image.level = self.level;
        image.slices = self.slices;
        image.policies = Arc::new(self.policies);
        image.founders = self.founders;
        image.nodes = self.nodes;
        image.removed = self.removed;
        image.planned = self.planned;
        for (id, shard) in self.shards {
            let mut nodes = shard.replicas.iter().chain(&shard.leaving).map(|(_, node)| node);
            if let Some(node) = nodes.find(|node| !image.nodes.contains_key(node)) {
                return Err(InvalidRow(format!("shard {id} is on node {node}, which is not")));
            }
            image.insert_shard(id, shard);
        }
        for topic in topics {
            let topic = topic?;
            if let Some(shard) = topic.partitions.iter().find(|id| !image.shards.contains_key(id)) {
                let name = topic.name;
                return Err(InvalidRow(format!("topic {name} is on shard {shard}, which is not")));
            }
            image.insert_topic(Arc::new(topic));
        }
        if image.topics.len() != self.topics {
            let found = image.topics.len();
            return Err(InvalidRow(format!("{found} topics where there were {}", self.topics)));
        }
        Ok(State {
            image,
            next_shard: self.next_shard,
            next_replica: self.next_replica,
            next_producer: self.next_producer,
        })
    }
}

/// The row of [`quipu_kv::Key::Metadata`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RootRow {
    applied: Option<EntryId>,
    /// Consensus's own bytes, as hexadecimal digits.
    membership: String,
    core: Core,
}

impl RootRow {
    pub(super) fn new(applied: &AppliedState, state: &State) -> Self {
        Self {
            applied: applied.applied,
            membership: to_hex(&applied.membership),
            core: Core::new(state),
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, InvalidRow> {
        decode(bytes)
    }

    /// The whole, from the root and the rows of the topics.
    pub(super) fn with_topics<'a>(
        self,
        rows: impl Iterator<Item = &'a Bytes>,
    ) -> Result<(AppliedState, State), InvalidRow> {
        let membership = from_hex(&self.membership)
            .ok_or_else(|| InvalidRow("membership is not hexadecimal".to_owned()))?;
        let state = self.core.with_topics(rows.map(|row| decode(row)))?;
        Ok((AppliedState { applied: self.applied, membership }, state))
    }
}

/// The row of [`quipu_kv::Key::MetadataTopic`].
pub(super) fn encode_topic(topic: &TopicRecord) -> Bytes {
    encode(topic)
}

/// A snapshot: all of it in one document.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    core: Core,
    topics: Vec<TopicRecord>,
}

pub(super) fn encode_state(state: &State) -> Bytes {
    let topics = state.image.topics.values().map(|topic| TopicRecord::clone(topic));
    encode(&Document { core: Core::new(state), topics: topics.collect() })
}

pub(super) fn decode_state(bytes: &[u8]) -> Result<State, InvalidRow> {
    let document: Document = decode(bytes)?;
    document.core.with_topics(document.topics.into_iter().map(Ok))
}

fn encode(row: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(row).expect("texts, numbers and lists have a JSON form"))
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, InvalidRow> {
    serde_json::from_slice(bytes).map_err(|error| InvalidRow(error.to_string()))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Bytes> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
