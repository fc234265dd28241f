//! A graph of what precedes what, and its circles.

use std::collections::{HashMap, VecDeque};

/// Why one node precedes another: bits, so that sets of reasons can be chosen.
pub(crate) type Reason = u8;

/// Nodes in order, edges by reason.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    edges: Vec<(u32, u32, Reason)>,
    nodes: u32,
}

impl Graph {
    /// Adds a node.
    pub(crate) fn node(&mut self) -> u32 {
        self.nodes += 1;
        self.nodes - 1
    }

    /// Notes that one node precedes another.
    pub(crate) fn precede(&mut self, before: u32, after: u32, reason: Reason) {
        if before != after {
            self.edges.push((before, after, reason));
        }
    }

    /// The groups of nodes that precede each other in circles.
    pub(crate) fn circles(&mut self) -> Vec<Vec<u32>> {
        self.edges.sort_unstable();
        self.edges.dedup();
        let mut starts = vec![0_usize; self.nodes as usize + 2];
        for (from, _, _) in &self.edges {
            starts[*from as usize + 1] += 1;
        }
        for place in 1..starts.len() {
            starts[place] += starts[place - 1];
        }
        Components::new(&self.edges, &starts, self.nodes).find()
    }

    /// The same nodes, with the edges among `members` for the wanted reasons alone.
    pub(crate) fn within(&self, members: &[u32], wanted: Reason) -> Graph {
        let place: HashMap<u32, u32> = members.iter().copied().zip(0..).collect();
        let edges = self
            .edges
            .iter()
            .filter(|(_, _, reason)| reason & wanted != 0)
            .filter_map(|(from, to, reason)| Some((*place.get(from)?, *place.get(to)?, *reason)))
            .collect();
        let nodes = u32::try_from(members.len()).expect("members are nodes, which u32 counts");
        Graph { edges, nodes }
    }

    /// The shortest way from a node back to itself.
    pub(crate) fn way_round(&self, start: u32) -> Vec<u32> {
        let mut next: HashMap<u32, Vec<u32>> = HashMap::new();
        for (from, to, _) in &self.edges {
            next.entry(*from).or_default().push(*to);
        }
        let mut came_from: HashMap<u32, u32> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for to in next.get(&node).into_iter().flatten() {
                if *to == start {
                    return trace(&came_from, start, node);
                }
                if !came_from.contains_key(to) {
                    came_from.insert(*to, node);
                    queue.push_back(*to);
                }
            }
        }
        Vec::new()
    }
}

fn trace(came_from: &HashMap<u32, u32>, start: u32, last: u32) -> Vec<u32> {
    let mut way = vec![last];
    while let Some(node) = way.last().filter(|node| **node != start) {
        way.push(came_from[node]);
    }
    way.reverse();
    way
}

/// Tarjan's strongly connected components, without recursion.
struct Components<'a> {
    edges: &'a [(u32, u32, Reason)],
    starts: &'a [usize],
    index: Vec<u32>,
    low: Vec<u32>,
    on_stack: Vec<bool>,
    stack: Vec<u32>,
    visits: Vec<(u32, usize)>,
    counter: u32,
    found: Vec<Vec<u32>>,
}

const UNSEEN: u32 = u32::MAX;

impl<'a> Components<'a> {
    fn new(edges: &'a [(u32, u32, Reason)], starts: &'a [usize], nodes: u32) -> Self {
        let nodes = nodes as usize;
        Self {
            edges,
            starts,
            index: vec![UNSEEN; nodes],
            low: vec![0; nodes],
            on_stack: vec![false; nodes],
            stack: Vec::new(),
            visits: Vec::new(),
            counter: 0,
            found: Vec::new(),
        }
    }

    fn find(mut self) -> Vec<Vec<u32>> {
        let nodes = u32::try_from(self.index.len()).expect("nodes are counted in u32");
        for root in 0..nodes {
            if self.index[root as usize] == UNSEEN {
                self.enter(root);
                while let Some((node, edge)) = self.visits.pop() {
                    self.visit(node, edge);
                }
            }
        }
        self.found
    }

    fn enter(&mut self, node: u32) {
        self.index[node as usize] = self.counter;
        self.low[node as usize] = self.counter;
        self.counter += 1;
        self.stack.push(node);
        self.on_stack[node as usize] = true;
        self.visits.push((node, self.starts[node as usize]));
    }

    fn visit(&mut self, node: u32, edge: usize) {
        let here = node as usize;
        if edge < self.starts[here + 1] {
            self.visits.push((node, edge + 1));
            let to = self.edges[edge].1;
            if self.index[to as usize] == UNSEEN {
                self.enter(to);
            } else if self.on_stack[to as usize] {
                self.low[here] = self.low[here].min(self.index[to as usize]);
            }
            return;
        }
        if let Some((parent, _)) = self.visits.last() {
            let parent = *parent as usize;
            self.low[parent] = self.low[parent].min(self.low[here]);
        }
        if self.low[here] == self.index[here] {
            self.close(node);
        }
    }

    fn close(&mut self, root: u32) {
        let start = self.stack.iter().rposition(|node| *node == root).unwrap_or_default();
        let members = self.stack.split_off(start);
        for node in &members {
            self.on_stack[*node as usize] = false;
        }
        if members.len() > 1 {
            self.found.push(members);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_by_reason_and_the_shortest_way_round_is_given() {
        let mut graph = Graph::default();
        let nodes: Vec<u32> = (0..6).map(|_| graph.node()).collect();
        for (from, to, reason) in [(0, 1, 1), (1, 2, 1), (2, 0, 2), (2, 3, 1), (4, 5, 1)] {
            graph.precede(nodes[from], nodes[to], reason);
        }
        let circles = graph.circles();
        assert_eq!(circles.len(), 1);
        let mut members = circles[0].clone();
        members.sort_unstable();
        assert_eq!(members, [0, 1, 2]);
        assert!(graph.within(&members, 1).circles().is_empty());
        let mut both = graph.within(&members, 3);
        assert_eq!(both.circles().len(), 1);
        assert_eq!(both.way_round(0), [0, 1, 2]);
    }
}
