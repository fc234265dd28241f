//! Shards: without a leader, without a quorum, with fewer replicas, with replicas that lag.

use std::collections::BTreeMap;

use quipu_client::ShardDescription;

use super::finding::{Finding, Severity, named};
use super::views::Views;

/// Shards with the same trouble.
#[derive(Default)]
struct Ward {
    shards: Vec<u32>,
    partitions: u32,
}

impl Ward {
    fn add(&mut self, shard: &ShardDescription) {
        self.shards.push(shard.shard);
        self.partitions += shard.partitions;
    }

    fn place(&self) -> String {
        named("shard", &self.shards)
    }
}

/// What is wrong with shards at the second look; what lags, since the first.
pub(super) fn findings(first: &Views, second: &Views) -> Vec<Finding> {
    let mut found = troubles(second);
    found.extend(lagging(first, second));
    found
}

fn troubles(views: &Views) -> Vec<Finding> {
    let Some(cluster) = views.best() else { return Vec::new() };
    let is_up = |node: &u64| views.answers.contains_key(node) || views.is_heard(*node);
    let mut without_quorum: BTreeMap<Vec<u64>, Ward> = BTreeMap::new();
    let mut short: BTreeMap<Vec<u64>, Ward> = BTreeMap::new();
    let mut leaderless = Ward::default();
    let mut moving = Ward::default();
    for shard in &cluster.shards {
        let down: Vec<u64> = shard.replicas.iter().copied().filter(|node| !is_up(node)).collect();
        let has_quorum = 2 * (shard.replicas.len() - down.len()) > shard.replicas.len();
        if !shard.leaving.is_empty() {
            moving.add(shard);
        }
        if !has_quorum && !shard.replicas.is_empty() {
            without_quorum.entry(down).or_default().add(shard);
        } else if !has_leader(views, shard.shard) {
            leaderless.add(shard);
        } else if !down.is_empty() {
            short.entry(down).or_default().add(shard);
        }
    }
    let lost = without_quorum.into_iter().map(|(down, ward)| no_quorum(&down, &ward));
    let short = short.into_iter().map(|(down, ward)| under_replicated(&down, &ward));
    let mut found: Vec<Finding> = lost.chain(short).collect();
    if !leaderless.shards.is_empty() {
        found.push(no_leader(&leaderless));
    }
    if !moving.shards.is_empty() || !cluster.planned_moves.is_empty() {
        let waiting = cluster.planned_moves.len();
        found.push(Finding::new(
            Severity::Note,
            "replicas-move",
            if moving.shards.is_empty() { "cluster".to_owned() } else { moving.place() },
            format!("replicas move; {waiting} more moves wait for their turn"),
            "nothing to do; quipu cluster info shows where they are",
        ));
    }
    found
}

/// Whether any node that answers knows a leader that may be one.
fn has_leader(views: &Views, shard: u32) -> bool {
    let known = views.answers.values().filter_map(|view| {
        view.cluster.shards.iter().find(|it| it.shard == shard).and_then(|it| it.leader)
    });
    let mut known = known.filter(|node| views.answers.contains_key(node) || views.is_heard(*node));
    known.next().is_some()
}

fn cost(ward: &Ward) -> String {
    match (ward.shards.contains(&0), ward.partitions) {
        (true, 0) => "topics cannot be changed and no shard be moved".to_owned(),
        (true, count) => format!("topics cannot be changed, and {count} partitions not be written"),
        (false, count) => format!("{count} partitions cannot be written"),
    }
}

fn no_quorum(down: &[u64], ward: &Ward) -> Finding {
    Finding::new(
        Severity::Error,
        "no-quorum",
        ward.place(),
        format!(
            "most replicas are on nodes that do not answer ({}): {}",
            named("node", down),
            cost(ward)
        ),
        format!(
            "start {} again: a quorum of the replicas must be there, and nothing acknowledged is \
             lost meanwhile",
            named("node", down)
        ),
    )
}

fn no_leader(ward: &Ward) -> Finding {
    Finding::new(
        Severity::Error,
        "no-leader",
        ward.place(),
        format!("a quorum of the replicas is there, but none leads: {}", cost(ward)),
        "an election takes seconds: look again; if it stays so, the logs of the nodes that hold \
         the shard say why none is elected (disk, clock pauses, peers that are turned away)",
    )
}

fn under_replicated(down: &[u64], ward: &Ward) -> Finding {
    let nodes = named("node", down);
    Finding::new(
        Severity::Warning,
        "under-replicated",
        ward.place(),
        format!("{} partitions lack their replica on {nodes}", ward.partitions),
        format!("start {nodes}; for one that is lost for good: quipu node replace NODE"),
    )
}

/// Replicas that have not come, since the first look, to where their leaders were then.
fn lagging(first: &Views, second: &Views) -> Vec<Finding> {
    let committed = first.committed();
    let nodes = second.answers.keys().filter(|node| first.answers.contains_key(node));
    let found = nodes.filter_map(|node| {
        let behind = second.behind(*node, &committed).filter(|behind| !behind.is_empty())?;
        let shards: Vec<u32> = behind.keys().copied().collect();
        let most = behind.values().max().copied().unwrap_or(0);
        Some(Finding::new(
            Severity::Warning,
            "follower-lags",
            format!("node {node}"),
            format!(
                "{} lag behind their leaders, by {most} entries and more",
                named("shard", &shards)
            ),
            "see whether they get closer (quipu cluster info); if not, look at the node's disk and \
             its log: a follower that cannot keep up is no help when a leader dies",
        ))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::samples;

    fn kinds(found: &[Finding]) -> Vec<(&'static str, &str)> {
        found.iter().map(|finding| (finding.kind, finding.place.as_str())).collect()
    }

    #[test]
    fn one_of_three_that_is_down_leaves_all_short() {
        let mut views = samples::views(3);
        samples::kill(&mut views, 3);
        let found = troubles(&views);
        assert_eq!(kinds(&found), [("under-replicated", "shards 0, 1, 2, 3")]);
        assert_eq!(found[0].what, "12 partitions lack their replica on node 3");
    }

    #[test]
    fn two_of_three_that_are_down_leave_no_quorum() {
        let mut views = samples::views(3);
        samples::kill(&mut views, 3);
        samples::kill(&mut views, 2);
        let found = troubles(&views);
        assert_eq!(kinds(&found), [("no-quorum", "shards 0, 1, 2, 3")]);
        assert!(found[0].what.contains("nodes 2, 3"), "{}", found[0].what);
        assert!(found[0].advice.starts_with("start nodes 2, 3 again"), "{}", found[0].advice);
    }

    #[test]
    fn a_shard_that_nobody_leads_is_an_error_of_its_own() {
        let mut views = samples::views(3);
        samples::all(&mut views, |cluster| cluster.shards[2].leader = None);
        assert_eq!(kinds(&troubles(&views)), [("no-leader", "shard 2")]);
        let view = views.answers.get_mut(&3).expect("it answers");
        view.cluster.shards[2].leader = Some(2);
        assert_eq!(troubles(&views), [], "one knows");
        samples::all(&mut views, |cluster| cluster.shards[0].leader = None);
        let found = troubles(&views);
        assert!(found[0].what.contains("topics cannot be changed"), "{}", found[0].what);
    }

    #[test]
    fn a_follower_lags_when_it_does_not_come_to_where_its_leader_was() {
        let mut first = samples::views(3);
        samples::set_committed(&mut first, 1, 1, 500);
        samples::set_committed(&mut first, 2, 1, 200);
        let mut second = first.clone();
        samples::set_committed(&mut second, 1, 1, 900);
        samples::set_committed(&mut second, 2, 1, 499);
        samples::set_committed(&mut second, 3, 1, 500);
        let found = lagging(&first, &second);
        assert_eq!(kinds(&found), [("follower-lags", "node 2")]);
        assert!(found[0].what.contains("shard 1 lag"), "{}", found[0].what);
        samples::set_committed(&mut second, 2, 1, 500);
        assert_eq!(lagging(&first, &second), [], "it keeps up, some entries later");
    }
}
