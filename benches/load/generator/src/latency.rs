//! Histograms of latencies: 1 µs to 60 s, three digits.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use serde::Serialize;

const LEAST_NS: u64 = 1_000;
const MOST_NS: u64 = 60_000_000_000;

/// Latencies in nanoseconds. What is longer than a minute counts as a minute.
#[derive(Debug)]
pub(crate) struct Latency(Histogram<u64>);

/// What a histogram says in a few words, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) p9999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Latency {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(LEAST_NS, MOST_NS, 3).expect("the bounds are in order"))
    }

    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds.min(MOST_NS));
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    pub(crate) fn summary(&self) -> Summary {
        if self.0.is_empty() {
            return Summary::default();
        }
        let at = |quantile| milliseconds(self.0.value_at_quantile(quantile));
        Summary {
            count: self.0.len(),
            mean_ms: self.0.mean() / 1e6,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            p9999_ms: at(0.9999),
            max_ms: milliseconds(self.0.max()),
        }
    }

    /// Writes `NAME.hgrm`, the usual table of percentiles in milliseconds, and `NAME.hdr`, the
    /// whole histogram (V2 encoding), which can be merged with others.
    pub(crate) fn write(&self, dir: &Path, name: &str) -> Result<()> {
        let table = dir.join(format!("{name}.hgrm"));
        let file = File::create(&table).with_context(|| format!("create {}", table.display()))?;
        self.write_table(BufWriter::new(file))?;
        let whole = dir.join(format!("{name}.hdr"));
        let mut file =
            File::create(&whole).with_context(|| format!("create {}", whole.display()))?;
        let encoded = V2Serializer::new().serialize(&self.0, &mut file);
        encoded.map_err(|error| anyhow::anyhow!("encode a histogram: {error:?}"))?;
        Ok(())
    }

    fn write_table(&self, mut out: impl Write) -> Result<()> {
        writeln!(
            out,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let mut total = 0;
        for step in self.0.iter_quantiles(5) {
            total += step.count_since_last_iteration();
            let quantile = step.quantile_iterated_to();
            let value = milliseconds(step.value_iterated_to());
            write!(out, "{value:>12.3} {quantile:>14.12} {total:>10}")?;
            if quantile < 1.0 {
                write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
            }
            writeln!(out)?;
        }
        let (mean, deviation) = (self.0.mean() / 1e6, self.0.stdev() / 1e6);
        writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        let max = milliseconds(self.0.max());
        writeln!(out, "#[Max     = {max:>12.3}, Total count    = {:>12}]", self.0.len())?;
        let buckets = self.0.buckets();
        writeln!(out, "#[Buckets = {buckets:>12}, SubBuckets     = {:>12}]", 2_048)?;
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a minute of nanoseconds fits a float")]
pub(crate) fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_three_digits() {
        let mut latency = Latency::new();
        for number in 1..=1_000 {
            latency.record(number * 1_000_000);
        }
        let summary = latency.summary();
        assert_eq!(summary.count, 1_000);
        assert!((summary.p50_ms - 500.0).abs() < 1.0, "{summary:?}");
        assert!((summary.p99_ms - 990.0).abs() < 1.0, "{summary:?}");
        assert!((summary.max_ms - 1_000.0).abs() < 1.0, "{summary:?}");
    }

    #[test]
    fn what_is_longer_than_a_minute_counts_as_one() {
        let mut latency = Latency::new();
        latency.record(u64::MAX);
        assert!((latency.summary().max_ms - 60_000.0).abs() < 60.0);
    }
}
