//! `quipu metrics`: the reference of what nodes and clients measure.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};

use crate::output;

/// Prints the page.
pub(crate) fn run() -> anyhow::Result<()> {
    output::line("# Metrics\n")?;
    output::line(
        "Every node answers on `listeners.metrics` at `/metrics`. Times are in seconds, sizes in \
         bytes; labels follow *by*. Histograms have `_bucket`, `_sum` and `_count`. Counters begin \
         at 0, those with labels as soon as what the labels name is there. Series of a deleted \
         topic or group vanish.\n",
    )?;
    output::line("## Nodes\n")?;
    table(quipu_server::telemetry::describe)?;
    output::line("\n## Services that link the client crate\n")?;
    output::line(
        "They go to whatever recorder of the `metrics` crate the service installs. Every series \
         has the label `service`, as the client was built with.\n",
    )?;
    table(quipu_client::describe_metrics)
}

fn table(describe: fn()) -> anyhow::Result<()> {
    let described = Described::default();
    with_local_recorder(&described, describe);
    output::line("| Metric | Kind | Meaning |\n|---|---|---|")?;
    let metrics = described.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (name, (kind, about)) in metrics {
        output::line(&format!("| `{name}` | {kind} | {about} |"))?;
    }
    Ok(())
}

/// A recorder that keeps what is said of metrics, and nothing that is measured.
#[derive(Default)]
struct Described(Mutex<BTreeMap<String, (&'static str, String)>>);

impl Described {
    fn keep(&self, kind: &'static str, name: &KeyName, about: &SharedString) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.as_str().to_owned(), (kind, about.to_string()));
    }
}

impl Recorder for Described {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, about: SharedString) {
        self.keep("counter", &name, &about);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, about: SharedString) {
        self.keep("gauge", &name, &about);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, about: SharedString) {
        self.keep("histogram", &name, &about);
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
