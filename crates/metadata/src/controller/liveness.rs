//! Since when each node answers.

use std::collections::BTreeMap;
use std::time::Duration;

use quipu_types::{NodeId, StartId};

/// Nodes that answer, which start of theirs, and since when. Unit: since the clock's start.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    since: BTreeMap<NodeId, (StartId, Duration)>,
}

impl Liveness {
    /// Looks at every node with its last start; returns how many answer. A restart may be too quick
    /// for a silence to be noticed: another start begins anew all the same.
    pub(super) fn observe(
        &mut self,
        nodes: impl Iterator<Item = (NodeId, StartId)>,
        is_alive: impl Fn(NodeId) -> bool,
        now: Duration,
    ) -> usize {
        let mut since = BTreeMap::new();
        for (node, start) in nodes.filter(|(node, _)| is_alive(*node)) {
            let known = self.since.get(&node).filter(|(known, _)| *known == start);
            since.insert(node, known.copied().unwrap_or((start, now)));
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
        self.since.get(&node).is_some_and(|(_, since)| now.saturating_sub(*since) >= span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_went_silent_starts_anew() {
        let node = NodeId::new(1);
        let second = Duration::from_secs;
        let nodes = || [(node, StartId::default())].into_iter();
        let mut liveness = Liveness::default();
        assert_eq!(liveness.observe(nodes(), |_| true, second(1)), 1);
        liveness.observe(nodes(), |_| true, second(6));
        assert!(liveness.is_steady(node, second(5), second(6)));
        assert_eq!(liveness.observe(nodes(), |_| false, second(7)), 0);
        liveness.observe(nodes(), |_| true, second(8));
        assert!(liveness.is_alive(node) && !liveness.is_steady(node, second(5), second(12)));
        assert!(liveness.is_steady(node, second(5), second(13)));
    }

    #[test]
    fn a_node_that_was_started_again_starts_anew() {
        let node = NodeId::new(1);
        let second = Duration::from_secs;
        let of = |start: u8| [(node, StartId::from_bytes([start; 16]))].into_iter();
        let mut liveness = Liveness::default();
        liveness.observe(of(1), |_| true, second(1));
        liveness.observe(of(2), |_| true, second(6));
        assert!(liveness.is_alive(node) && !liveness.is_steady(node, second(5), second(10)));
        liveness.observe(of(2), |_| true, second(10));
        assert!(liveness.is_steady(node, second(5), second(11)));
    }
}
