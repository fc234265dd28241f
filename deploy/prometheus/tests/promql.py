"""Which metrics a query names, and a dashboard's variables filled in."""

import re

# What is not a metric: operators, modifiers, and numbers that look like names.
WORDS = {
    "and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right", "start",
    "end", "inf", "nan", "atan2",
}
SUFFIXES = ("_bucket", "_sum", "_count")
# Of Prometheus itself.
OWN = {"up", "ALERTS"}


def metrics(query):
    """Names of metrics, those of recorded series included."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', '""', query)
    bare = re.sub(r"\{[^}]*\}", " ", bare)
    bare = re.sub(r"\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", r" ", bare)
    found = re.finditer(r"(?<![\w.:])([a-zA-Z_:][\w:]*)\s*(\()?", bare)
    names = {match[1] for match in found if not match[2]}
    return {name for name in names if name.lower() not in WORDS} - OWN


def base(name, histograms):
    """The metric that a series of a histogram belongs to."""
    for suffix in SUFFIXES:
        if name.endswith(suffix) and name.removesuffix(suffix) in histograms:
            return name.removesuffix(suffix)
    return name


def filled(query, job="quipu", interval="15s"):
    """As Grafana sends it, with everything chosen."""
    query = query.replace("$__rate_interval", interval).replace("$job", job)
    return re.sub(r"\$(cluster|node|topic|group|service)\b", ".*", query)
