//! Since when each node answers.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_types::NodeId;

/// Nodes that answer, and since when. Unit: since the clock's start.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    since: BTreeMap<NodeId, Duration>,
}

impl Liveness {
    /// Looks at every node; returns how many answer.
    pub(super) fn observe<'a>(
        &mut self,
        nodes: impl Iterator<Item = &'a NodeId>,
        is_alive: impl Fn(NodeId) -> bool,
        now: Duration,
    ) -> usize {
        let mut since = BTreeMap::new();
        for node in nodes.filter(|node| is_alive(**node)) {
            since.insert(*node, self.since.get(node).copied().unwrap_or(now));
        }
        self.since = since;
        self.since.len()
    }

    /// Whether a node answers.
    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        self.since.contains_key(&node)
    }

    /// Whether a node has answered for so long.
    pub(super) fn is_steady(&self, node: NodeId, span: Duration, now: Duration) -> bool {
        self.since.get(&node).is_some_and(|since| now.saturating_sub(*since) >= span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_went_silent_starts_anew() {
        let node = NodeId::new(1);
        let second = Duration::from_secs;
        let mut liveness = Liveness::default();
        assert_eq!(liveness.observe([node].iter(), |_| true, second(1)), 1);
        liveness.observe([node].iter(), |_| true, second(6));
        assert!(liveness.is_steady(node, second(5), second(6)));
        assert_eq!(liveness.observe([node].iter(), |_| false, second(7)), 0);
        liveness.observe([node].iter(), |_| true, second(8));
        assert!(liveness.is_alive(node) && !liveness.is_steady(node, second(5), second(12)));
        assert!(liveness.is_steady(node, second(5), second(13)));
    }
}
