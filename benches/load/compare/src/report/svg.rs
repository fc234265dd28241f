//! Pictures: bars and lines, with axes that a person can read.

use super::{digits, html::escaped};

const WIDTH: f64 = 860.0;
const COLOURS: [&str; 6] = ["#0b6bcb", "#d9480f", "#2b8a3e", "#862e9c", "#c2255c", "#5f3dc4"];

/// A named row of points.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A bar with its least and most.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// Horizontal bars, one under the other.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    const ROW: f64 = 30.0;
    const LEFT: f64 = 300.0;
    const RIGHT: f64 = 90.0;
    let most = bars.iter().map(|bar| bar.most).fold(f64::MIN_POSITIVE, f64::max);
    let across = |value: f64| value / most * (WIDTH - LEFT - RIGHT);
    let mut body = text(10.0, 18.0, "start", title);
    let mut y = 34.0;
    for (bar, colour) in bars.iter().zip(COLOURS.iter().cycle()) {
        let (width, middle) = (across(bar.value), y + ROW / 2.0);
        body.push_str(&text(LEFT - 8.0, middle + 4.0, "end", &bar.name));
        body.push_str(&format!(
            "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
            y + 5.0,
            ROW - 10.0
        ));
        let (from, to) = (LEFT + across(bar.least), LEFT + across(bar.most));
        body.push_str(&format!(
            "<path d=\"M{from:.1} {middle:.1}H{to:.1}\" stroke=\"#1b1f24\" stroke-width=\"1.5\"/>"
        ));
        body.push_str(&text(to + 6.0, middle + 4.0, "start", &digits(bar.value)));
        y += ROW;
    }
    picture(y + 6.0, &body)
}

/// What an axis shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis<'a> {
    pub(super) label: &'a str,
    /// Values grow by factors.
    pub(super) is_logarithmic: bool,
}

const LEFT: f64 = 70.0;
const TOP: f64 = 34.0;
const PLOT_WIDTH: f64 = 760.0;
const PLOT_HEIGHT: f64 = 260.0;

/// Lines over two axes.
pub(super) fn lines(title: &str, lines: &[Line], x: Axis<'_>, y: Axis<'_>) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (across, up) = (
        Scale::new(x, points().map(|it| it.0), (LEFT, LEFT + PLOT_WIDTH)),
        Scale::new(y, points().map(|it| it.1), (TOP + PLOT_HEIGHT, TOP)),
    );
    let mut body = text(10.0, 18.0, "start", title);
    for (value, at) in across.ticks() {
        body.push_str(&format!("<path d=\"M{at:.1} {TOP}v{PLOT_HEIGHT}\" stroke=\"#e5e7eb\"/>"));
        body.push_str(&text(at, TOP + PLOT_HEIGHT + 16.0, "middle", &digits(value)));
    }
    for (value, at) in up.ticks() {
        body.push_str(&format!("<path d=\"M{LEFT} {at:.1}h{PLOT_WIDTH}\" stroke=\"#e5e7eb\"/>"));
        body.push_str(&text(LEFT - 6.0, at + 4.0, "end", &digits(value)));
    }
    let below = TOP + PLOT_HEIGHT + 34.0;
    body.push_str(&text(LEFT + PLOT_WIDTH, below, "end", &format!("{} → {}", y.label, x.label)));
    let mut key = LEFT;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let path: Vec<String> = line
            .points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", across.place(*x), up.place(*y)))
            .collect();
        body.push_str(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>",
            path.join(" ")
        ));
        body.push_str(&format!(
            "<rect x=\"{key:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>",
            below - 11.0
        ));
        body.push_str(&text(key + 16.0, below, "start", &line.name));
        let letters = u32::try_from(line.name.chars().count()).unwrap_or(20);
        key += 34.0 + 7.0 * f64::from(letters);
    }
    picture(below + 12.0, &body)
}

/// From values to places.
struct Scale {
    is_logarithmic: bool,
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(axis: Axis<'_>, values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let usable = values.filter(|value| !axis.is_logarithmic || *value > 0.0);
        let (mut least, mut most) = (f64::MAX, f64::MIN_POSITIVE);
        for value in usable {
            (least, most) = (least.min(value), most.max(value));
        }
        // Amounts begin at nothing; factors at the power of ten below.
        least =
            if axis.is_logarithmic { 10_f64.powf(least.min(most).log10().floor()) } else { 0.0 };
        most = if axis.is_logarithmic { 10_f64.powf(most.log10().ceil()) } else { most };
        let most = if most <= least { least + 1.0 } else { most };
        Self { is_logarithmic: axis.is_logarithmic, least, most, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let share = if self.is_logarithmic {
            (value.max(self.least) / self.least).ln() / (self.most / self.least).ln()
        } else {
            (value - self.least) / (self.most - self.least)
        };
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<(f64, f64)> {
        let mut ticks = Vec::new();
        if self.is_logarithmic {
            let mut value = self.least;
            while value <= self.most * 1.001 {
                ticks.push(value);
                value *= 10.0;
            }
        } else {
            // A step of 1, 2 or 5 times a power of ten, so that there are four to ten.
            let rough = (self.most - self.least) / 5.0;
            let power = 10_f64.powf(rough.log10().floor());
            let step = [1.0, 2.0, 5.0, 10.0].map(|it| it * power);
            let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
            let mut value = self.least;
            while value <= self.most * 1.001 {
                ticks.push(value);
                value += step;
            }
        }
        ticks.into_iter().map(|value| (value, self.place(value))).collect()
    }
}

fn picture(height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         width=\"{WIDTH}\" height=\"{height:.0}\" font-family=\"system-ui,sans-serif\" \
         font-size=\"13\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{body}</svg>\n"
    )
}

fn text(x: f64, y: f64, anchor: &str, words: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(words))
}
