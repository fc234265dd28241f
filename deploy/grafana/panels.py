"""What a dashboard is made of, and the JSON that Grafana reads.

A dashboard is rows of panels; a panel is a title, a kind, queries, a unit and a sentence that says
what one sees. Where things stand follows from their order: nobody counts grid squares.
"""

from dataclasses import dataclass, field

WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass
class Query:
    expr: str
    legend: str = ""
    # Only the present matters: tables and single figures.
    instant: bool = False


@dataclass
class Panel:
    title: str
    kind: str  # timeseries, stat, table, heatmap, state-timeline, bargauge, text
    queries: list = field(default_factory=list)
    unit: str = "short"
    about: str = ""
    width: int = 8
    height: int = 8
    # [(from, colour)]: the first is what is well.
    thresholds: list = field(default_factory=list)
    # A line at each threshold.
    line: bool = False
    runbooks: list = field(default_factory=list)
    stack: bool = False
    maximum: float | None = None
    mappings: dict = field(default_factory=dict)
    # Tables: query letter -> (column, unit), and by which column it is sorted.
    columns: dict = field(default_factory=dict)
    sort: str = ""
    text: str = ""
    # Whether it is drawn as a picture for the documentation.
    is_key: bool = False


@dataclass
class Row:
    title: str
    panels: list
    is_collapsed: bool = False


@dataclass
class Variable:
    name: str
    query: str
    label: str
    # What "All" stands for: .* is short, and matches series without the label, too.
    everything: str | None = ".*"


@dataclass
class Dashboard:
    uid: str
    title: str
    about: str
    variables: list
    rows: list


def dashboard_json(dashboard, others, runbook_base):
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["quipu"],
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [_link_to(other) for other in others if other.uid != dashboard.uid],
        "templating": {"list": [_datasource(), *map(_variable, dashboard.variables)]},
        "annotations": {"list": [_alerts(dashboard)]},
        "panels": _placed(dashboard.rows, runbook_base),
    }


def _placed(rows, runbook_base):
    """Panels from left to right, rows from top to bottom."""
    placed, number, top = [], 0, 0
    for row in rows:
        number += 1
        header = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": row.is_collapsed,
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
            "panels": [],
        }
        placed.append(header)
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            number += 1
            drawn = _panel(panel, number, runbook_base)
            drawn["gridPos"] = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            (header["panels"] if row.is_collapsed else placed).append(drawn)
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return placed


def _panel(panel, number, runbook_base):
    drawn = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "links": [
            {"title": f"Runbook: {name}", "url": f"{runbook_base}/{name}.md", "targetBlank": True}
            for name in panel.runbooks
        ],
    }
    if panel.kind == "text":
        return drawn | {"options": {"mode": "markdown", "content": panel.text}}
    return drawn | {
        "datasource": DATASOURCE,
        "targets": [_target(query, chr(ord("A") + at), panel.kind) for at, query in enumerate(panel.queries)],
        "fieldConfig": _field_config(panel),
        "options": _options(panel),
        "transformations": _transformations(panel),
    }


def _target(query, letter, kind):
    target = {
        "refId": letter,
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": query.instant,
        "range": not query.instant,
        "editorMode": "code",
    }
    if kind == "table":
        target["format"] = "table"
    if kind == "heatmap":
        target["format"] = "heatmap"
    return target


def _field_config(panel):
    steps = [{"color": colour, "value": start} for start, colour in panel.thresholds]
    defaults = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps or [{"color": GREEN, "value": None}]},
    }
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.mappings:
        options = {
            str(value): {"index": at, "text": text, "color": colour}
            for at, (value, (text, colour)) in enumerate(panel.mappings.items())
        }
        defaults["mappings"] = [{"type": "value", "options": options}]
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 25 if panel.stack else 8,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.line else "off"},
        }
    if panel.kind == "state-timeline":
        defaults["custom"] = {"fillOpacity": 80, "lineWidth": 0}
    overrides = [
        {
            "matcher": {"id": "byName", "options": column},
            "properties": [{"id": "unit", "value": unit}],
        }
        for column, unit in panel.columns.values()
    ]
    return {"defaults": defaults, "overrides": overrides}


def _options(panel):
    match panel.kind:
        case "stat":
            return {
                "colorMode": "background" if panel.thresholds else "value",
                "graphMode": "area",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            }
        case "bargauge":
            return {
                "orientation": "horizontal",
                "displayMode": "basic",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            }
        case "table":
            return {"sortBy": [{"displayName": panel.sort, "desc": True}] if panel.sort else []}
        case "heatmap":
            return {"calculate": False, "yAxis": {"unit": panel.unit}, "color": {"scheme": "Oranges"}}
        case "state-timeline":
            return {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8}
        case _:
            return {
                "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }


def _transformations(panel):
    """The answers of a table's queries become its columns."""
    if panel.kind != "table":
        return []
    names = {f"Value #{letter}": column for letter, (column, _) in panel.columns.items()}
    hidden = {"Time": True} | {f"Time {at}": True for at in range(1, len(panel.queries) + 1)}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": hidden, "renameByName": names}},
    ]


def _datasource():
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(variable):
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": variable.everything,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _alerts(dashboard):
    """Firing alerts as marks in every graph."""
    cluster = any(variable.name == "cluster" for variable in dashboard.variables)
    where = ',cluster=~"$cluster"' if cluster else ""
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": RED,
        "expr": f'ALERTS{{alertstate="firing",component="quipu"{where}}}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}} {{instance}} {{group}} {{topic}} {{service}}",
    }


def _link_to(dashboard):
    return {
        "title": dashboard.title,
        "type": "link",
        "url": f"/d/{dashboard.uid}",
        "keepTime": True,
        "includeVars": True,
    }
