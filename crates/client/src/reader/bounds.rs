//! From what the caller means to offsets.

use std::collections::BTreeMap;

use quipu_types::TimestampMs;

use crate::Result;
use crate::admin::offsets::{self, OffsetAt, OffsetFound};
use crate::client::Shared;
use crate::cluster_view::Topic;
use crate::position::{End, Start};

/// What is read of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start: u64,
    /// First offset that is not read any more.
    pub(crate) end: Option<u64>,
}

/// What servers know of one partition; absent where it was not asked.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    earliest: u64,
    latest: u64,
    /// First offset at or after the time asked for.
    start_at_time: Option<u64>,
    end_at_time: Option<u64>,
}

/// Finds the bounds of each partition. The last of `meant` is the present, for ages.
pub(crate) async fn find(
    client: &Shared,
    topic: &Topic,
    partitions: &[u32],
    meant: (Start, End, TimestampMs),
) -> Result<BTreeMap<u32, Bounds>> {
    let (start, end, now) = meant;
    let ask = async |is_needed: bool, at: OffsetAt| -> Result<Vec<Option<OffsetFound>>> {
        if !is_needed {
            return Ok(vec![None; partitions.len()]);
        }
        let queries: Vec<_> = partitions.iter().map(|index| (*index, at)).collect();
        offsets::list(client, topic, &queries).await
    };
    let start_time = start.timestamp(now);
    let end_time = end.timestamp(now);
    let needs_latest = matches!(start, Start::Latest | Start::Last(_))
        || end == End::Latest
        || start_time.is_some()
        || end_time.is_some();
    let needs_earliest = matches!(start, Start::Earliest | Start::Last(_));
    // The end first: what is written between the questions is then rather read than missed.
    let latest = ask(needs_latest, OffsetAt::Latest).await?;
    let earliest = ask(needs_earliest, OffsetAt::Earliest).await?;
    let time = |time: Option<TimestampMs>| OffsetAt::Timestamp(time.unwrap_or_default());
    let starts = ask(start_time.is_some(), time(start_time)).await?;
    let ends = ask(end_time.is_some(), time(end_time)).await?;
    let offset = |found: &[Option<OffsetFound>], at: usize| found[at].map(|found| found.offset);
    let bounds = partitions.iter().enumerate().map(|(at, index)| {
        let facts = Facts {
            earliest: offset(&earliest, at).unwrap_or(0),
            latest: offset(&latest, at).unwrap_or(0),
            start_at_time: offset(&starts, at),
            end_at_time: offset(&ends, at),
        };
        (*index, Bounds { start: first(start, facts), end: after_last(end, facts) })
    });
    Ok(bounds.collect())
}

fn first(start: Start, facts: Facts) -> u64 {
    match start {
        Start::Earliest => facts.earliest,
        Start::Latest => facts.latest,
        Start::Offset(offset) => offset,
        Start::Last(count) => facts.latest.saturating_sub(count).max(facts.earliest),
        Start::Timestamp(_) | Start::Ago(_) => facts.start_at_time.unwrap_or(facts.latest),
    }
}

fn after_last(end: End, facts: Facts) -> Option<u64> {
    match end {
        End::Never => None,
        End::Latest => Some(facts.latest),
        End::Offset(offset) => Some(offset),
        End::Timestamp(_) | End::Ago(_) => Some(facts.end_at_time.unwrap_or(facts.latest)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FACTS: Facts =
        Facts { earliest: 100, latest: 120, start_at_time: None, end_at_time: None };

    #[test]
    fn starts_become_offsets() {
        let cases = [
            (Start::Earliest, 100),
            (Start::Latest, 120),
            (Start::Offset(7), 7),
            (Start::Last(5), 115),
            (Start::Last(50), 100),
            (Start::Ago(Duration::from_secs(1)), 120),
        ];
        for (start, expected) in cases {
            assert_eq!(first(start, FACTS), expected, "{start:?}");
        }
        let found = Facts { start_at_time: Some(110), ..FACTS };
        assert_eq!(first(Start::Timestamp(TimestampMs::new(9)), found), 110);
    }

    #[test]
    fn ends_become_offsets() {
        let cases = [
            (End::Never, None),
            (End::Latest, Some(120)),
            (End::Offset(7), Some(7)),
            (End::Ago(Duration::from_secs(1)), Some(120)),
        ];
        for (end, expected) in cases {
            assert_eq!(after_last(end, FACTS), expected, "{end:?}");
        }
        let found = Facts { end_at_time: Some(110), ..FACTS };
        assert_eq!(after_last(End::Timestamp(TimestampMs::new(9)), found), Some(110));
    }
}
