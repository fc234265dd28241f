use quipu_types::{MetadataVersion, TimestampMs, limits};

use crate::{
    Answer, Assignor, Command, GroupName, Groups, Join, Leave, LeaveReason, MemberId, Outcome,
    Refusal,
};

pub(super) fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

pub(super) fn member(number: usize) -> MemberId {
    MemberId::new(&format!("m{number}")).unwrap()
}

pub(super) fn join(number: usize, instance: Option<&str>, replaces: Option<usize>) -> Join {
    Join {
        member: member(number),
        instance: instance.map(str::to_owned),
        replaces: replaces.map(member),
        client: "billing".to_owned(),
        host: "10.0.0.1".to_owned(),
        topics: Vec::new(),
        patterns: Vec::new(),
        resolved: Vec::new(),
        assignor: Assignor::Uniform,
        session_timeout_ms: 45_000,
        processing_timeout_ms: 300_000,
    }
}

fn update(groups: &mut Groups, joins: Vec<Join>, leaves: Vec<Leave>) -> Answer {
    let (subscriptions, topics) = (Vec::new(), Vec::new());
    let image = MetadataVersion::new(1);
    let command =
        Command::Update { group: group("billing"), joins, leaves, subscriptions, topics, image };
    groups.apply(TimestampMs::new(0), command)
}

#[test]
fn a_full_group_takes_only_who_takes_a_place() {
    let limit = limits::GROUP_MEMBERS_MAX;
    let mut groups = Groups::default();
    let mut joins: Vec<Join> = (1..limit).map(|number| join(number, None, None)).collect();
    joins.push(join(0, Some("red"), None));
    assert!(update(&mut groups, joins, Vec::new()).0.is_ok());
    let full = Refusal::GroupFull { group: group("billing"), limit };
    assert_eq!(
        full.to_string(),
        "consumer group \"billing\" has 5000 members, the most a group may have"
    );
    let refused = update(&mut groups, vec![join(limit, None, None)], Vec::new());
    assert_eq!(refused, Answer(Err(full)));
    // A member that starts anew, one that takes another's place, and one that comes as another
    // goes.
    assert!(update(&mut groups, vec![join(1, None, None)], Vec::new()).0.is_ok());
    assert!(update(&mut groups, vec![join(limit, Some("red"), Some(0))], Vec::new()).0.is_ok());
    let leave =
        Leave { member: member(7), reason: LeaveReason::Asked, temporary: false, joined: None };
    assert!(update(&mut groups, vec![join(0, None, None)], vec![leave]).0.is_ok());
    assert_eq!(groups.group(&group("billing")).unwrap().members().count(), limit);
    // A place that is kept is taken.
    let leave =
        Leave { member: member(limit), reason: LeaveReason::Asked, temporary: true, joined: None };
    let refused = update(&mut groups, vec![join(7, None, None)], vec![leave]);
    assert!(matches!(refused, Answer(Err(Refusal::GroupFull { .. }))));
}

#[test]
fn a_full_shard_begins_no_group() {
    let limit = limits::GROUPS_PER_SHARD_MAX;
    let mut groups = Groups::default();
    let mut begin = |name: &str| {
        let (group, offsets) = (group(name), Vec::new());
        groups.apply(TimestampMs::new(0), Command::Commit { group, member: None, offsets })
    };
    for number in 0..limit {
        assert!(matches!(begin(&number.to_string()).0, Ok(Outcome::Committed { .. })));
    }
    let refused = begin("one more").0.unwrap_err();
    assert_eq!(refused, Refusal::TooManyGroups { limit });
    assert!(begin("7").0.is_ok());
}
