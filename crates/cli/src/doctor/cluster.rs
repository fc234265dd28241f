//! What two looks at a running cluster tell.

use std::collections::BTreeMap;

use quipu_client::{Admin, Error};

use super::finding::{Finding, Severity};
use super::groups::{self, GroupLook};
use super::views::{Views, wall_ms};
use super::{nodes, shards};

/// What was seen at one moment.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) views: Views,
    /// By name.
    pub(super) groups: BTreeMap<String, GroupLook>,
    /// This machine's clock.
    pub(super) wall_ms: i64,
}

impl Look {
    /// Looks.
    pub(super) async fn take(admin: &Admin) -> quipu_client::Result<Self> {
        let views = Views::collect(admin).await?;
        let groups = groups::look(admin).await?;
        Ok(Self { views, groups, wall_ms: wall_ms() })
    }
}

/// Nobody answers.
pub(super) fn unreachable(servers: &str, error: &Error) -> Finding {
    Finding::new(
        Severity::Error,
        "cluster-unreachable",
        format!("cluster at {servers}"),
        format!("no node answers: {error}"),
        "look whether the nodes run and what their logs end with; check --servers or the context, \
         and the network from here. A stopped node's directory: quipu doctor --dir DIR",
    )
}

/// Everything that is not as it should be, the worst first.
pub(super) fn findings(first: &Look, second: &Look) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(nodes::findings(&second.views, second.wall_ms));
    findings.extend(shards::findings(&first.views, &second.views));
    findings.extend(groups::findings(&first.groups, &second.groups));
    findings.extend(told(&second.views));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Parts of sentences of nodes whose causes are found here, with more about them.
const FOUND_ALREADY: [&str; 6] = [
    "does not answer",
    "has no leader",
    "fewer replicas than",
    "takes no writes",
    "not registered in the cluster yet",
    "are not served",
];

/// What nodes complain about beside that.
fn told(views: &Views) -> Vec<Finding> {
    let mut told: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (node, view) in &views.answers {
        for problem in &view.cluster.problems {
            if !FOUND_ALREADY.iter().any(|part| problem.contains(part)) {
                told.entry(problem).or_default().push(*node);
            }
        }
    }
    let told = told.into_iter().map(|(problem, by)| {
        Finding::new(
            Severity::Error,
            "node-reports",
            super::finding::named("node", &by),
            problem,
            "the node's log says more; a node that is turned away must be given its own data \
             directory, or be replaced: quipu node replace NODE",
        )
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::samples;

    fn look(views: Views) -> Look {
        Look { views, ..Look::default() }
    }

    fn kinds(findings: &[Finding]) -> Vec<(&'static str, &str)> {
        findings.iter().map(|finding| (finding.kind, finding.place.as_str())).collect()
    }

    #[test]
    fn a_healthy_cluster_has_no_findings() {
        let looks = (look(samples::views(3)), look(samples::views(3)));
        assert_eq!(findings(&looks.0, &looks.1), []);
    }

    #[test]
    fn the_worst_comes_first_and_nothing_is_said_twice() {
        let mut views = samples::views(3);
        samples::kill(&mut views, 3);
        samples::all(&mut views, |cluster| {
            cluster.nodes[1].state = "drained";
            cluster.problems = vec!["node 3 (host-3:9292) does not answer".to_owned()];
        });
        let found = findings(&look(samples::views(3)), &look(views));
        assert_eq!(
            kinds(&found),
            [
                ("node-down", "node 3"),
                ("node-drained", "node 2"),
                ("under-replicated", "shards 0, 1, 2, 3"),
            ]
        );
        assert!(found.is_sorted_by_key(|finding| finding.severity));
    }

    #[test]
    fn other_complaints_of_nodes_are_passed_on_once() {
        let mut views = samples::views(3);
        let why = "node 1 turns this node away: WRONG_NODE";
        let view = views.answers.get_mut(&2).expect("it answers");
        view.cluster.problems = vec![why.to_owned()];
        let found = findings(&look(samples::views(3)), &look(views));
        assert_eq!(kinds(&found), [("node-reports", "node 2")]);
        assert_eq!(found[0].what, why);
    }
}
