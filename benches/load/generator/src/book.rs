//! What is counted while a run goes on. One thread writes it: no locks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;

use crate::gaps::{Gap, Gaps};
use crate::latency::Latency;
use crate::payload::Header;
use crate::plan::{Mode, Plan};
use crate::schedule::Origin;
use crate::seen::Seen;
use crate::series::{Second, Series};

const SECOND_NS: u64 = 1_000_000_000;
/// Errors are told apart by their text; the rest of a flood is counted together.
const ERROR_KINDS_MAX: usize = 20;

/// A record on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) due: u64,
    pub(crate) number: u64,
    pub(crate) partition: u32,
}

/// Everything counted of one run.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) run: u64,
    unix_ms: Cell<u64>,
    origin: Cell<Origin>,
    /// What counts, in nanoseconds after the origin.
    window: Range<u64>,
    room: Semaphore,
    room_size: usize,
    next_number: Cell<u64>,
    least_free: Cell<usize>,
    counts: RefCell<Counts>,
    publish: RefCell<Latency>,
    lag: RefCell<Latency>,
    series: RefCell<Series>,
    gaps: RefCell<Option<Gaps>>,
    acked: RefCell<Seen>,
    errors: RefCell<BTreeMap<String, u64>>,
    groups: Vec<RefCell<Group>>,
    existing: u64,
}

/// Plain sums.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) failed: u64,
    /// Acknowledged within the window.
    pub(crate) acked_in_window: u64,
    /// Due within the window and acknowledged whenever.
    pub(crate) due_in_window: u64,
}

/// One group of readers.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) latency: Latency,
    seen: Seen,
    pub(crate) read: u64,
    pub(crate) read_in_window: u64,
    pub(crate) duplicates: u64,
    /// Of another run: what was in the topic before.
    pub(crate) earlier: u64,
    /// When the last of those, and everything after it, was read.
    pub(crate) caught_up: Option<u64>,
}

/// What is left of a book when the run is over.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) counts: Counts,
    pub(crate) publish: Latency,
    pub(crate) lag: Latency,
    pub(crate) series: Vec<Second>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) groups: Vec<Group>,
    /// Acknowledged and not read, by the group that missed most.
    pub(crate) acked_not_read: u64,
    pub(crate) in_flight_most: usize,
}

impl Book {
    pub(crate) fn new(plan: &Plan, origin: Origin) -> Self {
        let from = plan.warm_up * SECOND_NS;
        let room_size = plan.in_flight_max();
        Self {
            run: u64::try_from(since_1970().as_nanos()).unwrap_or(1),
            unix_ms: Cell::new(0),
            origin: Cell::new(origin),
            window: from..from + plan.seconds * SECOND_NS,
            room: Semaphore::new(room_size),
            room_size,
            next_number: Cell::new(0),
            least_free: Cell::new(room_size),
            counts: RefCell::default(),
            publish: RefCell::new(Latency::new()),
            lag: RefCell::new(Latency::new()),
            series: RefCell::new(Series::new()),
            gaps: RefCell::new(plan.gaps_ms.map(|ms| Gaps::new(plan.partitions, ms))),
            acked: RefCell::default(),
            errors: RefCell::default(),
            groups: (0..plan.groups).map(|_| RefCell::new(Group::new())).collect(),
            existing: plan.existing.unwrap_or(0),
        }
    }

    /// Everything is connected: time begins.
    pub(crate) fn begin(&self) {
        self.origin.set(Origin::now());
        self.unix_ms.set(u64::try_from(since_1970().as_millis()).unwrap_or(0));
    }

    /// When time began, in milliseconds since 1970.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.unix_ms.get()
    }

    /// When time began.
    pub(crate) fn origin(&self) -> Origin {
        self.origin.get()
    }

    /// Nanoseconds since then.
    pub(crate) fn now(&self) -> u64 {
        self.origin.get().elapsed()
    }

    pub(crate) const fn window(&self) -> &Range<u64> {
        &self.window
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Room for one more record, when there is some.
    pub(crate) fn try_take_room(&self) -> bool {
        let taken = self.room.try_acquire().map(tokio::sync::SemaphorePermit::forget).is_ok();
        self.note_free();
        taken
    }

    /// Waits for room for one more record.
    pub(crate) async fn take_room(&self) {
        self.room.acquire().await.expect("it is never closed").forget();
        self.note_free();
    }

    fn note_free(&self) {
        self.least_free.set(self.least_free.get().min(self.room.available_permits()));
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_drained(&self) -> bool {
        self.room.available_permits() == self.room_size
    }

    /// A record is handed over now.
    pub(crate) fn send(&self, due: u64, partition: u32) -> Ticket {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        self.counts.borrow_mut().sent += 1;
        self.series.borrow_mut().sent(self.now());
        Ticket { due, number, partition }
    }

    /// The generator was so late by itself.
    pub(crate) fn lagged(&self, due: u64, by: u64) {
        if self.window.contains(&due) {
            self.lag.borrow_mut().record(by);
        }
    }

    /// A record is acknowledged.
    pub(crate) fn acked(&self, ticket: &Ticket) {
        let now = self.now();
        let latency = now.saturating_sub(ticket.due);
        let mut counts = self.counts.borrow_mut();
        counts.acked += 1;
        counts.acked_in_window += u64::from(self.window.contains(&now));
        if self.window.contains(&ticket.due) {
            counts.due_in_window += 1;
            self.publish.borrow_mut().record(latency);
        }
        drop(counts);
        self.series.borrow_mut().acked(now, latency);
        self.acked.borrow_mut().add(ticket.number);
        if let Some(gaps) = self.gaps.borrow_mut().as_mut() {
            gaps.acked(ticket.partition, now);
        }
        self.room.add_permits(1);
    }

    /// A record is not stored, or nobody knows.
    pub(crate) fn failed(&self, _ticket: &Ticket, why: &str) {
        self.counts.borrow_mut().failed += 1;
        let mut errors = self.errors.borrow_mut();
        let is_full = errors.len() >= ERROR_KINDS_MAX && !errors.contains_key(why);
        let kind = if is_full { "others" } else { why };
        *errors.entry(kind.to_owned()).or_default() += 1;
        drop(errors);
        self.room.add_permits(1);
    }

    /// A group got a value.
    pub(crate) fn arrived(&self, group: usize, value: &[u8]) {
        let now = self.now();
        let Some(header) = Header::parse(value) else { return };
        let mut group = self.groups[group].borrow_mut();
        group.read += 1;
        group.read_in_window += u64::from(self.window.contains(&now));
        if header.run == self.run {
            let latency = now.saturating_sub(header.due);
            if !group.seen.add(header.number) {
                group.duplicates += 1;
            } else if self.window.contains(&header.due) {
                group.latency.record(latency);
            }
            self.series.borrow_mut().read(now, latency);
        } else {
            group.earlier += 1;
            self.series.borrow_mut().read(now, 0);
        }
        if group.caught_up.is_none() && group.earlier >= self.existing {
            let behind = self.counts.borrow().acked.saturating_sub(group.seen.count());
            group.caught_up = (behind < 1_000).then_some(now);
        }
    }

    /// Whether every group has what was acknowledged, and what was there before.
    pub(crate) fn is_read(&self) -> bool {
        let acked = self.counts.borrow().acked;
        self.groups.iter().all(|group| {
            let group = group.borrow();
            group.seen.count() >= acked && group.earlier >= self.existing
        })
    }

    /// Records every group has read, of the least.
    pub(crate) fn read_least(&self) -> u64 {
        self.groups.iter().map(|group| group.borrow().read).min().unwrap_or(0)
    }

    pub(crate) fn close(&self, plan: &Plan) -> Closed {
        let acked = self.acked.take();
        let groups: Vec<Group> =
            self.groups.iter().map(|group| group.replace(Group::new())).collect();
        let missing = groups.iter().map(|group| acked.missing_in(&group.seen));
        let acked_not_read = if plan.mode == Mode::Read { 0 } else { missing.max().unwrap_or(0) };
        Closed {
            counts: self.counts(),
            acked_not_read,
            publish: self.publish.replace(Latency::new()),
            lag: self.lag.replace(Latency::new()),
            series: self.series.replace(Series::new()).finish(),
            gaps: self.gaps.take().map(Gaps::finish).unwrap_or_default(),
            errors: self.errors.take(),
            in_flight_most: self.room_size - self.least_free.get(),
            groups,
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Group {
    fn new() -> Self {
        Self {
            latency: Latency::new(),
            seen: Seen::default(),
            read: 0,
            read_in_window: 0,
            duplicates: 0,
            earlier: 0,
            caught_up: None,
        }
    }
}
