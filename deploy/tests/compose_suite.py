"""Compose files: their schema, and that every name in them means something in the code."""

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import check_jsonschema
import jsonschema
import yaml

import live_node
from runner import DEPLOY, ROOT, Context, ensure

HERE = DEPLOY / "compose"
SCHEMA = Path(check_jsonschema.__file__).parent / "builtin_schemas/vendor/compose-spec.json"
#: What is started together.
STACKS = {"dev": ["dev"], "cluster": ["cluster"], "observability": ["cluster", "observability"]}
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::-([^}]*))?\}")


def load(name: str) -> dict:
    """A compose file, anchors resolved."""
    return yaml.safe_load((HERE / f"{name}.yaml").read_text())


def interpolated(value, given: dict[str, str] | None = None):
    """With variables in their places."""
    if isinstance(value, str):
        return VARIABLE.sub(lambda it: (given or {}).get(it[1], it[2] or ""), value)
    if isinstance(value, list):
        return [interpolated(it, given) for it in value]
    if isinstance(value, dict):
        return {key: interpolated(it, given) for key, it in value.items()}
    return value


def stack(names: list[str], given: dict[str, str] | None = None) -> dict:
    """Services and volumes of files that are given together."""
    merged: dict = {"services": {}, "volumes": {}}
    for name in names:
        document = interpolated(load(name), given)
        for part in merged:
            merged[part].update(document.get(part, {}))
    return merged


def is_ours(service: dict) -> bool:
    """Whether a service runs our image."""
    return service["image"].startswith("quipu:")


def mount(text: str) -> tuple[str, str]:
    """Source and target of a volume."""
    source, target = text.split(":")[:2]
    return source, target


def published(text: str) -> tuple[str, str, str]:
    """Address, port of the machine, port of the container."""
    address, outside, inside = text.rsplit(":", 2)
    return address, outside, inside


def problems(project: dict, context: Context) -> list[str]:
    """What does not fit the product, or does not fit together."""
    wrong: list[str] = []
    product = context.product
    lists, seen, told = set(), set(), set()
    for name, service in project["services"].items():
        image = service["image"]
        if ":" not in image or image.endswith(":latest"):
            wrong.append(f"{name}: image {image} is not the same tomorrow")
        if not service.get("read_only") or service.get("cap_drop") != ["ALL"] or service.get("security_opt") != ["no-new-privileges:true"]:
            wrong.append(f"{name}: may do more than it needs")
        for text in service.get("ports", []):
            address, outside, _ = published(text)
            if address != "127.0.0.1":
                wrong.append(f"{name}: {text} is open to others")
            if outside in seen:
                wrong.append(f"{name}: port {outside} is published twice")
            seen.add(outside)
        for text in service.get("volumes", []):
            source, _ = mount(text)
            if source.startswith("."):
                path = (HERE / source).resolve().relative_to(ROOT)
                awaited = any(str(path) == it or str(path).startswith(it + "/") for it in product.pending["files"])
                if not (ROOT / path).exists() and not awaited:
                    wrong.append(f"{name}: {path} is not there")
            elif source not in project["volumes"]:
                wrong.append(f"{name}: there is no volume {source}")
        if not is_ours(service):
            continue
        if image != f"quipu:{product.version}":
            wrong.append(f"{name}: {image} is not {product.version}")
        if service.get("user") != "10001:10001":
            wrong.append(f"{name}: runs as {service.get('user')}")
        env = service.get("environment", {})
        for variable in env:
            if variable.startswith("QUIPU_") and variable not in product.variables:
                wrong.append(f"{name}: the product knows no variable {variable}")
        wrong += [f"{name}: {sentence}" for sentence in product.command_line(service["command"])]
        health = service.get("healthcheck", {}).get("test")
        if health:
            if health[:2] != ["CMD", "/usr/bin/quipu"]:
                wrong.append(f"{name}: its health is asked by {health}; the image has /usr/bin/quipu alone")
            wrong += [f"{name}, health: {sentence}" for sentence in product.command_line(health[2:])]
        verb, *flags = service["command"]
        if verb not in ("serve", "dev"):
            continue
        if not health:
            wrong.append(f"{name}: nobody asks for its health")
        if verb == "dev":
            flags += ["--set=node.id=1", "--set=node.data-dir=/var/lib/quipu/dev"]
        settings, why = product.settings(env, flags)
        if settings is None:
            wrong.append(f"{name}: the node would not start: {why}")
            continue
        inside = {published(text)[2]: published(text)[1] for text in service["ports"]}
        for listener in ("client", "metrics"):
            address, port = settings[f"listeners.{listener}"].rsplit(":", 1)
            if address != "0.0.0.0" or port not in inside:
                wrong.append(f"{name}: listeners.{listener} is {settings[f'listeners.{listener}']}, {service['ports']} are published")
        advertised = settings["listeners.client-advertise"].rsplit(":", 1)
        if inside.get(settings["listeners.client"].rsplit(":", 1)[1]) != advertised[1]:
            wrong.append(f"{name}: clients are told to dial port {advertised[1]}, which is not its own")
        if settings["listeners.client-advertise"] in told:
            wrong.append(f"{name}: clients are told to dial {settings['listeners.client-advertise']}, another's address")
        told.add(settings["listeners.client-advertise"])
        if env.get("QUIPU_SERVERS") != f"127.0.0.1:{settings['listeners.client'].rsplit(':', 1)[1]}":
            wrong.append(f"{name}: the command in it asks {env.get('QUIPU_SERVERS')}, not the node itself")
        if verb == "dev":
            continue
        lists.add(settings["cluster.bootstrap"])
        own = f"{settings['node.id']}@{name}:{settings['listeners.peer'].rsplit(':', 1)[1]}"
        if own not in settings["cluster.bootstrap"].split(","):
            wrong.append(f"{name}: {own} is not in {settings['cluster.bootstrap']}")
        for entry in settings["cluster.bootstrap"].split(","):
            if entry.split("@")[1].split(":")[0] not in project["services"]:
                wrong.append(f"{name}: {entry} is no service")
        if not any(settings["node.data-dir"].startswith(mount(text)[1] + "/") and not mount(text)[0].startswith(".") for text in service.get("volumes", [])):
            wrong.append(f"{name}: {settings['node.data-dir']} is in no volume")
    if len(lists) > 1:
        wrong.append(f"nodes have different lists: {sorted(lists)}")
    cli = project["services"].get("cli")
    if cli and set(cli["environment"]["QUIPU_SERVERS"].split(",")) != told:
        wrong.append(f"cli asks {cli['environment']['QUIPU_SERVERS']}, the nodes are {sorted(told)}")
    return wrong


def check_schema(context: Context) -> None:
    """each file is what the compose specification expects"""
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    files = sorted(HERE.glob("*.yaml"))
    ensure({path.stem for path in files} == {name for names in STACKS.values() for name in names}, f"{files}")
    for path in files:
        document = load(path.stem)
        found = [f"{'/'.join(map(str, it.path))}: {it.message}" for it in validator.iter_errors(document)]
        ensure(not found, f"{path.name}: {found}")
        document["services"][next(iter(document["services"]))]["comand"] = ["serve"]
        ensure(list(validator.iter_errors(document)), "an unknown key goes unnoticed")


def check_fits(context: Context) -> None:
    """ports, variables, flags, settings, names and files exist in the code and fit together"""
    for name, files in STACKS.items():
        found = problems(stack(files), context)
        ensure(not found, f"{name}: " + "\n".join(found))
    # For clients elsewhere.
    far = problems(stack(["cluster"], {"QUIPU_HOST": "events.example.org"}), context)
    ensure(far == ["cli asks localhost:9192,localhost:9193,localhost:9194, the nodes are ['events.example.org:9192', 'events.example.org:9193', 'events.example.org:9194']"], f"{far}")


def service(project: dict, name: str) -> dict:
    """One service."""
    return project["services"][name]


#: What is broken, and a part of the sentence that must say so.
BREAKAGES = [
    (lambda it: service(it, "quipu-1")["environment"].update(QUIPU_NODE__IDD="1"), "knows no variable QUIPU_NODE__IDD"),
    (lambda it: service(it, "quipu-1").update(command=["serve", "--conf"]), "has no flag --conf"),
    (lambda it: service(it, "quipu-1")["healthcheck"].update(test=["CMD-SHELL", "curl localhost"]), "the image has /usr/bin/quipu alone"),
    (lambda it: service(it, "quipu-1")["healthcheck"].update(test=["CMD", "/usr/bin/quipu", "health"]), "has no verb 'health'"),
    (lambda it: service(it, "quipu-1").pop("healthcheck"), "nobody asks for its health"),
    (lambda it: service(it, "quipu-1")["environment"].update(QUIPU_LISTENERS__METRICS="127.0.0.1:9644"), "listeners.metrics is 127.0.0.1:9644"),
    (lambda it: service(it, "quipu-2").update(ports=["127.0.0.1:9195:9193", "127.0.0.1:9645:9644"]), "told to dial port 9193, which is not its own"),
    (lambda it: service(it, "quipu-2").update(ports=["127.0.0.1:9192:9193", "127.0.0.1:9645:9644"]), "port 9192 is published twice"),
    (lambda it: service(it, "quipu-2")["environment"].update(QUIPU_LISTENERS__CLIENT_ADVERTISE="localhost:9192"), "which is not its own"),
    (lambda it: service(it, "quipu-2")["environment"].update(QUIPU_NODE__ID="1"), "1@quipu-2:9292 is not in"),
    (lambda it: service(it, "quipu-2")["environment"].update(QUIPU_CLUSTER__BOOTSTRAP="1@quipu-1:9292,2@quipu-2:9292"), "different lists"),
    (lambda it: [service(it, f"quipu-{n}")["environment"].update(QUIPU_CLUSTER__BOOTSTRAP="1@quipu-1:9292,2@quipu-2:9292,3@quipu-4:9292") for n in (1, 2)], "3@quipu-4:9292 is no service"),
    (lambda it: service(it, "quipu-3")["environment"].update(QUIPU_NODE__DATA_DIR="/data"), "/data is in no volume"),
    (lambda it: service(it, "quipu-3")["environment"].update(QUIPU_STORAGE__MIN_FREE="much"), "would not start"),
    (lambda it: service(it, "quipu-3")["environment"].update(QUIPU_SERVERS="127.0.0.1:9192"), "not the node itself"),
    (lambda it: service(it, "quipu-3").update(volumes=["data-4:/var/lib/quipu"]), "no volume data-4"),
    (lambda it: service(it, "quipu-3").update(read_only=False), "may do more than it needs"),
    (lambda it: service(it, "quipu-3").update(user="root"), "runs as root"),
    (lambda it: service(it, "quipu-3").update(image="quipu:0.0.1"), "is not"),
    (lambda it: service(it, "grafana").update(image="grafana/grafana"), "is not the same tomorrow"),
    (lambda it: service(it, "grafana").update(ports=["0.0.0.0:3000:3000"]), "is open to others"),
    (lambda it: service(it, "grafana")["volumes"].append("./grafana/source.yaml:/x:ro"), "grafana/source.yaml is not there"),
    (lambda it: service(it, "cli")["environment"].update(QUIPU_SERVERS="localhost:9192"), "cli asks localhost:9192"),
]


def check_fits_notices(context: Context) -> None:
    """each of these is noticed when it is broken"""
    whole = stack(STACKS["observability"])
    for change, expected in BREAKAGES:
        broken = copy.deepcopy(whole)
        change(broken)
        found = problems(broken, context)
        ensure(any(expected in sentence for sentence in found), f"{expected!r} is in none of {found}")


def check_same_in_both(context: Context) -> None:
    """grafana finds Prometheus and the dashboards where they are"""
    services = stack(STACKS["observability"])["services"]
    sources = yaml.safe_load((HERE / "grafana/datasources.yaml").read_text())["datasources"]
    host, port = sources[0]["url"].removeprefix("http://").split(":")
    ensure(any(published(it)[2] == port for it in services[host]["ports"]), f"{sources[0]['url']} is no service")
    targets = dict(mount(text)[::-1] for text in services["grafana"]["volumes"])
    folder = yaml.safe_load((HERE / "grafana/dashboards.yaml").read_text())["providers"][0]["options"]["path"]
    ensure(targets.get(folder) == "../grafana", f"dashboards are read from {folder}, which is {targets.get(folder)}")
    for name, program, check in (("prometheus.yml", "promtool", ["check", "config"]), ("alertmanager.yml", "amtool", ["check-config"])):
        path = DEPLOY / "prometheus" / name
        if not path.is_file():
            ensure("deploy/prometheus" in context.product.pending["files"], f"{path} is not there")
            continue
        if shutil.which(program):
            found = subprocess.run([program, *check, path], capture_output=True, text=True)
            ensure(found.returncode == 0, found.stdout + found.stderr)
    scrape = DEPLOY / "prometheus/prometheus.yml"
    if scrape.is_file():
        jobs = yaml.safe_load(scrape.read_text())["scrape_configs"]
        found = {target for job in jobs if job["job_name"] == "quipu" for it in job["static_configs"] for target in it["targets"]}
        port = context.product.default_port("listeners.metrics")
        wanted = {f"{name}:{port}" for name in services if re.fullmatch(r"quipu-\d+", name)}
        ensure(found == wanted, f"Prometheus scrapes {sorted(found)}, the nodes are {sorted(wanted)}")


def check_dev_serves(context: Context) -> None:
    """what dev.yaml starts serves, and takes an event"""
    flags = tuple(stack(["dev"])["services"]["quipu"]["command"][1:])
    with live_node.running(context.product, "", "dev", flags) as node:
        ensure(node.quipu(*load("dev")["services"]["quipu"]["healthcheck"]["test"][2:]).returncode == 0, "its health")
        answer = node.quipu("pub", "fees", "120", "--create")
        ensure(answer.returncode == 0, answer.stderr)
