//! Rows and snapshots of consumer groups, and commands on top.

use quipu_coordinator::{GroupName, Groups, RowKey};
use quipu_types::TimestampMs;

use super::group_commands::{Log, commit, join, later, lines};
use crate::input::{joined, parts, shared};
use crate::{Seed, Verdict, samples};

/// Partitions of a topic here: the metadata bounds them.
const PARTITIONS_MAX: u32 = 500;

/// The input: the document of a snapshot, a group's row, commands one a line.
pub(crate) fn run(input: &[u8]) -> Verdict {
    let [document, row, commands] = parts(input);
    let imported = Groups::import(document);
    let key = RowKey::Group(GroupName::new("sms").expect("valid"));
    let opened = Groups::open([(key, shared(row))]);
    let mut verdict = Verdict::Refused;
    for groups in [imported, opened] {
        match groups {
            Ok(groups) => {
                if is_modest(&groups) && groups.names().next().is_some() {
                    goes_on(groups, commands);
                    verdict = Verdict::Accepted;
                }
            }
            Err(refused) => assert!(!refused.to_string().is_empty()),
        }
    }
    verdict
}

fn is_modest(groups: &Groups) -> bool {
    groups
        .names()
        .filter_map(|name| groups.group(name))
        .all(|group| group.topics().values().all(|count| *count <= PARTITIONS_MAX))
}

fn goes_on(groups: Groups, commands: &[u8]) {
    assert_eq!(Groups::import(&groups.export()).as_ref(), Ok(&groups));
    let mut log = Log::new(groups);
    log.finish();
    log.run(commands);
    let mut life = vec![join("bert", 3), commit("anna", 3)];
    life.extend(later());
    log.run(&lines(&life));
    log.finish();
}

pub(crate) fn seeds() -> Vec<Seed> {
    let mut groups = Groups::default();
    for command in [join("anna", 3), join("bert", 3), commit("anna", 7)] {
        let answer = groups.apply(TimestampMs::new(samples::NOON), command);
        assert!(answer.0.is_ok(), "{answer:?}");
    }
    let row = groups.stale_rows().into_iter().find_map(|(_, row)| row).expect("one group");
    let document = groups.export();
    let commands = lines(&later()[..2]);
    vec![
        ("ok-document", joined(&[&document, &[], &[]])),
        ("ok-row", joined(&[&[], &row, &commands])),
        ("ok-both", joined(&[&document, &row, &commands])),
    ]
}
