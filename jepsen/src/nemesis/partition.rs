//! Packets between nodes vanish, in whatever pattern; clients reach every node.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Fault, Hit, World};

/// Which packets vanish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    Leader,
    Halves,
    Bridge,
    Ring,
    Deaf,
    Mute,
}

/// From whom to whom packets vanish.
type Pairs = BTreeSet<(u64, u64)>;

/// A partition of the network.
#[derive(Debug)]
pub(super) struct Cut {
    shape: Shape,
    pairs: Pairs,
}

impl Cut {
    pub(super) const fn of(shape: Shape) -> Self {
        Self { shape, pairs: Pairs::new() }
    }
}

impl Fault for Cut {
    fn start<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<Hit>> {
        async move {
            let hit = match self.shape {
                Shape::One | Shape::Halves | Shape::Bridge | Shape::Ring => world.any()?,
                Shape::Leader | Shape::Deaf | Shape::Mute => world.leader()?,
            };
            let nodes = world.all();
            self.pairs = pairs(self.shape, hit, &nodes)?;
            let lab = world.lab()?;
            let mut bit = true;
            for (from, to) in &self.pairs {
                lab.cut(*from, *to)?;
                bit &= lab.is_cut(*from, *to)?;
            }
            let (out, words) = (lonely(&self.pairs, &nodes), self.words(hit));
            Ok(Hit { nodes: touched(self.shape, hit, &self.pairs), bit, out, words })
        }
        .boxed()
    }

    fn heal<'a>(&'a mut self, world: &'a mut World<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            let lab = world.lab()?;
            let mended = self.pairs.iter().map(|(from, to)| lab.mend(*from, *to));
            mended.collect::<Vec<_>>().into_iter().collect()
        }
        .boxed()
    }
}

impl Cut {
    fn words(&self, hit: u64) -> String {
        let arrows: Vec<String> =
            self.pairs.iter().map(|(from, to)| format!("{from}→{to}")).collect();
        format!("{:?} around {hit}: {}", self.shape, arrows.join(" "))
    }
}

/// The packets that vanish. `nodes` are sorted.
fn pairs(shape: Shape, hit: u64, nodes: &[u64]) -> Result<Pairs> {
    let others = || nodes.iter().copied().filter(move |node| *node != hit);
    let both = |one: u64, two: u64| [(one, two), (two, one)];
    // The line of nodes that begins with the one that is hit.
    let at = nodes.iter().position(|node| *node == hit).context("a node of the cluster")?;
    let line: Vec<u64> = nodes.iter().cycle().skip(at).take(nodes.len()).copied().collect();
    let middle = line.len() / 2;
    let between = |one: &[u64], two: &[u64]| {
        one.iter().flat_map(|a| two.iter().flat_map(move |b| both(*a, *b))).collect()
    };
    Ok(match shape {
        Shape::One | Shape::Leader => others().flat_map(|other| both(hit, other)).collect(),
        Shape::Deaf => others().map(|other| (other, hit)).collect(),
        Shape::Mute => others().map(|other| (hit, other)).collect(),
        Shape::Halves => between(&line[..middle], &line[middle..]),
        Shape::Bridge => between(&line[..middle], &line[middle + 1..]),
        Shape::Ring => line
            .iter()
            .enumerate()
            .flat_map(|(place, node)| {
                let (node, line) = (*node, &line);
                let is_far = move |other: &usize| {
                    let apart = place.abs_diff(*other);
                    apart.min(line.len() - apart) > line.len() / 4
                };
                (0..line.len()).filter(is_far).map(move |other| (node, line[other]))
            })
            .collect(),
    })
}

/// Nodes that hear, and are heard by, too few for a majority.
fn lonely(pairs: &Pairs, nodes: &[u64]) -> BTreeSet<u64> {
    let linked = |one: u64, two: u64| !pairs.contains(&(one, two)) && !pairs.contains(&(two, one));
    let friends = |node: u64| nodes.iter().filter(|other| linked(node, **other)).count();
    let majority = nodes.len() / 2 + 1;
    nodes.iter().copied().filter(|node| friends(*node) < majority).collect()
}

fn touched(shape: Shape, hit: u64, pairs: &Pairs) -> Vec<u64> {
    match shape {
        Shape::One | Shape::Leader | Shape::Deaf | Shape::Mute => vec![hit],
        Shape::Halves | Shape::Bridge | Shape::Ring => {
            let all: BTreeSet<u64> = pairs.iter().flat_map(|(from, to)| [*from, *to]).collect();
            all.into_iter().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(shape: Shape, hit: u64, nodes: &[u64]) -> (Pairs, Vec<u64>) {
        let pairs = pairs(shape, hit, nodes).unwrap();
        let lonely = lonely(&pairs, nodes);
        (pairs, lonely.into_iter().collect())
    }

    #[test]
    fn one_way_cuts_go_one_way_and_still_cost_the_node_its_majority() {
        let nodes = [1, 2, 3];
        assert_eq!(cut(Shape::Mute, 2, &nodes), (Pairs::from([(2, 1), (2, 3)]), vec![2]));
        assert_eq!(cut(Shape::Deaf, 2, &nodes), (Pairs::from([(1, 2), (3, 2)]), vec![2]));
        let (pairs, lonely) = cut(Shape::One, 2, &nodes);
        assert_eq!(pairs, Pairs::from([(1, 2), (2, 1), (2, 3), (3, 2)]));
        assert_eq!(lonely, [2]);
    }

    #[test]
    fn halves_leave_a_majority_on_one_side() {
        assert_eq!(cut(Shape::Halves, 1, &[1, 2, 3]).1, [1]);
        assert_eq!(cut(Shape::Halves, 4, &[1, 2, 3, 4, 5]).1, [4, 5]);
    }

    #[test]
    fn a_bridge_joins_two_parts_that_do_not_hear_each_other() {
        let (pairs, lonely) = cut(Shape::Bridge, 1, &[1, 2, 3]);
        assert_eq!(pairs, Pairs::from([(1, 3), (3, 1)]));
        assert!(lonely.is_empty());
        let (pairs, lonely) = cut(Shape::Bridge, 1, &[1, 2, 3, 4, 5]);
        assert!(pairs.iter().all(|(from, to)| *from != 3 && *to != 3), "3 is between: {pairs:?}");
        assert_eq!((pairs.len(), lonely.len()), (8, 0));
    }

    #[test]
    fn in_a_ring_every_node_hears_a_majority_and_no_two_the_same() {
        let nodes = [1, 2, 3, 4, 5];
        let (pairs, lonely) = cut(Shape::Ring, 1, &nodes);
        assert!(lonely.is_empty());
        let heard = |node: u64| -> Vec<u64> {
            nodes.iter().copied().filter(|other| !pairs.contains(&(*other, node))).collect()
        };
        let views: BTreeSet<Vec<u64>> = nodes.iter().map(|node| heard(*node)).collect();
        assert_eq!(views.len(), 5);
        assert!(views.iter().all(|view| view.len() == 3));
    }
}
