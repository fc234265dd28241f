//! Names of this crate's metrics. They belong to the service that links it, hence no prefix.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

const PUBLISHED: &str = "event_published_total";
const PUBLISH_SECONDS: &str = "event_publish_duration_seconds";
const PUBLISH_ERRORS: &str = "event_publish_errors_total";
const CONSUMED: &str = "event_consumed_total";
const PROCESSING_SECONDS: &str = "event_processing_duration_seconds";
const PROCESSING_ERRORS: &str = "event_processing_errors_total";
const LAG: &str = "consumer_lag_messages";

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
    counter
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
        let seconds = histogram!(PROCESSING_SECONDS, &labels);
        Self { consumed, seconds, errors, lag: gauge!(LAG, &labels) }
    }
}

fn describe() {
    describe_counter!(PUBLISHED, "Events acknowledged at the level asked for.");
    describe_histogram!(
        PUBLISH_SECONDS,
        metrics::Unit::Seconds,
        "From the first event of a batch being enqueued to its acknowledgement."
    );
    describe_counter!(PUBLISH_ERRORS, "Events whose delivery failed, by error.");
    describe_counter!(CONSUMED, "Events handed to the reader.");
    describe_histogram!(
        PROCESSING_SECONDS,
        metrics::Unit::Seconds,
        "From the handler being called to its return."
    );
    describe_counter!(PROCESSING_ERRORS, "Events whose handler returned an error.");
    describe_gauge!(LAG, "Events between this member's positions and the ends of its partitions.");
}
