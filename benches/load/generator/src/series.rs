//! What happened second by second.

use serde::Serialize;

use crate::latency::Latency;

/// One second, beginning with the first record sent.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Second {
    pub(crate) second: u64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) read: u64,
    pub(crate) publish_p50_ms: f64,
    pub(crate) publish_p99_ms: f64,
    pub(crate) publish_max_ms: f64,
    pub(crate) read_p99_ms: f64,
}

/// The seconds so far.
#[derive(Debug)]
pub(crate) struct Series {
    done: Vec<Second>,
    current: Second,
    publish: Latency,
    read: Latency,
}

impl Series {
    pub(crate) fn new() -> Self {
        let (publish, read) = (Latency::new(), Latency::new());
        Self { done: Vec::new(), current: Second::default(), publish, read }
    }

    pub(crate) fn sent(&mut self, now: u64) {
        self.turn(now);
        self.current.sent += 1;
    }

    pub(crate) fn acked(&mut self, now: u64, latency: u64) {
        self.turn(now);
        self.current.acked += 1;
        self.publish.record(latency);
    }

    pub(crate) fn read(&mut self, now: u64, latency: u64) {
        self.turn(now);
        self.current.read += 1;
        self.read.record(latency);
    }

    pub(crate) fn finish(mut self) -> Vec<Second> {
        self.close();
        self.done
    }

    fn turn(&mut self, now: u64) {
        let second = now / 1_000_000_000;
        while self.current.second < second {
            self.close();
        }
    }

    fn close(&mut self) {
        let (publish, read) = (self.publish.summary(), self.read.summary());
        let next = Second { second: self.current.second + 1, ..Second::default() };
        self.done.push(Second {
            publish_p50_ms: publish.p50_ms,
            publish_p99_ms: publish.p99_ms,
            publish_max_ms: publish.max_ms,
            read_p99_ms: read.p99_ms,
            ..std::mem::replace(&mut self.current, next)
        });
        // Clearing costs a pass over all buckets: not for seconds in which nothing happened.
        for (latency, count) in [(&mut self.publish, publish.count), (&mut self.read, read.count)] {
            if count > 0 {
                latency.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_seconds_are_there_and_empty() {
        let mut series = Series::new();
        series.sent(10);
        series.acked(2_000_000_000, 1_000_000);
        let acked: Vec<u64> = series.finish().iter().map(|second| second.acked).collect();
        assert_eq!(acked, [0, 0, 1]);
    }
}
