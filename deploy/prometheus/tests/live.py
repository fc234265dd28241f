"""Rules and dashboards against a cluster that runs."""

import math
import re
import subprocess
import time
import urllib.request

import offline
import promql
from lab import SCRAPE_SECONDS, wait_for

# Long enough for rates over a few scrapes, and for the coordinators' gauges, which move every 5 s.
SETTLE_SECONDS = 45


def check(lab, report, lacks):
    time.sleep(SETTLE_SECONDS)
    pages = [page(address) for address in lab.nodes()]
    report.check("promtool check metrics on each node", unclean(pages))
    report.check("every metric that is named is exported, or listed with a reason", missing(lab, pages, lacks))
    report.check("the list of expected metrics has nothing that is not needed", stale(pages))
    report.check("Prometheus evaluates every rule", unhealthy(lab))
    report.check("no alert fires on a cluster that is well", firing(lab))
    check_panels(lab, report, lacks)
    report.check("runbooks use verbs and flags that the quipu command has", unknown_flags(lab))
    report.check("queries of runbooks are queries", bad_queries(lab))
    report.check("lag in Grafana is the lag that quipu group lag shows", lag(lab))
    report.check("ends in Grafana grow as those that quipu topic describe shows", throughput(lab))
    report.check("series of a deleted topic vanish", [] if lacks else vanished(lab))


def page(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return answer.read().decode()


def types(text):
    """Metrics of a page, with what kind each is."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))


def unclean(pages):
    for number, text in enumerate(pages, 1):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        yield from (f"node {number}: {line}" for line in (done.stdout + done.stderr).strip().splitlines())


def exported(lab, pages):
    """What nodes export, and what the stand-in does."""
    nodes = {}
    for text in pages:
        nodes |= types(text)
    return nodes, types(lab.stand_in.page())


def missing(lab, pages, lacks):
    lists = offline.expected()
    nodes, service = exported(lab, pages)
    client = set(offline.METRIC.findall((offline.ROOT / "crates/client/src/metrics.rs").read_text()))
    histograms = {name for name, kind in (nodes | service).items() if kind == "histogram"}
    for name, places in sorted(offline.named().items()):
        metric = promql.base(name, histograms)
        fine = (
            metric in nodes or metric in lists["sometimes"] or metric in lacks
            # What nodes do not export, a service may: under names that the client crate has.
            or (metric in service and (metric in client or metric in lists["not_yet"]))
        )
        if not fine:
            yield f"{metric} is exported by nobody; named by {', '.join(sorted(set(places)))}"


def stale(pages):
    nodes = set().union(*(types(text) for text in pages))
    named = {promql.base(name, nodes) for name in offline.named()}
    bare = {name.removesuffix(suffix) for name in named for suffix in ("", *promql.SUFFIXES)}
    for kind in ("sometimes", "not_yet"):
        for name in offline.expected()[kind]:
            if name not in bare:
                yield f"{kind}: {name} is named by no rule and no dashboard"


def unhealthy(lab):
    # Each rule is evaluated once at least: the interval is a second.
    groups = lab.api("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    if len(rules) != len(offline.rules()):
        yield f"{len(rules)} of {len(offline.rules())} rules are loaded"
    for rule in rules:
        if rule["health"] != "ok":
            yield f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}"


def firing(lab):
    allowed = offline.expected()["firing"]
    fire = [alert for alert in lab.api("alerts")["alerts"] if alert["state"] == "firing"]
    seen = {alert["labels"]["alertname"]: alert for alert in fire}
    yield from (f"{name}: {alert['labels']}" for name, alert in sorted(seen.items()) if name not in allowed)
    yield from (f"expected.yaml, firing: {name} does not" for name in allowed if name not in seen)


def check_panels(lab, report, lacks):
    allowed = offline.expected()["empty_panels"]
    lists = offline.expected()
    end = time.time()
    empty, needless, made_up, unjudged = [], [], [], []
    count = queries = 0
    for title, panel in offline.panels():
        count += 1
        names = set()
        has_data = True
        for target in panel["targets"]:
            queries += 1
            expr = promql.filled(target["expr"], interval=f"{15 * SCRAPE_SECONDS}s")
            names |= promql.metrics(expr)
            try:
                found = series(lab, panel, expr, end)
            except ValueError as error:
                empty.append(f"{title}: {error}: {expr}")
                continue
            if not found and not (names & lacks):
                has_data = False
                if title not in allowed:
                    empty.append(f"{title}: no data: {expr}")
        if title in allowed and has_data:
            needless.append(f"expected.yaml, empty_panels: {title} has data")
        histograms = {name.removesuffix("_bucket") for name in names}
        if (names | histograms) & set(lists["not_yet"]):
            made_up.append(title)
        if names & lacks:
            unjudged.append(title)
    report.check(f"every one of {queries} queries of {count} panels has data", empty + needless)
    report.note(f"of the stand-in's made-up series: {', '.join(made_up)}")
    if unjudged:
        report.note(f"not judged, for the binary lacks what they need: {', '.join(unjudged)}")


def series(lab, panel, expr, end):
    """Series of a query that have a number."""
    if panel["type"] in {"table", "bargauge"}:
        found = lab.query(expr, at=end)
        return [one for one in found if not math.isnan(float(one["value"][1]))]
    found = lab.query_range(expr, end - 30, end, 1)
    return [one for one in found if any(not math.isnan(float(value)) for _, value in one["values"])]


def unknown_flags(lab):
    for path in sorted(offline.RUNBOOKS.glob("*.md")):
        for command in offline.commands(path.read_text()):
            words = command.split()
            verbs = [word for word in words[:3] if re.fullmatch(r"[a-z][a-z-]*", word)]
            try:
                page = help_of(lab, verbs)
            except RuntimeError as error:
                yield f"{path.name}: quipu {command}: {error}"
                continue
            for flag in re.findall(r"(?<!\S)(--[a-z-]+|-[a-z])(?=[ =]|$)", command):
                if not re.search(rf"(?<![\w-]){flag}(?![\w-])", page):
                    yield f"{path.name}: quipu {command}: there is no {flag}"


def help_of(lab, verbs):
    """Of the longest beginning that is a verb: what follows may be the name of a topic."""
    for count in range(len(verbs), 0, -1):
        try:
            return lab.run(*verbs[:count], "--help")
        except RuntimeError:
            if count == 1:
                raise


def bad_queries(lab):
    for path in sorted(offline.RUNBOOKS.glob("*.md")):
        for block in re.findall(r"```promql\n(.*?)```", path.read_text(), re.S):
            for query in block.strip().splitlines():
                try:
                    lab.query(query)
                except ValueError as error:
                    yield f"{path.name}: {query}: {error}"


def lag(lab):
    """Of a group that stands still, so that both mean the same moment."""
    shown = sum(partition["lag"] for partition in lab.asked("group", "lag", "archive"))
    (panel,) = (panel for title, panel in offline.panels() if title == "Quipu / Consumer lag / Lag by group and topic")
    query = promql.filled(panel["targets"][0]["expr"])
    (drawn,) = (one for one in lab.query(query) if one["metric"]["group"] == "archive")
    if shown == 0 or float(drawn["value"][1]) != shown:
        yield f"quipu group lag archive: {shown}, the panel: {drawn['value'][1]}"


def throughput(lab):
    """Records that came in between two looks, by the ends of the partitions and by the counter."""
    def ends():
        described = lab.asked("topic", "describe", "court.case.filed")
        return sum(partition["high_watermark"] for partition in described["partitions"])

    counter = 'sum(quipu_topic_records_in_total{job="quipu",topic="court.case.filed"})'
    first, counted, seconds = ends(), lab.value(counter), 10
    time.sleep(seconds)
    grown, counted = ends() - first, lab.value(counter) - counted
    # Each look at the counter is up to a scrape old, and the command takes its time, too.
    slack = grown / seconds * 2 * SCRAPE_SECONDS
    if grown == 0 or abs(grown - counted) > slack:
        yield f"{grown} records by quipu topic describe, {counted:.0f} by the counter, in {seconds} s"


def vanished(lab):
    lab.run("topic", "create", "gone", "--partitions", 1)
    lab.run("pub", "gone", "x")
    there = 'count(quipu_topic_records_in_total{topic="gone"})'
    wait_for("the series of a topic", 20, lambda: lab.query(there))
    lab.run("topic", "delete", "gone", "--yes")
    try:
        # Prometheus takes a series that a scrape lacks for ended.
        wait_for("the series to end", 20, lambda: not lab.query(there))
    except TimeoutError as error:
        return [str(error)]
    return []
