"""The table of values in the chart's README, from the comments in values.yaml."""

import json
import re

import yaml

BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z]+):")


def rows(text: str) -> list[tuple[str, str, str]]:
    """Key, default and meaning of each value that has a comment `# -- …`."""
    values, found, path, comment = yaml.safe_load(text), [], [], None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            comment = stripped.removeprefix("# -- ")
        elif stripped.startswith("# ") and comment is not None:
            comment += " " + stripped.removeprefix("# ")
        elif match := KEY.match(line):
            depth = len(match["indent"]) // 2
            path = [*path[:depth], match["key"]]
            if comment is not None:
                value = values
                for key in path:
                    value = value[key]
                found.append((".".join(path), json.dumps(value), comment))
                comment = None
        elif not stripped:
            comment = None
    return found


def leaves(values: dict, path: str = "") -> list[str]:
    """Every value that is no section."""
    found = []
    for key, value in values.items():
        place = f"{path}.{key}" if path else key
        found += leaves(value, place) if isinstance(value, dict) and value else [place]
    return found


def with_table(page: str, text: str) -> str:
    """The page with the table made anew."""
    table = rows(text)
    described = {key for key, _, _ in table}
    for leaf in leaves(yaml.safe_load(text)):
        if not any(leaf == key or leaf.startswith(key + ".") for key in described):
            raise AssertionError(f"values.yaml: {leaf} has no comment `# -- …`")
    lines = ["| Value | Default | Meaning |", "|---|---|---|"]
    lines += [f"| `{key}` | `{default.replace('|', chr(92) + '|')}` | {meaning.replace('|', chr(92) + '|')} |" for key, default, meaning in table]
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"
