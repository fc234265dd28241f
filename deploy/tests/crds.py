"""Schemas of the Prometheus operator's objects: as much of them as the chart uses, strictly."""

import jsonschema

TEXT = {"type": "string"}
LABELS = {"type": "object", "additionalProperties": TEXT}
DURATION = {"type": "string", "pattern": r"^([0-9]+(ms|s|m|h|d|w|y))+$"}


def closed(properties: dict, *required: str) -> dict:
    """An object with these properties and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}


RELABELING = closed(
    {
        "sourceLabels": {"type": "array", "items": TEXT},
        "separator": TEXT,
        "targetLabel": TEXT,
        "regex": TEXT,
        "modulus": {"type": "integer"},
        "replacement": TEXT,
        "action": {"enum": ["replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase"]},
    }
)
METADATA = closed({"name": TEXT, "namespace": TEXT, "labels": LABELS, "annotations": LABELS}, "name", "namespace")
RULE = closed(
    {
        "alert": TEXT,
        "record": TEXT,
        "expr": {"type": ["string", "integer"]},
        "for": DURATION,
        "keep_firing_for": DURATION,
        "labels": LABELS,
        "annotations": LABELS,
    },
    "expr",
)
SCHEMAS = {
    "ServiceMonitor": closed(
        {
            "apiVersion": {"const": "monitoring.coreos.com/v1"},
            "kind": TEXT,
            "metadata": METADATA,
            "spec": closed(
                {
                    "jobLabel": TEXT,
                    "targetLabels": {"type": "array", "items": TEXT},
                    "selector": closed({"matchLabels": LABELS}, "matchLabels"),
                    "namespaceSelector": closed({"any": {"type": "boolean"}, "matchNames": {"type": "array", "items": TEXT}}),
                    "endpoints": {
                        "type": "array",
                        "minItems": 1,
                        "items": closed(
                            {
                                "port": TEXT,
                                "path": TEXT,
                                "scheme": TEXT,
                                "interval": DURATION,
                                "scrapeTimeout": DURATION,
                                "relabelings": {"type": "array", "items": RELABELING},
                                "metricRelabelings": {"type": "array", "items": RELABELING},
                            },
                            "port",
                        ),
                    },
                },
                "selector",
                "endpoints",
            ),
        },
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    ),
    "PrometheusRule": closed(
        {
            "apiVersion": {"const": "monitoring.coreos.com/v1"},
            "kind": TEXT,
            "metadata": METADATA,
            "spec": closed(
                {
                    "groups": {
                        "type": "array",
                        "minItems": 1,
                        "items": closed(
                            {
                                "name": TEXT,
                                "interval": DURATION,
                                "limit": {"type": "integer"},
                                "query_offset": DURATION,
                                "labels": LABELS,
                                "rules": {"type": "array", "minItems": 1, "items": RULE},
                            },
                            "name",
                            "rules",
                        ),
                    }
                },
                "groups",
            ),
        },
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    ),
}


def problems(document: dict) -> list[str]:
    """Where an object differs from its schema."""
    found = jsonschema.Draft202012Validator(SCHEMAS[document["kind"]]).iter_errors(document)
    return [f"{document['kind']} at {'/'.join(map(str, it.path))}: {it.message}" for it in found]
