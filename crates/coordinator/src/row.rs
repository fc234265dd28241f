//! What is kept of groups: a row for each, one for the floor, and the document of all of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Group, GroupEpoch, GroupName, InvalidGroupName};

/// The only layout so far. Persisted; never reuse.
const VERSION: u32 = 1;

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// The epoch that new groups begin at. No row: 0.
    Floor,
    /// A group.
    Group(GroupName),
}

impl RowKey {
    /// The key of its text.
    ///
    /// # Errors
    /// For what is no name of a group.
    pub fn new(text: &str) -> Result<Self, InvalidGroupName> {
        if text.is_empty() { Ok(Self::Floor) } else { GroupName::new(text).map(Self::Group) }
    }

    /// Its text: the group's name. The floor has the one that no group may have.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Floor => "",
            Self::Group(name) => name.as_str(),
        }
    }
}

/// A row is damaged, or written by a newer release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row of consumer groups is damaged or of a newer release: {0}")]
pub struct InvalidRow(String);

/// A group.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupRow<T> {
    v: u32,
    pub(crate) group: T,
}

/// The floor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FloorRow {
    v: u32,
    pub(crate) floor: GroupEpoch,
}

/// Everything.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document<T> {
    v: u32,
    #[serde(default)]
    pub(crate) floor: GroupEpoch,
    pub(crate) group: T,
}

pub(crate) fn group(group: &Group) -> Bytes {
    encode(&GroupRow { v: VERSION, group })
}

pub(crate) fn floor(floor: GroupEpoch) -> Bytes {
    encode(&FloorRow { v: VERSION, floor })
}

pub(crate) fn document(floor: GroupEpoch, groups: &BTreeMap<GroupName, Group>) -> Bytes {
    encode(&Document { v: VERSION, floor, group: groups })
}

fn encode(row: &impl Serialize) -> Bytes {
    serde_json::to_vec(row).expect("groups have a JSON form").into()
}

/// Reads any of them. The version comes first: what a newer release writes may look otherwise.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, InvalidRow> {
    let invalid = |error: serde_json::Error| InvalidRow(error.to_string());
    let row: serde_json::Value = serde_json::from_slice(bytes).map_err(invalid)?;
    match row.get("v").and_then(serde_json::Value::as_u64) {
        Some(version) if version != u64::from(VERSION) => {
            Err(InvalidRow(format!("version {version}, this release reads {VERSION}")))
        }
        _ => serde_json::from_value(row).map_err(invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_floor_is_no_name_of_a_group() {
        for key in [RowKey::Floor, RowKey::Group(GroupName::new("sms").unwrap())] {
            assert_eq!(RowKey::new(key.as_str()), Ok(key));
        }
        assert!(GroupName::new(RowKey::Floor.as_str()).is_err());
        assert!(RowKey::new(".").is_err());
    }
}
