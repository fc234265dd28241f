//! Names of this crate's metrics. They belong to the service that links it, hence no prefix.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use crate::clock;

const PUBLISHED: &str = "event_published_total";
const PUBLISH_SECONDS: &str = "event_publish_duration_seconds";
const PUBLISH_ERRORS: &str = "event_publish_errors_total";
const CONSUMED: &str = "event_consumed_total";
const PROCESSING_SECONDS: &str = "event_processing_duration_seconds";
const PROCESSING_ERRORS: &str = "event_processing_errors_total";
const LAG: &str = "consumer_lag_messages";
const LAST_POLL: &str = "consumer_last_poll_timestamp_seconds";
const SKIPPED: &str = "events_skipped_total";

/// Errors a dashboard should show as 0 before the first one happens.
const ERRORS_TOUCHED: [&str; 3] = ["DEADLINE_EXCEEDED", "NOT_ENOUGH_REPLICAS", "TIMEOUT"];

/// What a producer counts for one topic.
#[derive(Clone, Debug)]
pub(crate) struct Publishing {
    service: String,
    topic: String,
    published: Counter,
    seconds: Histogram,
}

impl Publishing {
    /// Registers the series of one topic at 0.
    pub(crate) fn new(service: &str, topic: &str) -> Self {
        describe();
        let (service, topic) = (service.to_owned(), topic.to_owned());
        let labels = [("service", service.clone()), ("topic", topic.clone())];
        let published = counter!(PUBLISHED, &labels);
        published.increment(0);
        let publishing =
            Self { published, seconds: histogram!(PUBLISH_SECONDS, &labels), service, topic };
        for error in ERRORS_TOUCHED {
            publishing.errors(error).increment(0);
        }
        publishing
    }

    /// Counts a batch as published: only after its acknowledgement.
    pub(crate) fn stored(&self, events: u64, took: Duration) {
        self.published.increment(events);
        self.seconds.record(took.as_secs_f64());
    }

    /// Counts events whose delivery failed.
    pub(crate) fn failed(&self, events: u64, error: &str) {
        self.errors(error).increment(events);
    }

    fn errors(&self, error: &str) -> Counter {
        let error = error.to_owned();
        let (service, topic) = (self.service.clone(), self.topic.clone());
        counter!(PUBLISH_ERRORS, "service" => service, "topic" => topic, "error" => error)
    }
}

/// Registers the counter of events read from one topic, at 0.
pub(crate) fn consumed(service: &str, topic: &str) -> Counter {
    describe();
    let counter = counter!(CONSUMED, "service" => service.to_owned(), "topic" => topic.to_owned());
    counter.increment(0);
    begin_skipped(service, topic);
    counter
}

/// Why a reader does not get events that are between its position and where it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SkipReason {
    /// They were removed before they were read.
    Removed,
    /// The reader was told to go on at the end.
    Reset,
}

impl SkipReason {
    const fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Reset => "reset",
        }
    }
}

/// Counts events that a reader of this topic does not get.
pub(crate) fn skipped(service: &str, topic: &str, reason: SkipReason, events: u64) {
    let labels = [
        ("service", service.to_owned()),
        ("topic", topic.to_owned()),
        ("reason", reason.name().to_owned()),
    ];
    counter!(SKIPPED, &labels).increment(events);
}

fn begin_skipped(service: &str, topic: &str) {
    skipped(service, topic, SkipReason::Removed, 0);
    skipped(service, topic, SkipReason::Reset, 0);
}

/// The gauge that says when a member asked for events last.
pub(crate) fn last_poll(service: &str, group: &str) -> LastPoll {
    describe();
    let labels = [("service", service.to_owned()), ("group", group.to_owned())];
    LastPoll(gauge!(LAST_POLL, &labels))
}

/// When a member asked for events last.
#[derive(Clone, Debug)]
pub(crate) struct LastPoll(Gauge);

impl LastPoll {
    /// It does so at this moment.
    pub(crate) fn now(&self) {
        // Exact to the millisecond until the year 287396.
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        self.0.set(clock::wall().get() as f64 / 1e3);
    }
}

/// What a member of a group counts for one topic.
#[derive(Clone, Debug)]
pub(crate) struct Consuming {
    pub(crate) consumed: Counter,
    pub(crate) seconds: Histogram,
    pub(crate) errors: Counter,
    pub(crate) lag: Gauge,
}

impl Consuming {
    /// Registers the series of one topic at 0.
    pub(crate) fn new(service: &str, topic: &str, group: &str) -> Self {
        describe();
        let labels = [
            ("service", service.to_owned()),
            ("topic", topic.to_owned()),
            ("group", group.to_owned()),
        ];
        let consumed = counter!(CONSUMED, &labels);
        consumed.increment(0);
        let errors = counter!(PROCESSING_ERRORS, &labels);
        errors.increment(0);
        begin_skipped(service, topic);
        let seconds = histogram!(PROCESSING_SECONDS, &labels);
        Self { consumed, seconds, errors, lag: gauge!(LAG, &labels) }
    }
}

/// Says what each metric means. Whoever first publishes or reads does it by itself.
pub fn describe() {
    describe_counter!(
        PUBLISHED,
        "Events acknowledged at the level asked for, by service and topic."
    );
    describe_histogram!(
        PUBLISH_SECONDS,
        metrics::Unit::Seconds,
        "From the first event of a batch being enqueued to its acknowledgement, by service and topic."
    );
    describe_counter!(PUBLISH_ERRORS, "Events whose delivery failed, by service, topic and error.");
    describe_counter!(
        CONSUMED,
        "Events handed to the reader, by service, topic and, for members of one, group."
    );
    describe_histogram!(
        PROCESSING_SECONDS,
        metrics::Unit::Seconds,
        "From the handler being called to its return, by service, topic and group."
    );
    describe_counter!(
        PROCESSING_ERRORS,
        "Events whose handler returned an error, by service, topic and group."
    );
    describe_gauge!(
        LAG,
        "Events between this member's positions and the ends of its partitions, by service, topic \
         and group."
    );
    describe_gauge!(
        LAST_POLL,
        metrics::Unit::Seconds,
        "When a member asked for events last, since 1970 UTC, by service and group."
    );
    describe_counter!(
        SKIPPED,
        "Events that a reader did not get, by service, topic and reason. removed: gone before they \
         were read; reset: it was to go on at the end."
    );
}
