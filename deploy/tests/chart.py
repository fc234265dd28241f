"""Renders the chart."""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import helm_python
import yaml

from runner import DEPLOY

CHART = DEPLOY / "helm/quipu"
RELEASE = "quipu"
NAMESPACE = "events"


class Refused(Exception):
    """The chart refuses the values."""


def load(path: Path = CHART) -> helm_python.Chart:
    """A chart from its directory."""
    return helm_python.Chart.load(path)


def render(values: dict, path: Path = CHART, cluster: "helm_python.Config | None" = None, is_upgrade: bool = False) -> dict[str, str]:
    """The manifests by template; with a cluster, `lookup` asks it."""
    with load(path) as chart:
        try:
            chart.validate_schema(values)
            options = dict(name=RELEASE, namespace=NAMESPACE, is_upgrade=is_upgrade, is_install=not is_upgrade)
            made = cluster.render(chart, values, **options) if cluster else chart.render(values, **options)
        except (helm_python.HelmValuesError, helm_python.HelmRenderError, helm_python.HelmError) as error:
            raise Refused(str(error)) from error
    return {name.split("/templates/")[1]: text for name, text in made.items() if text.strip()}


def documents(rendered: dict[str, str]) -> list[dict]:
    """The objects of all manifests."""
    found = []
    for name, text in sorted(rendered.items()):
        if name.endswith(".txt"):
            continue
        found.extend(document for document in yaml.load_all(text, Loader=Strict) if document)
    return found


class Strict(yaml.SafeLoader):
    """YAML in which a key may not stand twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{sorted(twice)} stand twice", node.start_mark)
        return super().construct_mapping(node, deep)


@contextmanager
def with_files(rules: str | None, dashboards: dict[str, str]):
    """A copy of the chart with these files in place of its own."""
    with tempfile.TemporaryDirectory(prefix="quipu-chart-") as directory:
        copy = Path(directory) / "quipu"
        shutil.copytree(CHART, copy)
        files = copy / "files"
        shutil.rmtree(files, ignore_errors=True)
        (files / "dashboards").mkdir(parents=True)
        if rules is not None:
            (files / "rules.yaml").write_text(rules)
        for name, text in dashboards.items():
            (files / "dashboards" / name).write_text(text)
        yield copy
