"""The schema of the chart's `config`, from the table of settings."""

import re

#: What the chart sets itself, by key or section.
OWN = ("node.id", "node.data-dir", "node.rack", "cluster.bootstrap", "listeners.")
SIZE = r"^[0-9]+(B|KiB|MiB|GiB|TiB)?$"
DURATION = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d|w)$"


def of_kind(kind: str) -> dict:
    """The schema of one setting's value."""
    if found := re.fullmatch(r"number (\d+) to (\d+)", kind):
        low, high = int(found[1]), int(found[2])
        return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, {"type": "string", "pattern": "^[0-9]+$"}]}
    if kind.startswith("size "):
        return {"anyOf": [{"type": "string", "pattern": SIZE}, {"type": "integer", "minimum": 0}]}
    if kind.startswith("duration "):
        return {"type": "string", "pattern": DURATION}
    if kind == "always, or a duration":
        return {"type": "string", "pattern": f"^always$|{DURATION}"}
    if kind == "text":
        return {"type": "string"}
    if re.fullmatch(r"[a-z]+(, [a-z]+)+", kind):
        return {"enum": kind.split(", ")}
    raise ValueError(f"settings of the kind {kind!r} have no schema: add it to deploy/tests/settings_schema.py")


def made(reference: dict[str, tuple[str, str]]) -> dict:
    """Sections with their keys; nothing else is taken."""
    sections: dict[str, dict] = {}
    for key, (kind, _) in reference.items():
        if key.startswith(OWN[-1]) or key in OWN:
            continue
        section, name = key.split(".")
        described = sections.setdefault(section, {"type": "object", "additionalProperties": False, "properties": {}})
        described["properties"][name] = of_kind(kind)
    return {
        "description": "Settings as in docs/reference/config.md, from which this part is made; the chart sets the others itself.",
        "type": "object",
        "additionalProperties": False,
        "properties": sections,
    }
