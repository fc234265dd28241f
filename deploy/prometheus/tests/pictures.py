"""Draws the key panels of each dashboard, from a Prometheus that has just seen a cluster live
through a few minutes: for the documentation, and to look at with one's own eyes."""

import math
import signal
import sys
import time

import matplotlib

matplotlib.use("Agg")

from matplotlib import dates, pyplot, ticker
from PIL import Image

import offline
import promql

sys.path.insert(0, str(offline.GRAFANA))

from dashboards import DASHBOARDS

COLUMNS, STEP_SECONDS = 3, 2
COLOURS = {"green": "#3d8b4f", "yellow": "#d9a521", "red": "#c4362f"}
LINES = ["#3a6ea5", "#d9822b", "#3d8b4f", "#8f4fa3", "#c4362f", "#5a9aa8", "#8a6d3b", "#777777"]
SCALES = {
    "bytes": (1024, ["B", "KiB", "MiB", "GiB", "TiB"]), "Bps": (1000, ["B/s", "kB/s", "MB/s", "GB/s"]),
    "cps": (1000, ["/s", "k/s", "M/s"]), "reqps": (1000, ["/s", "k/s"]), "ops": (1000, ["/s", "k/s"]),
    "short": (1000, ["", "k", "M"]),
}
NO_PICTURE = {"workflows", "security"}


def story(lab):
    """What the cluster lives through; returns when it began and ended."""
    begun = time.time()
    docket = lab.processes[1]

    def at(seconds):
        time.sleep(max(0.0, begun + seconds - time.time()))

    at(60)
    docket.send_signal(signal.SIGSTOP)
    lab.stand_in.set["failing"] = 0.03
    at(110)
    lab.stand_in.set.update(breaker=1, pause=1)
    at(130)
    docket.send_signal(signal.SIGCONT)
    at(150)
    lab.stand_in.set.update(breaker=2, dlq=130)
    at(165)
    # It catches up, and not all at once.
    lab.stand_in.set.update(breaker=0, pause=0, failing=0, handler=0.015, burst=8)
    at(200)
    lab.node("kill", 3)
    at(245)
    lab.node("start", 3)
    lab.stand_in.set["dlq"] = 20
    at(330)
    return begun, time.time()


def draw(lab, into, lacks):
    begun, ended = story(lab)
    into.mkdir(parents=True, exist_ok=True)
    for name, dashboard in DASHBOARDS.items():
        panels = [panel for row in dashboard.rows for panel in row.panels if panel.is_key]
        if name not in NO_PICTURE and panels:
            sheet(lab, into / f"{name}.png", dashboard.title, panels, (begun, ended))
            print(f"drew    {into / name}.png", flush=True)


def sheet(lab, path, title, panels, span):
    """Single figures in a strip on top, graphs below."""
    found = {panel.title: answers(lab, panel, span) for panel in panels}
    panels = [panel for panel in panels if found[panel.title]]
    numbers = [panel for panel in panels if panel.kind == "stat"]
    graphs = [panel for panel in panels if panel.kind != "stat"]
    rows = math.ceil(len(graphs) / COLUMNS)
    strip = 1.1 if numbers else 0.0
    figure = pyplot.figure(figsize=(13, 0.5 + strip + 2.9 * rows), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    above, below = figure.subfigures(2, 1, height_ratios=[strip, 2.9 * rows]) if numbers else (None, figure)
    for at, panel in enumerate(numbers, 1):
        number(above.add_subplot(1, len(numbers), at), panel, found[panel.title])
    for at, panel in enumerate(graphs, 1):
        graph(below.add_subplot(rows, COLUMNS, at), panel, found[panel.title], span)
    figure.savefig(path, dpi=75)
    pyplot.close(figure)
    # A few colours are enough for lines.
    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def answers(lab, panel, span):
    """Each series of a panel: its name and its points."""
    found = []
    for query in panel.queries:
        for series in lab.query_range(promql.filled(query.expr), *span, STEP_SECONDS):
            points = [(at, float(value)) for at, value in series["values"]]
            found.append((legend(query.legend, series["metric"]), points))
    return found


def graph(axis, panel, found, span):
    axis.set_title(panel.title, fontsize=9, loc="left")
    if panel.kind == "state-timeline":
        states(axis, panel, found)
    else:
        lines(axis, panel, found)
    axis.set_xlim(*map(date, span))
    axis.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axis.xaxis.set_major_locator(dates.MinuteLocator())
    axis.tick_params(labelsize=7, length=2)
    axis.spines[["top", "right"]].set_visible(False)


def lines(axis, panel, found):
    found = sorted(found)[: len(LINES)]
    base = None
    for colour, (name, points) in zip(LINES, found):
        times = [date(at) for at, _ in points]
        # Beyond any sense: a quantile without observations, a lag that never shrinks.
        values = [value if math.isfinite(value) else math.nan for _, value in points]
        if panel.stack:
            stacked = dict(zip(times, values))
            below = base or {}
            bottom = [below.get(at, 0.0) for at in times]
            top = [value + low for value, low in zip(values, bottom)]
            axis.fill_between(times, bottom, top, color=colour, alpha=0.35, linewidth=0)
            axis.plot(times, top, color=colour, linewidth=1, label=name)
            base = below | {at: below.get(at, 0.0) + value for at, value in stacked.items()}
        else:
            axis.plot(times, values, color=colour, linewidth=1.2, label=name)
    if panel.line:
        for start, colour in panel.thresholds[1:]:
            axis.axhline(start, color=COLOURS[colour], linewidth=0.8, linestyle="--")
    # Room for the legend.
    axis.set_ylim(0, axis.get_ylim()[1] * 1.2)
    axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: shown(value, panel.unit)))
    axis.grid(axis="y", linewidth=0.3)
    if found and any(name for name, _ in found):
        axis.legend(fontsize=6, loc="upper left", frameon=False, ncols=2)


def states(axis, panel, found):
    for row, (_, points) in enumerate(found):
        for (at, value), (until, _) in zip(points, points[1:]):
            colour = COLOURS[panel.mappings[int(value)][1]]
            axis.barh(row, date(until) - date(at), left=date(at), color=colour, height=0.5)
    axis.set_yticks(range(len(found)), [name for name, _ in found])
    axis.set_ylim(-0.8, max(len(found), 1) - 0.2)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[colour]) for _, colour in panel.mappings.values()]
    axis.legend(handles, [text for text, _ in panel.mappings.values()], fontsize=6, ncols=3, frameon=False, loc="upper left")


def number(axis, panel, found):
    axis.axis("off")
    axis.set_title(panel.title, fontsize=8)
    for _, points in found[:1]:
        value = points[-1][1]
        reached = [colour for start, colour in panel.thresholds if start is None or value >= start]
        axis.text(0.5, 0.5, shown(value, panel.unit), ha="center", va="center", fontsize=22,
                  color=COLOURS.get(reached[-1] if reached else "", "#333333"))


def legend(pattern, labels):
    for name, value in labels.items():
        pattern = pattern.replace("{{" + name + "}}", value.replace("127.0.0.1:", ":"))
    return pattern


def shown(value, unit):
    if unit == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.4g} s"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    factor, names = SCALES.get(unit, SCALES["short"])
    for name in names:
        if abs(value) < factor or name == names[-1]:
            return f"{value:.3g} {name}".strip()
        value /= factor


def date(seconds):
    return seconds / 86400
