//! Pictures of a run: time goes from left to right, the same way in all of them.

use std::fmt::Write;

use super::course::{Course, Second, Span};
use super::escape;
use crate::history::Phase;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 10.0;
const ROW: f64 = 18.0;
const CHART: f64 = 180.0;
/// One colour per node, again from the first after the last.
const NODES: [&str; 5] = ["#3b6fb6", "#d98a29", "#4a9a5b", "#8a5fb0", "#b3536b"];
const FAULT: &str = "#b3151b";

/// A colour, and what it shows of a second.
type Line = (&'static str, fn(&Second) -> u64);

/// Where moments are on the page.
struct Scale {
    end: f64,
}

impl Scale {
    fn of(course: &Course) -> Self {
        Self { end: seconds(course.end).max(1.0) }
    }

    fn x(&self, second: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * second / self.end
    }

    fn open(&self, course: &Course, height: f64) -> String {
        let total = height + 20.0;
        let mut text = format!("<svg viewBox=\"0 0 {WIDTH} {total}\" role=\"img\">\n");
        let step = (self.end / 10.0).ceil().max(1.0);
        let mut second = 0.0;
        while second <= self.end {
            let (x, y) = (self.x(second), height + 14.0);
            label(&mut text, (x, y), "middle", &format!("{second} s"));
            second += step;
        }
        for (phase, at) in &course.phases {
            let x = self.x(seconds(*at));
            let _infallible = writeln!(
                text,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{height:.1}\" stroke=\"#999\" \
                 stroke-dasharray=\"3 3\"><title>{}</title></line>",
                name(*phase)
            );
        }
        text
    }
}

/// A row per fault that was, and one per partition with its leaders.
pub(super) fn faults(course: &Course) -> String {
    let mut names: Vec<&str> = course.faults.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let rows = names.len() + course.leaders.len();
    let scale = Scale::of(course);
    let mut text = scale.open(course, float(rows) * ROW);
    for (row, name) in names.iter().enumerate() {
        label(&mut text, (LEFT - 6.0, float(row) * ROW + 13.0), "end", name);
        for span in course.faults.iter().filter(|span| span.name == *name) {
            bar(&mut text, &scale, row, span, FAULT);
        }
    }
    for (row, (partition, spans)) in (names.len()..).zip(&course.leaders) {
        label(&mut text, (LEFT - 6.0, float(row) * ROW + 13.0), "end", partition);
        for span in spans {
            let node = span.nodes.first().copied().unwrap_or_default();
            let colour = usize::try_from(node).unwrap_or_default().saturating_sub(1) % NODES.len();
            bar(&mut text, &scale, row, span, NODES[colour]);
        }
    }
    text + "</svg>"
}

/// Appends per second: acknowledged, refused, unclear.
pub(super) fn rates(course: &Course) -> String {
    let lines: [Line; 3] = [
        ("#187a32", |second| second.ok),
        ("#d98a29", |second| second.fail),
        (FAULT, |second| second.info),
    ];
    chart(course, &lines, 1.0)
}

/// Latency of acknowledged appends.
pub(super) fn latencies(course: &Course) -> String {
    let lines: [Line; 2] =
        [("#3b6fb6", |second| second.median_us), ("#8a5fb0", |second| second.slowest_us)];
    chart(course, &lines, 1000.0)
}

fn chart(course: &Course, lines: &[Line], unit: f64) -> String {
    let scale = Scale::of(course);
    let mut text = scale.open(course, CHART);
    for span in &course.faults {
        let (from, to) = (scale.x(seconds(span.from)), scale.x(seconds(span.to)));
        let _infallible = writeln!(
            text,
            "<rect x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"{CHART}\" fill=\"{FAULT}\" \
             opacity=\"0.08\"><title>{}</title></rect>",
            (to - from).max(1.0),
            escape(&span.name)
        );
    }
    let values = lines.iter().flat_map(|(_, value)| course.seconds.iter().map(value));
    let top = whole(values.max().unwrap_or_default()) / unit;
    let top = if top > 0.0 { top } else { 1.0 };
    label(&mut text, (LEFT - 6.0, 12.0), "end", &format!("{top:.0}"));
    label(&mut text, (LEFT - 6.0, CHART), "end", "0");
    for (colour, value) in lines {
        let mut points = String::new();
        for (second, of_second) in course.seconds.iter().enumerate() {
            let y = CHART - (CHART - 8.0) * (whole(value(of_second)) / unit) / top;
            let _infallible = write!(points, "{:.1},{y:.1} ", scale.x(float(second) + 0.5));
        }
        let _infallible = writeln!(
            text,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
            points.trim_end()
        );
    }
    text + "</svg>"
}

fn bar(text: &mut String, scale: &Scale, row: usize, span: &Span, colour: &str) {
    let (from, to) = (scale.x(seconds(span.from)), scale.x(seconds(span.to)));
    let nodes: Vec<String> = span.nodes.iter().map(u64::to_string).collect();
    let _infallible = writeln!(
        text,
        "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\">\
         <title>{}: nodes {}, {:.1} s to {:.1} s</title></rect>",
        float(row) * ROW + 3.0,
        (to - from).max(1.0),
        ROW - 5.0,
        escape(&span.name),
        nodes.join(", "),
        seconds(span.from),
        seconds(span.to)
    );
}

fn label(text: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _infallible = writeln!(
        text,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"11\" fill=\"#555\" \
         text-anchor=\"{anchor}\">{}</text>",
        escape(words)
    );
}

const fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "load",
        Phase::Healed => "healed",
        Phase::FinalReads => "final reads",
        Phase::End => "end",
    }
}

fn seconds(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64()
}

/// Counts on a page are far below 2^32.
fn whole(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
