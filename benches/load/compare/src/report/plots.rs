//! Which pictures a scenario gets.

use super::svg::{Axis, Bar, Line, bars, lines};
use super::{Part, runs};
use crate::judge::{Sample, Spread};
use crate::results::{Results, Session};
use crate::scenario::Scenario;

pub(super) fn of(results: &Results, session: &Session, scenario: &Scenario) -> Vec<Part> {
    let name = &scenario.name;
    let mut pictures =
        vec![("throughput", "records/s acknowledged", throughput(session, scenario))];
    pictures.push((
        "latency",
        "publish latency by percentile, ms (of the median run)",
        percentiles(results, session, scenario),
    ));
    pictures.push((
        "seconds",
        "records acknowledged, second by second (of the median run)",
        seconds(session, scenario),
    ));
    pictures
        .into_iter()
        .filter_map(|(kind, title, picture)| {
            let title = format!("{name}: {title}");
            Some(Part::Plot(title, format!("plots/{name}-{kind}.svg"), picture?))
        })
        .collect()
}

/// Every contender's steps, with their runs; none without runs.
fn groups<'a>(session: &'a Session, scenario: &'a Scenario) -> Vec<(String, Vec<&'a Sample>)> {
    let mut groups = Vec::new();
    for contender in &scenario.contenders {
        for step in &contender.steps {
            let found: Vec<&Sample> =
                runs(session, &scenario.name, &contender.name, step.name).collect();
            if !found.is_empty() {
                let is_one = contender.steps.len() == 1;
                let step = if is_one { String::new() } else { format!(" {}", step.name) };
                groups.push((format!("{}{step}", contender.name), found));
            }
        }
    }
    groups
}

/// The run whose throughput is in the middle.
fn median_run<'a>(runs: &[&'a Sample]) -> Option<&'a Sample> {
    let mut sorted = runs.to_vec();
    sorted.sort_by(|one, other| {
        one.outcome.acked_per_second.total_cmp(&other.outcome.acked_per_second)
    });
    sorted.get(sorted.len() / 2).copied()
}

fn throughput(session: &Session, scenario: &Scenario) -> Option<String> {
    let bar = |(name, runs): (String, Vec<&Sample>)| {
        let values = runs.iter().map(|run| run.outcome.acked_per_second);
        let Spread { least, median, most } = Spread::of(values.filter(|it| *it > 0.0).collect())?;
        Some(Bar { name, value: median, least, most })
    };
    let found: Vec<Bar> = groups(session, scenario).into_iter().filter_map(bar).collect();
    (!found.is_empty()).then(|| bars("records/s, median with least and most", &found))
}

/// From the `.hgrm` files, which have every step of the distribution.
fn percentiles(results: &Results, session: &Session, scenario: &Scenario) -> Option<String> {
    let line = |(name, runs): (String, Vec<&Sample>)| {
        let run = median_run(&runs)?;
        let path = results.dir().join(&run.dir).join("publish.hgrm");
        let points = table(&std::fs::read_to_string(path).ok()?);
        (points.len() > 2).then_some(Line { name, points })
    };
    let found: Vec<Line> = groups(session, scenario).into_iter().filter_map(line).collect();
    if found.is_empty() {
        return None;
    }
    let x = Axis { label: "1 / (1 - percentile)", is_logarithmic: true };
    let y = Axis { label: "ms", is_logarithmic: true };
    Some(lines("publish latency", &found, x, y))
}

/// `1/(1-percentile)` and value of each line that has both.
fn table(text: &str) -> Vec<(f64, f64)> {
    let row = |line: &str| {
        let words: Vec<f64> =
            line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        match words.as_slice() {
            [value, _, _, inverse] => Some((*inverse, *value)),
            _other => None,
        }
    };
    text.lines().filter_map(row).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of seconds fit a float")]
fn seconds(session: &Session, scenario: &Scenario) -> Option<String> {
    let line = |(name, runs): (String, Vec<&Sample>)| {
        let run = median_run(&runs)?;
        let series = &run.outcome.series;
        let points = series.iter().map(|it| (it.second as f64, it.acked as f64)).collect();
        (series.len() > 2).then_some(Line { name, points })
    };
    let found: Vec<Line> = groups(session, scenario).into_iter().filter_map(line).collect();
    if found.is_empty() {
        return None;
    }
    let x = Axis { label: "s", is_logarithmic: false };
    let y = Axis { label: "records/s", is_logarithmic: false };
    Some(lines("acknowledged", &found, x, y))
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn percentile_tables_are_read_without_their_head_and_foot() {
        let text = "Value Percentile TotalCount 1/(1-Percentile)\n\n 0.5 0.1 10 1.11\n \
                    2.0 1.0 20\n#[Mean = 1, StdDeviation = 2]\n";
        assert_eq!(table(text), [(1.11, 0.5)]);
    }
}
