"""What can be checked without a cluster."""

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

import promql

HERE = Path(__file__).resolve().parent
DEPLOY = HERE.parent
ROOT = HERE.parents[2]
GRAFANA = ROOT / "deploy/grafana"
RUNBOOKS = ROOT / "docs/runbooks"
# A runbook says all of this.
SECTIONS = ["## Meaning", "## Impact", "## See it", "## Do", "## Escalate"]
METRIC = re.compile(r"\b(?:quipu|process|event|events|consumer|circuit_breaker|dlq)_[a-z0-9_]+\b")


def rules():
    groups = yaml.safe_load((DEPLOY / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def recorded():
    return {rule["record"] for rule in rules() if "record" in rule}


def panels():
    """Every panel of every dashboard, with the title of the dashboard before its own."""
    for path in sorted(GRAFANA.glob("*.json")):
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for inner in [panel, *panel.get("panels", [])]:
                if inner.get("targets"):
                    yield f"{dashboard['title']} / {inner['title']}", inner


def expected():
    return yaml.safe_load((HERE / "expected.yaml").read_text())


def in_source():
    """Every name in the code of nodes and clients that looks like a metric's; tests left out."""
    names = set()
    for path in (ROOT / "crates").glob("*/src/**/*.rs"):
        code = path.read_text().split("#[cfg(test)]")[0]
        for text in re.findall(r'"(?:[^"\\]|\\.)*"', code, re.S):
            names.update(METRIC.findall(text))
    return names


def named():
    """Metrics that rules and dashboards name, each with where."""
    places = {}
    for rule in rules():
        for name in promql.metrics(rule["expr"]):
            places.setdefault(name, []).append(rule.get("alert") or rule["record"])
    for title, panel in panels():
        for target in panel["targets"]:
            for name in promql.metrics(promql.filled(target["expr"])):
                places.setdefault(name, []).append(title)
    return {name: where for name, where in places.items() if name not in recorded()}


def check(report):
    report.check("promtool check rules", tool("promtool", "check", "rules", "rules.yaml"))
    tests = sorted(path.name for path in HERE.glob("*.yaml") if path.name != "expected.yaml")
    report.check("promtool test rules", tool("promtool", "test", "rules", *tests, cwd=HERE))
    report.check("promtool check config prometheus.yml", tool("promtool", "check", "config", "prometheus.yml"))
    report.check("amtool check-config alertmanager.yml", tool("amtool", "check-config", "alertmanager.yml"))
    report.check("every alert has its labels and annotations", unlabelled())
    report.check("every alert is tested firing and not firing", untested(tests))
    report.check("every alert has a runbook, and every runbook an alert", runbooks())
    report.check("runbooks name verbs that the quipu command has, and metrics that there are", runbook_words())
    report.check("dashboards are what dashboards.py writes",
                 tool(sys.executable, GRAFANA / "dashboards.py", "--check"))
    report.check("dashboards are well formed", malformed())
    report.check("every metric that is named is in the code, or listed with a reason", unknown())


def tool(*words, cwd=DEPLOY):
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False,
                          timeout=300)
    return (done.stdout + done.stderr).strip().splitlines() if done.returncode else []


def unlabelled():
    for alert in alerts():
        labels, annotations = alert.get("labels", {}), alert.get("annotations", {})
        if labels.get("severity") not in {"critical", "warning", "info"} or labels.get("component") != "quipu":
            yield f"{alert['alert']}: labels {labels}"
        if not annotations.get("runbook_url", "").endswith(f"/docs/runbooks/{alert['alert']}.md"):
            yield f"{alert['alert']}: its runbook_url ends with another name"
        for key in ("summary", "description"):
            if not annotations.get(key):
                yield f"{alert['alert']}: no {key}"


def untested(files):
    """Alerts of one name are told apart by the labels that the rule gives them."""
    firing, silent = [], set()
    for file in files:
        for test in yaml.safe_load((HERE / file).read_text())["tests"]:
            for one in test["alert_rule_test"]:
                if not one["exp_alerts"]:
                    silent.add(one["alertname"])
                firing += [(one["alertname"], alert["exp_labels"]) for alert in one["exp_alerts"]]
    for alert in alerts():
        name, labels = alert["alert"], alert["labels"]
        if not any(name == other and labels.items() <= seen.items() for other, seen in firing):
            yield f"{name} {labels}: no test in which it fires"
        if name not in silent:
            yield f"{name}: no test in which it does not fire"


def runbooks():
    names = {alert["alert"] for alert in alerts()}
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    index = (RUNBOOKS / "README.md").read_text() if (RUNBOOKS / "README.md").exists() else ""
    yield from (f"docs/runbooks/{name}.md is missing" for name in sorted(names - pages))
    yield from (f"docs/runbooks/{name}.md: there is no such alert" for name in sorted(pages - names))
    yield from (f"docs/runbooks/README.md does not list {name}" for name in sorted(names) if f"({name}.md)" not in index)
    for name in sorted(names & pages):
        text = (RUNBOOKS / f"{name}.md").read_text()
        if not text.startswith(f"# {name}\n"):
            yield f"docs/runbooks/{name}.md: its title is another"
        yield from (f"docs/runbooks/{name}.md: no section {section[3:]}" for section in SECTIONS if section not in text)
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            if not link.startswith("http") and not (RUNBOOKS / link).exists():
                yield f"docs/runbooks/{name}.md: {link} is not there"


def runbook_words():
    verbs = command_words()
    known = in_source() | set(expected()["not_yet"]) | recorded()
    for path in sorted(RUNBOOKS.glob("*.md")):
        text = path.read_text()
        for words in map(str.split, commands(text)):
            if words[0] not in verbs or (len(words) > 1 and verbs[words[0]] and words[1] not in verbs[words[0]]):
                yield f"{path.name}: there is no `quipu {' '.join(words[:2])}`"
        for name in set(METRIC.findall(" ".join(re.findall(r"`[^`\n]+`|```promql.*?```", text, re.S)))):
            if name not in known and promql.base(name, known) not in known and not name.startswith("dlq_"):
                yield f"{path.name}: there is no metric {name}"


def commands(text):
    """What a page has the quipu command do: whole lines of examples, and what stands in backquotes."""
    examples = re.findall(r"^\$ quipu (?:--servers \S+ )?(\w[^#|\n]*)", text, re.M)
    inline = re.findall(r"(?<!`)`quipu (?:--servers \S+ )?(\w[^`\n]*)`", text)
    return [command.strip() for command in examples + inline]


def command_words():
    """The command's verbs with the verbs of each, as the code declares them."""
    code = "".join(path.read_text() for path in sorted((ROOT / "crates/cli/src/args").glob("*.rs")))
    code = (ROOT / "crates/cli/src/args.rs").read_text() + code
    enums = {
        name: [kebab(variant) for variant in re.findall(r"^    ([A-Z]\w*)(?:\(|,| \{)", body, re.M)]
        for name, body in re.findall(r"pub enum (\w+) \{\n(.*?)^\}", code, re.S | re.M)
    }
    top = re.search(r"pub enum Command \{\n(.*?)^\}", code, re.S | re.M)[1]
    verbs = {}
    for variant, inner in re.findall(r"^    ([A-Z]\w*)(?:\((\w+)\))?", top, re.M):
        verbs[kebab(variant)] = enums.get(inner, [])
    return verbs


def kebab(name):
    return re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower()


def malformed():
    seen = set()
    names = {alert["alert"] for alert in alerts()}
    for title, panel in panels():
        if title in seen:
            yield f"{title}: twice"
        seen.add(title)
        if not panel["description"]:
            yield f"{title}: no description"
        for link in panel["links"]:
            name = link["url"].rsplit("/", 1)[1].removesuffix(".md")
            if name not in names:
                yield f"{title}: there is no runbook {name}"
        for variable in re.findall(r"\$(\w+)", " ".join(target["expr"] for target in panel["targets"])):
            if variable not in {"__rate_interval", "job", "cluster", "node", "topic", "group", "service"}:
                yield f"{title}: there is no variable {variable}"
    shown = {link["url"].rsplit("/", 1)[1].removesuffix(".md") for _, panel in panels() for link in panel["links"]}
    # The canary has no panels yet, as there is none.
    yield from (f"no panel leads to the runbook {name}" for name in sorted(names - shown - {"CanaryLost", "CanarySlow"}))


def unknown():
    lists, source = expected(), in_source()
    for name, places in sorted(named().items()):
        metric = promql.base(name, source | set(lists["not_yet"]))
        if metric not in source and metric not in lists["not_yet"]:
            yield f"{name} is not in the code; named by {', '.join(sorted(set(places)))}"
    for name in lists["not_yet"]:
        if name in source:
            yield f"expected.yaml, not_yet: {name} is in the code by now"
    for name in lists["sometimes"]:
        if name not in source:
            yield f"expected.yaml, sometimes: {name} is not in the code"
    titles = {title for title, _ in panels()}
    yield from (f"expected.yaml, empty_panels: there is no panel {title}" for title in lists["empty_panels"] if title not in titles)
