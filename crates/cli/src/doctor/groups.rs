//! Consumer groups that nobody reads for, or that fall behind.

use std::collections::BTreeMap;

use futures::StreamExt;
use quipu_client::{Admin, GroupDescription};

use super::finding::{Finding, Severity};

/// Groups asked for at once.
const AT_ONCE: usize = 16;

/// A group at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupLook {
    pub(super) members: u32,
    /// Records that are not read.
    pub(super) lag: u64,
    /// Sum of all positions: whether any of them moves.
    pub(super) committed: u128,
}

impl GroupLook {
    fn of(group: &GroupDescription) -> Self {
        Self {
            members: group.summary.members,
            lag: group.partitions.iter().filter_map(|partition| partition.lag).sum(),
            committed: group.partitions.iter().filter_map(|it| it.committed).map(u128::from).sum(),
        }
    }
}

/// Looks at all groups; one that is gone meanwhile, or whose coordinator does not answer, is left
/// out: its shard is a finding of its own.
pub(super) async fn look(admin: &Admin) -> quipu_client::Result<BTreeMap<String, GroupLook>> {
    let listed = match admin.list_groups().await {
        Ok(listed) => listed,
        Err(error) if error.is_unavailable() => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut described = futures::stream::iter(listed)
        .map(|group| async move { (admin.describe_group(&group.group).await, group.group) })
        .buffer_unordered(AT_ONCE);
    let mut looks = BTreeMap::new();
    while let Some((described, name)) = described.next().await {
        match described {
            Ok(described) => drop(looks.insert(name, GroupLook::of(&described))),
            Err(error) if error.is_not_found() || error.is_unavailable() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(looks)
}

/// What is wrong with groups.
pub(super) fn findings(
    first: &BTreeMap<String, GroupLook>,
    second: &BTreeMap<String, GroupLook>,
) -> Vec<Finding> {
    let found = second.iter().filter_map(|(name, now)| {
        let before = first.get(name)?;
        judge(name, before, now)
    });
    found.collect()
}

fn judge(name: &str, before: &GroupLook, now: &GroupLook) -> Option<Finding> {
    let grows = now.lag > before.lag;
    let stands = now.committed <= before.committed;
    let more = now.lag.saturating_sub(before.lag);
    let place = format!("group {name}");
    let lag = now.lag;
    if now.members == 0 && before.members == 0 && lag > 0 {
        let (severity, growth) = if grows {
            (Severity::Warning, format!(", {more} more than a moment ago"))
        } else {
            (Severity::Note, String::new())
        };
        return Some(Finding::new(
            severity,
            "group-without-members",
            place,
            format!("nobody reads for it: {lag} records wait{growth}"),
            format!("start its service; if it is not needed any more: quipu group delete {name}"),
        ));
    }
    (now.members > 0 && grows && stands).then(|| {
        Finding::new(
            Severity::Warning,
            "group-stuck",
            place,
            format!(
                "has {} members, and none gets on: {lag} records wait, {more} more than a moment \
                 ago",
                now.members
            ),
            format!("quipu group stuck {name} says where; the log of its service says why"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(before: (u32, u64, u128), now: (u32, u64, u128)) -> Option<(&'static str, Severity)> {
        let look = |(members, lag, committed)| GroupLook { members, lag, committed };
        judge("sms", &look(before), &look(now)).map(|found| (found.kind, found.severity))
    }

    #[test]
    fn groups_are_judged_by_members_lag_and_what_moves() {
        let alone = "group-without-members";
        assert_eq!(kind((0, 5, 1), (0, 9, 1)), Some((alone, Severity::Warning)));
        assert_eq!(kind((0, 5, 1), (0, 5, 1)), Some((alone, Severity::Note)));
        assert_eq!(kind((0, 0, 1), (0, 0, 1)), None, "all is read");
        assert_eq!(kind((1, 5, 1), (0, 5, 1)), None, "it restarts, perhaps");
        assert_eq!(kind((2, 5, 1), (2, 9, 1)), Some(("group-stuck", Severity::Warning)));
        assert_eq!(kind((2, 5, 1), (2, 9, 3)), None, "it moves, if slowly");
        assert_eq!(kind((2, 5, 1), (2, 5, 1)), None, "nothing new came");
    }
}
