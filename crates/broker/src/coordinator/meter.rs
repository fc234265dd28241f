//! How far the groups of one shard are behind, as metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use quipu_coordinator::{Group, GroupName};
use quipu_runtime::Deadline;
use quipu_shard::Shard;
use quipu_types::{Offset, PartitionId, TimestampMs, TopicId};

use super::admin::positions;
use super::lag::Standing;
use crate::Broker;
use crate::freshness::Known;
use crate::metrics::{LiveGroup, LiveGroups};

/// How often it is looked whether this node leads the shard.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the groups are measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);
/// How long one measurement of all groups may take.
const WAIT: Duration = Duration::from_secs(10);

const LAG: &str = "quipu_group_lag_messages";
const LAG_SECONDS: &str = "quipu_group_lag_seconds";
const MEMBERS: &str = "quipu_group_members";
const COMMITTED: &str = "quipu_group_committed_offset";
const REBALANCES: &str = "quipu_group_rebalances_total";
const UNREAD: &str = "quipu_group_unread_deleted_total";

/// Registers descriptions.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_gauge!(LAG, Unit::Count, "Records that a group has not read, by group and topic.");
    describe_gauge!(LAG_SECONDS, Unit::Seconds, "Age of the oldest of them, by group and topic.");
    describe_gauge!(MEMBERS, Unit::Count, "Members, by group.");
    describe_gauge!(COMMITTED, Unit::Count, "Stored positions, summed by group and topic.");
    describe_counter!(REBALANCES, Unit::Count, "How often the assignment was computed, by group.");
    describe_counter!(
        UNREAD,
        Unit::Count,
        "Records that were removed before they were read, by group."
    );
}

/// Measures a shard's groups while this node leads it, until cancelled. Slow answers of other
/// nodes hold up nothing but the next measurement.
pub(super) async fn run(broker: Broker, shard: Shard) {
    let mut meter = Meter { broker, shard, measured: None, groups: BTreeMap::new() };
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        meter.look().await;
    }
}

struct Meter {
    broker: Broker,
    shard: Shard,
    /// When, since the clock's start; `None` while another node leads.
    measured: Option<Duration>,
    groups: BTreeMap<GroupName, GroupMeter>,
}

/// What one measurement needs of a group.
struct Sample {
    members: usize,
    rebalances: u64,
    positions: BTreeMap<PartitionId, Option<Offset>>,
}

/// The series of one group, on the page while this is there: of a group that is gone, or is another
/// node's, this node has nothing to say.
struct GroupMeter {
    label: String,
    members: Gauge,
    rebalances: Counter,
    unread: Counter,
    counted_rebalances: u64,
    /// The log start up to which losses were counted.
    counted_losses: BTreeMap<PartitionId, Offset>,
    topics: BTreeMap<TopicId, TopicMeter>,
    live: LiveGroup,
}

struct TopicMeter {
    _live: LiveGroup,
    messages: Gauge,
    seconds: Gauge,
    committed: Gauge,
}

/// One topic's share of a group's lag.
#[derive(Debug, Default, PartialEq, Eq)]
struct TopicLag {
    messages: u64,
    milliseconds: u64,
    committed: u64,
}

impl Meter {
    async fn look(&mut self) {
        if !self.shard.is_ready_leader() {
            self.measured = None;
            self.groups.clear();
            return;
        }
        let now = self.broker.clock().monotonic();
        let is_due = |measured: Duration| now.saturating_sub(measured) >= MEASURE_INTERVAL;
        if self.measured.is_none_or(is_due) {
            self.measured = Some(now);
            self.measure().await;
        }
    }

    async fn measure(&mut self) {
        let samples = self.samples();
        self.groups.retain(|name, _| samples.contains_key(name));
        let deadline = Deadline::after(self.broker.clock(), WAIT);
        for (name, sample) in samples {
            let asked = sample.positions.keys().map(|partition| partition.topic);
            let known = self.broker.image_knowing(asked, deadline).await;
            let asked = sample.positions.iter().map(|(partition, at)| (*partition, *at)).collect();
            let standings = self.broker.reader_standings(&known, asked, deadline).await;
            let now = TimestampMs::new(self.broker.clock().wall_ms());
            let meter = self.groups.entry(name);
            let live = self.broker.inner.metrics.groups();
            let meter =
                meter.or_insert_with_key(|name| GroupMeter::new(name, live, sample.rebalances));
            meter.show(&sample, &standings, &known, now);
        }
    }

    fn samples(&self) -> BTreeMap<GroupName, Sample> {
        self.shard.groups().read(|groups| {
            let names = groups.names();
            names.filter_map(|name| Some((name.clone(), Sample::of(groups.group(name)?)))).collect()
        })
    }
}

impl Sample {
    fn of(group: &Group) -> Self {
        Self {
            members: group.members().count(),
            rebalances: group.rebalances(),
            positions: positions(group),
        }
    }
}

impl GroupMeter {
    /// Rebalances before this node looked at the group were counted elsewhere.
    fn new(name: &GroupName, live: &Arc<LiveGroups>, rebalances: u64) -> Self {
        let label = name.as_str().to_owned();
        Self {
            members: gauge!(MEMBERS, "group" => label.clone()),
            rebalances: counter!(REBALANCES, "group" => label.clone()),
            unread: counter!(UNREAD, "group" => label.clone()),
            label,
            counted_rebalances: rebalances,
            counted_losses: BTreeMap::new(),
            topics: BTreeMap::new(),
            live: live.show(name.as_str(), None),
        }
    }

    fn show(
        &mut self,
        sample: &Sample,
        standings: &BTreeMap<PartitionId, Standing>,
        known: &Known,
        now: TimestampMs,
    ) {
        self.members.set(f64::from(u32::try_from(sample.members).unwrap_or(u32::MAX)));
        self.rebalances.increment(sample.rebalances.saturating_sub(self.counted_rebalances));
        self.counted_rebalances = sample.rebalances;
        self.count_losses(sample, standings);
        let lags = by_topic(sample, standings, now);
        // A topic that nobody could be asked about keeps what was known of it.
        let is_read = |topic: &TopicId| sample.positions.keys().any(|id| id.topic == *topic);
        self.topics.retain(|topic, _| is_read(topic));
        for (topic, lag) in lags {
            let Some(named) = known.image.topic_by_id(&topic) else { continue };
            let name = named.name.as_str();
            let meter = self.topics.entry(topic);
            let live = || self.live.all().show(&self.label, Some(name));
            meter.or_insert_with(|| TopicMeter::new(&self.label, name, live())).show(&lag);
        }
    }

    fn count_losses(&mut self, sample: &Sample, standings: &BTreeMap<PartitionId, Standing>) {
        self.counted_losses.retain(|partition, _| sample.positions.contains_key(partition));
        for (partition, standing) in standings {
            let position = sample.positions.get(partition).copied().flatten();
            let counted = self.counted_losses.get(partition).copied();
            let start = standing.progress.log_start();
            if let Some(lost) = newly_lost(position, counted, start) {
                tracing::warn!(group = self.label, %partition, lost, position = ?position,
                    log_start = %start, "records were removed before the group read them");
                self.unread.increment(lost);
                self.counted_losses.insert(*partition, start);
            }
        }
    }
}

impl TopicMeter {
    fn new(group: &str, topic: &str, live: LiveGroup) -> Self {
        let of = |series: &'static str| gauge!(series, "group" => group.to_owned(), "topic" => topic.to_owned());
        let (messages, seconds, committed) = (of(LAG), of(LAG_SECONDS), of(COMMITTED));
        Self { _live: live, messages, seconds, committed }
    }

    fn show(&self, lag: &TopicLag) {
        self.messages.set(to_f64(lag.messages));
        self.seconds.set(to_f64(lag.milliseconds) / 1e3);
        self.committed.set(to_f64(lag.committed));
    }
}

fn by_topic(
    sample: &Sample,
    standings: &BTreeMap<PartitionId, Standing>,
    now: TimestampMs,
) -> BTreeMap<TopicId, TopicLag> {
    let mut lags: BTreeMap<TopicId, TopicLag> = BTreeMap::new();
    for (partition, standing) in standings {
        let position = sample.positions.get(partition).copied().flatten();
        let lag = lags.entry(partition.topic).or_default();
        lag.messages = lag.messages.saturating_add(standing.lag(position));
        lag.milliseconds = lag.milliseconds.max(standing.lag_ms(now));
        // Any number may be committed by hand.
        lag.committed = lag.committed.saturating_add(position.map_or(0, Offset::get));
    }
    lags
}

/// Records that went away unread since the last count; `None`: no more than were counted.
fn newly_lost(position: Option<Offset>, counted: Option<Offset>, start: Offset) -> Option<u64> {
    let from = position.max(counted).filter(|from| start > *from)?;
    Some(start.get() - from.get())
}

fn to_f64(count: u64) -> f64 {
    // Metrics are doubles; beyond 2^53 the last digits do not matter.
    count as f64
}

#[cfg(test)]
mod tests {
    use quipu_types::{PartitionIndex, Progress};

    use super::*;

    fn at(offset: u64) -> Option<Offset> {
        Some(Offset::new(offset))
    }

    #[test]
    fn each_lost_record_is_counted_once() {
        assert_eq!(newly_lost(at(5), None, Offset::new(5)), None);
        assert_eq!(newly_lost(at(5), None, Offset::new(9)), Some(4));
        assert_eq!(newly_lost(at(5), at(9), Offset::new(9)), None);
        assert_eq!(newly_lost(at(5), at(9), Offset::new(12)), Some(3));
        assert_eq!(newly_lost(at(20), at(9), Offset::new(12)), None, "it had read them");
        assert_eq!(newly_lost(None, None, Offset::new(12)), None, "it never began");
    }

    #[test]
    fn lag_is_summed_by_topic_and_its_age_is_the_oldest() {
        let id = |topic: u8, index| {
            PartitionId::new(TopicId::from_bytes([topic; 16]), PartitionIndex::new(index))
        };
        let standing = |end, written: i64| Standing {
            progress: Progress::new(Offset::new(0), Offset::new(end)),
            oldest_unread: Some(TimestampMs::new(written)),
        };
        let positions = BTreeMap::from([(id(1, 0), at(4)), (id(1, 1), None), (id(2, 0), at(7))]);
        let sample = Sample { members: 1, rebalances: 0, positions };
        let standings = BTreeMap::from([
            (id(1, 0), standing(10, 900)),
            (id(1, 1), standing(3, 400)),
            (id(2, 0), standing(7, 1_000)),
        ]);
        let lags = by_topic(&sample, &standings, TimestampMs::new(1_000));
        let first = TopicLag { messages: 9, milliseconds: 600, committed: 4 };
        let second = TopicLag { messages: 0, milliseconds: 0, committed: 7 };
        let expected =
            [(TopicId::from_bytes([1; 16]), first), (TopicId::from_bytes([2; 16]), second)];
        assert_eq!(lags, BTreeMap::from(expected));
    }
}
