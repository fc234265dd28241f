//! Nodes: silent, deaf, drained, short of disk, of other releases, with other clocks.

use std::collections::BTreeMap;

use quipu_client::{NodeDescription, TimestampMs};

use super::finding::{Finding, Severity, named};
use super::views::Views;
use crate::start_point;

/// Clocks that differ by less are as good as one.
const CLOCK_DIFFERENCE_MAX_MS: i64 = 1_000;

/// What is wrong with nodes. `wall_ms` is this machine's clock.
pub(super) fn findings(views: &Views, wall_ms: i64) -> Vec<Finding> {
    let mut found = Vec::new();
    for node in views.nodes() {
        found.extend(silent(views, node));
        found.extend(duty(views, node, wall_ms));
    }
    found.extend(deaf(views));
    found.extend(short_of_disk(views));
    found.extend(clocks(views));
    found.extend(releases(views));
    found
}

fn place(node: &NodeDescription) -> String {
    format!("node {}", node.node_id)
}

fn silent(views: &Views, node: &NodeDescription) -> Option<Finding> {
    let (id, address) = (node.node_id, &node.address);
    let reason = views.silent.get(&id)?;
    Some(if views.is_heard(id) {
        Finding::new(
            Severity::Warning,
            "node-unreachable",
            place(node),
            format!("other nodes hear it, but it does not answer here at {address}: {reason}"),
            "check listeners.client-advertise of the node, and the network from here to it",
        )
    } else {
        Finding::new(
            Severity::Error,
            "node-down",
            place(node),
            format!("answers neither here nor the other nodes ({address}): {reason}"),
            format!(
                "look whether its process runs and what its log ends with, and start it; if it is \
                 lost for good: quipu node replace {id}"
            ),
        )
    })
}

/// A node that answers here, but not another one.
fn deaf(views: &Views) -> Vec<Finding> {
    let mut by_speaker: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (listener, view) in &views.answers {
        let unheard = view.cluster.nodes.iter().filter(|node| !node.is_alive);
        for node in unheard.filter(|node| views.answers.contains_key(&node.node_id)) {
            by_speaker.entry(node.node_id).or_default().push(*listener);
        }
    }
    let found = by_speaker.into_iter().map(|(speaker, listeners)| {
        Finding::new(
            Severity::Error,
            "node-isolated",
            format!("node {speaker}"),
            format!("answers here, but is not heard by {}", named("node", &listeners)),
            "check the network between these nodes and listeners.peer-advertise of the one that is \
             not heard; the logs of both name the address they try",
        )
    });
    found.collect()
}

fn duty(views: &Views, node: &NodeDescription, wall_ms: i64) -> Option<Finding> {
    let id = node.node_id;
    match node.state {
        "drained" => {
            let until = node.drained_until_ms.and_then(|until| i64::try_from(until).ok());
            let is_over = until.is_some_and(|until| until < wall_ms);
            let until = until.map_or_else(
                || "an unknown time".to_owned(),
                |until| start_point::time(TimestampMs::new(until)),
            );
            let until = if node.drained_until_restart {
                format!("its next start or {until}")
            } else {
                until
            };
            let runs = views.answers.contains_key(&id) || views.is_heard(id);
            let what = match (is_over, runs) {
                (true, _) => format!("was drained until {until} and leads nothing still"),
                (false, true) => format!("runs, but is drained until {until}: it leads nothing"),
                (false, false) => format!("is drained until {until}"),
            };
            let severity = if runs { Severity::Warning } else { Severity::Note };
            let advice = format!("once the work on it is done: quipu node undrain {id}");
            Some(Finding::new(severity, "node-drained", place(node), what, advice))
        }
        "decommissioning" => Some(Finding::new(
            Severity::Note,
            "node-leaves",
            place(node),
            "gives its replicas away and is removed then",
            format!("to keep it after all: quipu node undrain {id}"),
        )),
        _ => None,
    }
}

fn short_of_disk(views: &Views) -> Vec<Finding> {
    let full = views.answers.iter().filter_map(|(node, view)| {
        let full = view.cluster.storage_full?;
        Some(Finding::new(
            Severity::Error,
            "disk-short",
            format!("node {node}"),
            format!(
                "takes no writes: {} bytes of its disk are free, {} are required",
                full.free_bytes, full.required_bytes
            ),
            "free or add room on its disk, or keep less (retention-time, retention-bytes); writes \
             come back by themselves",
        ))
    });
    full.collect()
}

/// The node whose clock is farthest from the middle of all.
fn clocks(views: &Views) -> Option<Finding> {
    let mut ahead: Vec<(i64, u64)> =
        views.answers.iter().map(|(node, view)| (view.clock_ahead_ms, *node)).collect();
    ahead.sort_unstable();
    let (middle, other) = *ahead.get(ahead.len().checked_sub(1)? / 2)?;
    let distance = |ahead: i64| ahead.abs_diff(middle);
    let (farthest, node) = *ahead.iter().max_by_key(|(ahead, _)| distance(*ahead))?;
    let doubt = views.answers.values().map(|view| view.round_trip.as_millis()).max()?;
    let doubt = u64::try_from(doubt).unwrap_or(u64::MAX);
    let bound = CLOCK_DIFFERENCE_MAX_MS.unsigned_abs().saturating_add(doubt);
    if distance(farthest) <= bound {
        return None;
    }
    let differs = distance(farthest);
    let (seconds, tenths) = (differs / 1000, differs % 1000 / 100);
    let side = if farthest > middle { "ahead of" } else { "behind" };
    Some(Finding::new(
        Severity::Warning,
        "clock-differs",
        format!("node {node}"),
        format!(
            "its clock is {seconds}.{tenths} s {side} node {other}'s: times of events, retention by age and drains are off by as much"
        ),
        "have all nodes follow the same time (chrony, systemd-timesyncd)",
    ))
}

fn releases(views: &Views) -> Vec<Finding> {
    let nodes = views.nodes();
    let mut by_release: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for node in &nodes {
        by_release.entry(&node.version).or_default().push(node.node_id);
    }
    let mut found = Vec::new();
    let told =
        |(release, nodes): (&&str, &Vec<u64>)| format!("{release} on {}", named("node", nodes));
    if by_release.len() > 1 {
        let told: Vec<String> = by_release.iter().map(told).collect();
        found.push(Finding::new(
            Severity::Warning,
            "mixed-releases",
            "cluster",
            format!("nodes run different releases: {}", told.join("; ")),
            "go on with the upgrade, or back, until all run the same; quipu cluster upgrade status",
        ));
    }
    let newest = nodes.iter().map(|node| node.level_max).max().unwrap_or(0);
    let level = views.best().map_or(newest, |cluster| cluster.format_level);
    if newest > level && nodes.iter().all(|node| node.level_max == newest) {
        found.push(Finding::new(
            Severity::Note,
            "not-finalized",
            "cluster",
            format!("every node has format level {newest}, the cluster is at {level}"),
            "once there is no way back wanted: quipu cluster upgrade finalize",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use quipu_client::StorageFull;

    use super::*;
    use crate::doctor::samples;

    fn only(views: &Views) -> Finding {
        let found = findings(views, 1_000);
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().expect("one")
    }

    #[test]
    fn a_silent_node_is_down_or_only_out_of_reach() {
        let mut views = samples::views(3);
        views.answers.remove(&2);
        views.silent.insert(2, "connection refused".to_owned());
        let found = only(&views);
        assert_eq!((found.kind, found.severity), ("node-unreachable", Severity::Warning));
        samples::deafen(&mut views, 1, 2);
        samples::deafen(&mut views, 3, 2);
        let found = only(&views);
        assert_eq!((found.kind, found.severity), ("node-down", Severity::Error));
        assert!(found.what.contains("host-2:9192") && found.advice.contains("node replace 2"));
    }

    #[test]
    fn a_node_that_others_do_not_hear_is_isolated() {
        let mut views = samples::views(3);
        samples::deafen(&mut views, 1, 3);
        samples::deafen(&mut views, 2, 3);
        let found = only(&views);
        assert_eq!((found.kind, found.place.as_str()), ("node-isolated", "node 3"));
        assert_eq!(found.what, "answers here, but is not heard by nodes 1, 2");
    }

    #[test]
    fn a_drain_is_a_warning_while_the_node_runs() {
        let mut views = samples::views(3);
        samples::all(&mut views, |cluster| {
            cluster.nodes[2].state = "drained";
            cluster.nodes[2].drained_until_ms = Some(5_000);
        });
        let found = only(&views);
        assert_eq!((found.kind, found.severity), ("node-drained", Severity::Warning));
        assert!(found.what.contains("until 1970-01-01T00:00:05.000Z"), "{}", found.what);
        let over = findings(&views, 6_000);
        assert!(over[0].what.contains("leads nothing still"), "{over:?}");
        samples::kill(&mut views, 3);
        let found = findings(&views, 1_000);
        let drained = found.iter().find(|it| it.kind == "node-drained").expect("still");
        assert_eq!(drained.severity, Severity::Note, "its fall is told by another line");
    }

    #[test]
    fn a_short_disk_says_how_short() {
        let mut views = samples::views(3);
        let view = views.answers.get_mut(&2).expect("it answers");
        view.cluster.storage_full = Some(StorageFull { free_bytes: 7, required_bytes: 100 });
        let found = only(&views);
        assert_eq!((found.kind, found.place.as_str()), ("disk-short", "node 2"));
        assert!(found.what.contains("7 bytes") && found.what.contains("100 are required"));
    }

    #[test]
    fn one_clock_that_differs_is_named_against_the_middle() {
        let mut views = samples::views(3);
        let ahead = |views: &mut Views, node, ms| {
            views.answers.get_mut(&node).expect("it answers").clock_ahead_ms = ms;
        };
        // This machine's clock is wrong: that concerns no node.
        for node in 1..=3 {
            ahead(&mut views, node, -90_000);
        }
        ahead(&mut views, 1, -90_900);
        assert_eq!(findings(&views, 0), [], "below a second");
        ahead(&mut views, 2, -77_600);
        let found = only(&views);
        assert_eq!((found.kind, found.place.as_str()), ("clock-differs", "node 2"));
        assert!(found.what.starts_with("its clock is 12.4 s ahead of node 3's"), "{}", found.what);
        ahead(&mut views, 2, i64::MIN);
        assert!(only(&views).what.contains("behind"), "no overflow");
    }

    #[test]
    fn releases_that_differ_and_levels_to_finalize_are_told() {
        let mut views = samples::views(3);
        samples::all(&mut views, |cluster| {
            cluster.nodes[0].version = "0.2.0".to_owned();
            cluster.nodes[0].level_max = 2;
        });
        let found = only(&views);
        assert_eq!(
            found.what,
            "nodes run different releases: 0.1.0 on nodes 2, 3; 0.2.0 on node 1"
        );
        samples::all(&mut views, |cluster| {
            for node in &mut cluster.nodes {
                (node.version, node.level_max) = ("0.2.0".to_owned(), 2);
            }
        });
        let found = only(&views);
        assert_eq!((found.kind, found.severity), ("not-finalized", Severity::Note));
    }
}
