//! Epochs across the lives of a group.

use std::collections::BTreeMap;

use bytes::Bytes;
use quipu_types::{MetadataVersion, TimestampMs};

use super::full::{group, join, member};
use crate::{Command, Groups, Leave, LeaveReason, Outcome, RowKey};

/// Makes a group with one member; gives its epoch.
fn make(groups: &mut Groups, name: &str) -> u64 {
    update(groups, name, true)
}

fn update(groups: &mut Groups, name: &str, is_join: bool) -> u64 {
    let (reason, temporary, joined) = (LeaveReason::Asked, false, None);
    let leave = Leave { member: member(0), reason, temporary, joined };
    let command = Command::Update {
        group: group(name),
        joins: if is_join { vec![join(0, None, None)] } else { Vec::new() },
        leaves: if is_join { Vec::new() } else { vec![leave] },
        subscriptions: Vec::new(),
        topics: Vec::new(),
        image: MetadataVersion::new(1),
    };
    match groups.apply(TimestampMs::new(0), command).0 {
        Ok(Outcome::Updated { epoch }) => epoch.get(),
        other => panic!("{other:?}"),
    }
}

fn delete(groups: &mut Groups, name: &str) {
    let command = Command::Delete { group: group(name) };
    assert_eq!(groups.apply(TimestampMs::new(0), command).0, Ok(Outcome::Deleted));
}

/// A shard whose group was deleted at epoch 2.
fn with_floor() -> Groups {
    let mut groups = Groups::default();
    assert_eq!(make(&mut groups, "sms"), 1);
    assert_eq!(update(&mut groups, "sms", false), 2);
    delete(&mut groups, "sms");
    groups
}

fn rows(groups: &Groups) -> BTreeMap<RowKey, Bytes> {
    let rows = groups.stale_rows().into_iter();
    rows.filter_map(|(key, row)| Some((key, row?))).collect()
}

#[test]
fn every_group_begins_above_those_that_are_gone() {
    let mut groups = with_floor();
    assert_eq!(make(&mut groups, "sms"), 3);
    assert_eq!(make(&mut groups, "mail"), 3);
    assert_eq!(update(&mut groups, "sms", false), 4);
    delete(&mut groups, "sms");
    // One that was behind takes the floor nowhere.
    assert_eq!(update(&mut groups, "mail", false), 4);
    delete(&mut groups, "mail");
    assert_eq!(make(&mut groups, "sms"), 5);
}

#[test]
fn the_floor_outlasts_a_start_and_a_snapshot() {
    let groups = with_floor();
    let kept = rows(&groups);
    assert_eq!(kept, BTreeMap::from([(RowKey::Floor, Bytes::from(r#"{"v":1,"floor":2}"#))]));
    assert_eq!(make(&mut Groups::open(kept).unwrap(), "sms"), 3);

    let mut installed = Groups::default();
    installed.replace(Groups::import(&groups.export()).unwrap());
    assert_eq!(make(&mut Groups::open(rows(&installed)).unwrap(), "sms"), 3);
    assert_eq!(make(&mut installed, "sms"), 3);
}

#[test]
fn what_was_written_without_a_floor_has_none() {
    assert_eq!(make(&mut Groups::open([]).unwrap(), "sms"), 1);
    assert_eq!(make(&mut Groups::import(br#"{"v":1,"group":{}}"#).unwrap(), "sms"), 1);
    let newer = [(RowKey::Floor, Bytes::from(r#"{"v":2,"floor":2}"#))];
    assert!(Groups::open(newer).unwrap_err().to_string().ends_with("this release reads 1"));
}
