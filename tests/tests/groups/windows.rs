//! What may be handled twice.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, ensure};

use crate::crew::Handled;

/// G7: where a member went, what it handled behind the last commit, by partition of one topic.
#[derive(Default)]
pub(crate) struct Windows(Vec<BTreeMap<u32, Range<u64>>>);

impl Windows {
    /// A member went that had handled this, with these positions committed.
    pub(crate) fn note(&mut self, committed: &BTreeMap<u32, u64>, handled: &[Handled]) {
        let mut window: BTreeMap<u32, Range<u64>> = BTreeMap::new();
        for handled in handled {
            let from = committed.get(&handled.partition).copied().unwrap_or(0);
            let range = window.entry(handled.partition).or_insert(from..from);
            range.end = range.end.max(handled.offset + 1);
        }
        self.0.push(window);
    }

    /// Whether nothing was handled more often than members went from it.
    pub(crate) fn verify(&self, handled: &[Handled]) -> Result<()> {
        let mut times: BTreeMap<(u32, u64), usize> = BTreeMap::new();
        for handled in handled {
            *times.entry((handled.partition, handled.offset)).or_default() += 1;
        }
        for ((partition, offset), times) in times {
            let covers = |window: &&BTreeMap<u32, Range<u64>>| {
                window.get(&partition).is_some_and(|range| range.contains(&offset))
            };
            let allowed = 1 + self.0.iter().filter(covers).count();
            ensure!(
                times <= allowed,
                "{partition}@{offset} was handled {times} times, {allowed} are right"
            );
        }
        Ok(())
    }
}
