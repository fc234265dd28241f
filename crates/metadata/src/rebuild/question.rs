//! What goes to and fro. Between releases; fields may be added.

use bytes::Bytes;
use quipu_types::{DirectoryId, Incarnation, ReplicaId};
use serde::{Deserialize, Serialize};

/// A node asks for other replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    /// Its data directory.
    pub(super) directory: DirectoryId,
    /// Its start.
    pub(super) incarnation: Incarnation,
    /// Whether it wants them, rather than to know whether it could have them.
    pub(super) is_in_earnest: bool,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It could have them.
    Possible,
    /// It has them.
    Granted {
        /// Its id in the metadata group; those of its other replicas are above.
        replica: ReplicaId,
    },
    /// Not now, or never.
    Refused {
        /// A sentence.
        why: String,
        /// Whether to ask again is no use.
        is_final: bool,
    },
}

impl Question {
    pub(super) fn encode(&self) -> Bytes {
        encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Bytes {
        encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

fn encode(body: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(body).expect("texts and numbers have a JSON form"))
}
