//! One report as Markdown and as HTML, with plots.

use anyhow::Result;

use crate::judge::{Sample, Spread, figure, verdict};
use crate::results::{Results, Session};
use crate::scenario::{Claim, Goal, Scenario};
use crate::steering;

mod html;
mod plots;
mod svg;

/// A report's parts, in order; both formats are made of them.
#[derive(Debug)]
pub(crate) enum Part {
    Heading(u8, String),
    Text(String),
    Table(Vec<&'static str>, Vec<Vec<String>>),
    /// Title and file name, beside the report; the picture itself.
    Plot(String, String, String),
}

/// Writes `report.md`, `report.html` and `plots/`.
pub(crate) fn write(results: &Results, session: &Session, scenarios: &[Scenario]) -> Result<()> {
    let parts = parts(results, session, scenarios);
    for part in &parts {
        if let Part::Plot(_, name, picture) = part {
            results.write(name, picture)?;
        }
    }
    results.write("report.md", &markdown(&parts))?;
    results.write("report.html", &html::page(&parts))
}

fn parts(results: &Results, session: &Session, scenarios: &[Scenario]) -> Vec<Part> {
    let mut parts = vec![
        Part::Heading(1, format!("Measured {}", session.when)),
        Part::Text(format!("Machine: {}. Commit {}.", session.machine, session.commit)),
        Part::Text(format!("`cargo xtask bench {}`", session.command)),
        Part::Text(
            "Servers and load generator share this machine: ratios count, absolute figures belong \
             to it. Three replicas, acknowledged by a quorum, on loopback. Medians of runs, least \
             and most in brackets. Closed loops say how much, not how soon: their latencies are \
             not latencies under load."
                .to_owned(),
        ),
    ];
    parts.push(Part::Heading(2, "What must hold".to_owned()));
    parts.push(claims(session, scenarios));
    parts.extend(limits(session));
    for scenario in scenarios {
        parts.extend(section(results, session, scenario));
    }
    let marked: Vec<Vec<String>> = session
        .samples
        .iter()
        .filter(|sample| !sample.marks.is_empty())
        .map(|sample| vec![name(sample), sample.marks.join("; ")])
        .collect();
    parts.push(Part::Heading(2, "What speaks against figures".to_owned()));
    let count = format!("{} of {} measurements are marked.", marked.len(), session.samples.len());
    parts.push(Part::Text(count));
    parts.push(Part::Table(vec!["Measurement", "Marks"], marked));
    if !session.failures.is_empty() {
        parts.push(Part::Heading(2, "Not measured".to_owned()));
        let rows = session.failures.iter().map(|text| vec![first_line(text)]).collect();
        parts.push(Part::Table(vec!["What, and why"], rows));
    }
    parts
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn name(sample: &Sample) -> String {
    format!("{}/{}/{} #{}", sample.scenario, sample.contender, sample.step, sample.run)
}

/// The samples of a contender's step.
fn runs<'a>(
    session: &'a Session,
    scenario: &'a str,
    contender: &'a str,
    step: &'a str,
) -> impl Iterator<Item = &'a Sample> {
    session.samples.iter().filter(move |sample| {
        sample.scenario == scenario && sample.contender == contender && sample.step == step
    })
}

fn claims(session: &Session, scenarios: &[Scenario]) -> Part {
    let head = vec!["Scenario", "Figure", "Ours", "Theirs", "Ratio", "Must", "Aim", "Verdict"];
    let row = |scenario: &Scenario, claim: &Claim| {
        let of = |contender: &str| {
            let runs = runs(session, &scenario.name, contender, claim.step);
            let probe = session.probe.as_ref();
            Spread::of(runs.filter_map(|run| figure(claim.metric, run, probe)).collect())
        };
        let ours = of(&claim.ours);
        let theirs = claim.theirs.as_deref().map(of);
        let judged = match (&ours, &theirs) {
            (Some(ours), None) => Some(ours.median),
            (Some(ours), Some(Some(theirs))) => Some(ours.median / theirs.median),
            _missing => None,
        };
        let unit = if claim.theirs.is_some() { "x" } else { "" };
        let number = |value: f64| format!("{}{unit}", digits(value));
        let (must, aim) = match claim.goal {
            Goal::AtLeast(must, aim) => {
                (format!("≥ {}", number(must)), format!("≥ {}", number(aim)))
            }
            Goal::AtMost(must, aim) => {
                (format!("≤ {}", number(must)), format!("≤ {}", number(aim)))
            }
            Goal::Reported => (String::new(), String::new()),
        };
        let ratio = judged.filter(|_| claim.theirs.is_some()).map_or_else(String::new, number);
        let verdict = judged.map_or("not measured", |judged| verdict(claim.goal, judged));
        vec![
            format!("{}: {}", scenario.name, claim.text),
            format!("{} ({})", claim.metric.label(), claim.step),
            ours.map_or_else(String::new, spread),
            theirs.flatten().map_or_else(String::new, spread),
            ratio,
            must,
            aim,
            verdict.to_owned(),
        ]
    };
    let rows = scenarios
        .iter()
        .flat_map(|scenario| scenario.claims.iter().map(move |claim| row(scenario, claim)))
        .collect();
    Part::Table(head, rows)
}

/// Figures have three digits that mean something.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.1 => format!("{value:.2}"),
        _tiny => format!("{value:.3}"),
    }
}

fn spread(it: Spread) -> String {
    let Spread { least, median, most } = it;
    format!("{} [{}–{}]", digits(median), digits(least), digits(most))
}

/// The numbers that steer.
fn limits(session: &Session) -> Vec<Part> {
    let ours: Vec<&Sample> =
        session.samples.iter().filter(|sample| steering::work(sample).is_some()).collect();
    if ours.is_empty() {
        return Vec::new();
    }
    let mut parts = vec![Part::Heading(2, "Quipu's own numbers".to_owned())];
    let text = steering::costs(&ours).map_or_else(
        || "K and k need runs with batches of different sizes: none were measured.".to_owned(),
        |it| {
            format!(
                "K = {:.0} µs of server CPU per replicated batch, k = {:.2} ns per byte, fitted to \
                 {} runs of all sizes of batches.",
                it.per_batch_us,
                it.per_byte_ns,
                ours.len()
            )
        },
    );
    parts.push(Part::Text(text));
    if let Some(probe) = &session.probe {
        let flushes: Vec<String> = probe
            .flushes
            .iter()
            .map(|it| {
                let (size, latency) = (it.bytes >> 10, it.latency_us);
                let rate = it.bytes_per_second / 1e6;
                format!("{size} KiB {latency:.0} µs, three writers {rate:.0} MB/s")
            })
            .collect();
        parts.push(Part::Text(format!(
            "The machine's primitives: loopback {:.3} ns/B and {:.1} µs per message (both ends), \
             CRC32C {:.3} ns/B, page cache {:.3} ns/B; write and flush of {}. Limits are made of \
             these alone, with nothing for software.",
            probe.tcp_ns_per_byte,
            probe.message_ns / 1e3,
            probe.crc_ns_per_byte,
            probe.copy_ns_per_byte,
            flushes.join("; "),
        )));
    }
    let head = vec![
        "Run",
        "MB/s",
        "B, KiB",
        "F, KiB",
        "flushes/s",
        "W",
        "CPU µs/batch",
        "CPU-s/GB",
        "X_cpu, MB/s",
        "X_disk, MB/s",
        "% of limit",
    ];
    let row = |sample: &&Sample| {
        let work = steering::work(sample)?;
        let limits = session.probe.as_ref().and_then(|probe| steering::limits(sample, probe));
        let percent =
            session.probe.as_ref().and_then(|probe| steering::percent_of_limit(sample, probe));
        let shown = |value: Option<f64>| value.map_or_else(String::new, digits);
        Some(vec![
            name(sample),
            digits(sample.outcome.acked_mb_per_second),
            digits(work.batch_bytes / 1_024.0),
            digits(work.flush_bytes / 1_024.0),
            digits(work.flushes_per_second),
            digits(work.writes_per_byte),
            digits(work.cpu_us_per_batch),
            shown(sample.outcome.cpu_s_per_gb()),
            shown(limits.map(|it| it.cpu / 1e6)),
            shown(limits.map(|it| it.disk / 1e6)),
            shown(percent),
        ])
    };
    parts.push(Part::Table(head, ours.iter().filter_map(row).collect()));
    parts
}

/// Quipu's own numbers of one run, in a line.
pub(crate) fn steering_line(sample: &Sample, session: &Session) -> Option<String> {
    let work = steering::work(sample)?;
    let limit = session.probe.as_ref().and_then(|it| steering::percent_of_limit(sample, it));
    let mut ours: Vec<&Sample> = session.samples.iter().collect();
    ours.push(sample);
    let costs = steering::costs(&ours).map_or_else(
        || "K and k need batches of other sizes".to_owned(),
        |it| format!("K {:.0} µs, k {:.2} ns/B", it.per_batch_us, it.per_byte_ns),
    );
    Some(format!(
        "B {:.1} KiB, F {:.0} KiB, {:.0} flushes/s, {:.0} µs/batch, {} CPU-s/GB, {costs}, {} % of \
         min(X_cpu, X_disk)",
        work.batch_bytes / 1_024.0,
        work.flush_bytes / 1_024.0,
        work.flushes_per_second,
        work.cpu_us_per_batch,
        sample.outcome.cpu_s_per_gb().map_or_else(String::new, digits),
        limit.map_or_else(|| "?".to_owned(), digits),
    ))
}

fn section(results: &Results, session: &Session, scenario: &Scenario) -> Vec<Part> {
    let head = vec![
        "System",
        "Load",
        "records/s",
        "MB/s",
        "publish p50, ms",
        "p99",
        "p99.9",
        "end-to-end p99",
        "CPU-s/GB",
        "CPU µs/record",
        "RSS, MiB",
        "acks/flush",
    ];
    let mut rows = Vec::new();
    for contender in &scenario.contenders {
        for step in &contender.steps {
            let runs: Vec<&Sample> =
                runs(session, &scenario.name, &contender.name, step.name).collect();
            if runs.is_empty() {
                continue;
            }
            let of = |value: &dyn Fn(&Sample) -> Option<f64>| {
                let values = runs.iter().filter_map(|run| value(run)).collect();
                Spread::of(values).map_or_else(String::new, |it| digits(it.median))
            };
            let throughput = |run: &Sample| match step.mode {
                "read" => run.outcome.groups.first().map(|group| group.read_per_second),
                _ => Some(run.outcome.acked_per_second),
            };
            let kind = if runs[0].outcome.is_open_loop { "open loop" } else { step.mode };
            let end_to_end =
                |run: &Sample| run.outcome.groups.first().map(|group| group.end_to_end.p99_ms);
            let bytes = f64::from(step.record_bytes);
            rows.push(vec![
                format!("{} ({})", contender.system.label(), runs[0].version),
                format!("{}, {kind}, {} partitions", step.name, step.partitions),
                Spread::of(runs.iter().filter_map(|run| throughput(run)).collect())
                    .map_or_else(String::new, spread),
                of(&|run| throughput(run).map(|rate| rate * bytes / 1e6)),
                of(&|run| Some(run.outcome.publish.p50_ms).filter(|ms| *ms > 0.0)),
                of(&|run| Some(run.outcome.publish.p99_ms).filter(|ms| *ms > 0.0)),
                of(&|run| Some(run.outcome.publish.p999_ms).filter(|ms| *ms > 0.0)),
                of(&|run| end_to_end(run).filter(|ms| *ms > 0.0)),
                of(&|run| run.outcome.cpu_s_per_gb()),
                of(&|run| run.outcome.cpu_us_per_record()),
                of(&|run| Some(mebibytes(run.outcome.usage.server_resident_bytes))),
                of(&|run| run.outcome.acks_per_flush()),
            ]);
        }
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let mut parts = vec![
        Part::Heading(2, scenario.name.clone()),
        Part::Text(scenario.title.clone()),
        Part::Table(head, rows),
    ];
    parts.extend(plots::of(results, session, scenario));
    parts
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory fit a float")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn markdown(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Heading(level, title) => {
                text.push_str(&format!("{} {title}\n\n", "#".repeat(usize::from(*level))));
            }
            Part::Text(words) => text.push_str(&format!("{words}\n\n")),
            Part::Plot(title, name, _) => text.push_str(&format!("![{title}]({name})\n\n")),
            Part::Table(head, rows) => {
                text.push_str(&format!(
                    "| {} |\n|{}\n",
                    head.join(" | "),
                    "---|".repeat(head.len())
                ));
                for row in rows {
                    let cells: Vec<String> =
                        row.iter().map(|cell| cell.replace('|', "\\|")).collect();
                    text.push_str(&format!("| {} |\n", cells.join(" | ")));
                }
                text.push('\n');
            }
        }
    }
    text
}
