"""The chart: what it renders, what it refuses, and that every name in it means something in the code."""

import copy
import json
import re
import tarfile
import tempfile
from pathlib import Path

import celpy
import helm_python
import kubernetes_validate
import yaml

import api_server
import chart
import crds
import invariants
import live_node
import readme
import settings_schema
from chart import CHART, NAMESPACE, RELEASE, Refused
from runner import DEPLOY, ROOT, Context, Skipped, compare, ensure

TESTS = DEPLOY / "helm/tests"
FIXTURES = DEPLOY / "tests/fixtures"
KUBERNETES = ("1.28", "1.33", "1.37")
#: First version that has a kind.
SINCE = {"ValidatingAdmissionPolicy": "1.30", "ValidatingAdmissionPolicyBinding": "1.30"}


def cases() -> dict[str, dict]:
    """Sets of values by name."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted((TESTS / "cases").glob("*.yaml"))}


def rendered(values: dict) -> dict[str, str]:
    """The manifests, with rules and dashboards of the checks' own."""
    dashboards = {"overview.json": (FIXTURES / "overview.json").read_text()}
    with chart.with_files((FIXTURES / "rules.yaml").read_text(), dashboards) as path:
        return chart.render(values, path)


def refused(values: dict, **options) -> str:
    """The words values are refused with."""
    try:
        chart.render(values, **options)
    except Refused as reason:
        return str(reason)
    return ""


def check_lint(context: Context) -> None:
    """the chart passes `helm lint --strict`"""
    report = helm_python.lint(str(CHART), strict=True, kube_version="v1.33.0")
    # Info (1): a recommendation, such as an icon.
    found = [it for it in report["messages"] if it["severity"] > 1]
    ensure(not found and not report["errors"], json.dumps(report, indent=2))


def check_versions(context: Context) -> None:
    """chart and image have the version of the workspace"""
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text())
    for key in ("version", "appVersion"):
        ensure(metadata[key] == context.product.version, f"Chart.yaml: {key} is {metadata[key]}, the workspace is {context.product.version}")


def check_golden(context: Context) -> None:
    """each set of values renders what it rendered before"""
    found = cases()
    ensure(len(found) >= 6, "sets of values are missing")
    for name, values in found.items():
        made = rendered(values)
        text = "".join(f"# {template}\n{made[template].strip()}\n\n" for template in sorted(made))
        compare(TESTS / "golden" / f"{name}.yaml", text, context.update)
    stale = {path.stem for path in (TESTS / "golden").glob("*.yaml")} - set(found)
    ensure(not stale, f"golden files without values: {sorted(stale)}")


def check_kubernetes(context: Context) -> None:
    """every object is what Kubernetes 1.28, 1.33 and 1.37 expect, unknown fields refused"""
    count = 0
    for name, values in cases().items():
        for document in chart.documents(rendered(values)):
            if document["kind"] in crds.SCHEMAS:
                found = crds.problems(document)
                ensure(not found, f"{name}: {found}")
                continue
            for version in KUBERNETES:
                if tuple(map(int, version.split("."))) < tuple(map(int, SINCE.get(document["kind"], "1.0").split("."))):
                    continue
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    raise AssertionError(f"{name}, Kubernetes {version}, {invariants.name_of(document)}: {error.message} at {list(error.path)}") from error
                count += 1
    ensure(count > 100, f"only {count} objects were looked at")


def check_kubernetes_notices(context: Context) -> None:
    """the schemas of Kubernetes and of the operator do refuse"""
    for kind, change in (
        ("StatefulSet", lambda it: it["spec"].update(replicaz=3)),
        ("StatefulSet", lambda it: it["spec"].update(replicas="three")),
        ("Service", lambda it: it["spec"]["ports"][0].update(port="client")),
        ("ServiceMonitor", lambda it: it["spec"]["endpoints"][0].update(intervall="15s")),
        ("PrometheusRule", lambda it: it["spec"]["groups"][0]["rules"][0].pop("expr")),
    ):
        document = invariants.of_kind(chart.documents(rendered(cases()["everything"])), kind)[0]
        change(document)
        if kind in crds.SCHEMAS:
            ensure(crds.problems(document), f"{kind}: the change went unnoticed")
            continue
        try:
            kubernetes_validate.validate(document, "1.33", strict=True)
        except kubernetes_validate.ValidationError:
            continue
        raise AssertionError(f"{kind}: the change went unnoticed")


def check_invariants(context: Context) -> None:
    """ports, probes, variables, flags, settings and files in the manifests exist in the code and fit together"""
    for name, values in cases().items():
        found = invariants.inspect(chart.documents(rendered(values)), context.product)
        ensure(not found, f"{name}:\n" + "\n".join(found))


def node(documents: list[dict]) -> dict:
    """The nodes' container."""
    return invariants.of_kind(documents, "StatefulSet")[0]["spec"]["template"]["spec"]["containers"][0]


def stateful_set(documents: list[dict]) -> dict:
    """The nodes."""
    return invariants.of_kind(documents, "StatefulSet")[0]


def config_map(documents: list[dict]) -> dict:
    """The nodes' files."""
    return invariants.of_kind(documents, "ConfigMap")[0]["data"]


def edit(documents: list[dict], old: str, new: str) -> None:
    """Changes every node's file."""
    data = config_map(documents)
    for name in data:
        assert old in data[name], f"{old} is not in {name}"
        data[name] = data[name].replace(old, new)


#: What is broken, and a part of the sentence that must say so.
BREAKAGES = [
    ("probe path", lambda it: node(it)["readinessProbe"]["httpGet"].update(path="/health/redy"), "asks for /health/redy"),
    ("probe port", lambda it: node(it)["livenessProbe"]["httpGet"].update(port="http"), "asks at port http"),
    ("variable", lambda it: node(it)["env"].append({"name": "QUIPU_NODE__RAKC", "value": "a"}), "knows no variable QUIPU_NODE__RAKC"),
    ("variable twice", lambda it: node(it)["env"].append({"name": "HOME", "value": "/"}), "HOME is set twice"),
    ("order of variables", lambda it: node(it)["env"].reverse(), "refers to POD_NAME, which is not set before it"),
    ("verb", lambda it: node(it).update(args=["server"]), "has no verb 'server'"),
    ("flag", lambda it: node(it).update(args=["serve", "--conf", "x"]), "has no flag --conf"),
    ("arguments", lambda it: invariants.of_kind(it, "Job")[0]["spec"]["template"]["spec"]["containers"][0].update(args=["node", "decommission", "--yes"]), "wants 1 argument(s), there are 0"),
    ("flag without value", lambda it: node(it).update(args=["serve", "--set"]), "--set wants a value"),
    ("hook with a shell", lambda it: node(it).update(lifecycle={"preStop": {"exec": {"command": ["/bin/sh", "-c", "sleep 5"]}}}), "/bin/sh is not in the image"),
    ("hook with a variable", lambda it: node(it).update(lifecycle={"preStop": {"exec": {"command": ["/usr/bin/quipu", "node", "drain", "$(POD_NAME)"]}}}), "nobody expands"),
    ("hook with a flag", lambda it: node(it).update(lifecycle={"preStop": {"exec": {"command": ["/usr/bin/quipu", "node", "drain", "1", "--forr", "1m"]}}}), "has no flag --forr"),
    ("hook without arguments", lambda it: node(it).update(lifecycle={"preStop": {"exec": {"command": ["/usr/bin/quipu", "node", "undrain"]}}}), "wants 1 argument(s), there are 0"),
    ("setting", lambda it: edit(it, "data-dir", "data-dirr"), "unknown setting"),
    ("value", lambda it: edit(it, "id = ", "id = 0 #"), "would not start"),
    ("data directory", lambda it: edit(it, "/var/lib/quipu/data", "/data"), "is not in a folder of the volume"),
    ("root of the volume", lambda it: edit(it, "/var/lib/quipu/data", "/var/lib/quipu"), "is not in a folder of the volume"),
    ("listener's port", lambda it: edit(it, "0.0.0.0:9644", "0.0.0.0:9645"), "listens for metrics at 0.0.0.0:9645"),
    ("loopback", lambda it: edit(it, "0.0.0.0:9292", "127.0.0.1:9292"), "others do not reach listeners.peer"),
    ("peers' port", lambda it: edit(it, "local:9292", "local:9293"), "is not the peers' port"),
    ("names of pods", lambda it: edit(it, "quipu-headless", "quipu-headles"), "others are to find it at"),
    ("lists that differ", lambda it: config_map(it).update({"quipu-2.toml": config_map(it)["quipu-2.toml"].replace('"3@quipu-3', '"4@quipu-3')}), "different lists of first nodes"),
    ("ids that are shared", lambda it: config_map(it).update({"quipu-2.toml": config_map(it)["quipu-1.toml"]}), "others are to find it at"),
    ("file of a pod", lambda it: config_map(it).pop("quipu-3.toml"), "no config map has /etc/quipu/quipu-3.toml"),
    ("selector with a version", lambda it: stateful_set(it)["spec"]["selector"]["matchLabels"].update({"helm.sh/chart": "quipu-0.1.0"}), "cannot change, and has helm.sh/chart"),
    ("claim with a version", lambda it: stateful_set(it)["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"].update({"app.kubernetes.io/version": "1"}), "cannot change, and has app.kubernetes.io/version"),
    ("wide selector", lambda it: invariants.of_kind(it, "Service")[0]["spec"]["selector"].pop("app.kubernetes.io/component"), "not the nodes alone"),
    ("wide budget", lambda it: invariants.of_kind(it, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"].pop("app.kubernetes.io/component"), "not the nodes alone"),
    ("target port", lambda it: invariants.of_kind(it, "Service")[1]["spec"]["ports"][0].update(targetPort="grpc"), "no container has a port 'grpc'"),
    ("addresses of unready pods", lambda it: invariants.of_kind(it, "Service")[0]["spec"].pop("publishNotReadyAddresses"), "publishNotReadyAddresses"),
    ("headless service", lambda it: invariants.of_kind(it, "Service")[0]["spec"].pop("clusterIP"), "is no headless service"),
    ("root", lambda it: stateful_set(it)["spec"]["template"]["spec"]["securityContext"].pop("runAsUser"), "runs as root"),
    ("writable root", lambda it: node(it)["securityContext"].update(readOnlyRootFilesystem=False), "readOnlyRootFilesystem is False"),
    ("capabilities", lambda it: node(it)["securityContext"].update(capabilities={"drop": ["NET_RAW"]}), "securityContext.capabilities"),
    ("token", lambda it: stateful_set(it)["spec"]["template"]["spec"].pop("automountServiceAccountToken"), "a token is mounted"),
    ("service links", lambda it: stateful_set(it)["spec"]["template"]["spec"].pop("enableServiceLinks"), "variables of every service"),
    ("resources", lambda it: node(it).pop("resources"), "asks for no resources"),
    ("latest", lambda it: node(it).update(image="quipu:latest"), "is not the same tomorrow"),
    ("no tag", lambda it: node(it).update(image="registry:5000/quipu"), "is not the same tomorrow"),
    ("mount", lambda it: node(it)["volumeMounts"].append({"name": "mor", "mountPath": "/more"}), "mounts volume mor"),
    ("config map", lambda it: stateful_set(it)["spec"]["template"]["spec"]["volumes"][0]["configMap"].update(name="quip"), "config map quip is not rendered"),
    ("name twice", lambda it: it.append(copy.deepcopy(it[0])), "is rendered twice"),
    ("namespace", lambda it: it[0]["metadata"].pop("namespace"), "a namespace is missing"),
    ("policy's port", lambda it: invariants.of_kind(it, "NetworkPolicy")[0]["spec"]["ingress"][1]["ports"][0].update(port="grpc"), "no container has a port 'grpc'"),
    ("monitor's port", lambda it: invariants.of_kind(it, "ServiceMonitor")[0]["spec"]["endpoints"][0].update(port="http"), "has no port http"),
    ("monitor's path", lambda it: invariants.of_kind(it, "ServiceMonitor")[0]["spec"]["endpoints"][0].update(path="/metricz"), "has no path /metricz"),
    ("monitor's selector", lambda it: invariants.of_kind(it, "ServiceMonitor")[0]["spec"]["selector"]["matchLabels"].pop("app.kubernetes.io/component"), "every pod is to be scraped once"),
    ("job of the alerts", lambda it: invariants.of_kind(it, "ServiceMonitor")[0]["spec"]["endpoints"][0]["relabelings"][0].update(replacement="quipu-nodes"), "asks for job 'quipu'"),
]


def check_invariants_notice(context: Context) -> None:
    """each of these invariants is noticed when it is broken"""
    values = {
        "networkPolicy": {"enabled": True},
        "topology": {"topics": [{"name": "fees"}]},
        "monitoring": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}},
    }
    whole = chart.documents(rendered(values))
    ensure(not invariants.inspect(copy.deepcopy(whole), context.product), "nothing is broken yet")
    for what, change, expected in BREAKAGES:
        broken = copy.deepcopy(whole)
        change(broken)
        found = invariants.inspect(broken, context.product)
        ensure(any(expected in sentence for sentence in found), f"{what}: {expected!r} is in none of {found}")


#: Values that make no sense, and a part of the sentence they are refused with.
REFUSED = [
    ({"replica": 3}, "'replica' not allowed"),
    ({"replicas": 0}, "minimum"),
    ({"replicas": "3"}, "want integer"),
    ({"replicas": 2}, "2 nodes stop as soon as one of them does"),
    ({"image": {"tag": "latest"}}, "/image/tag"),
    ({"image": {"digest": "sha256:12"}}, "/image/digest"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ({"config": {"storage": {"min-fre": "2GiB"}}}, "'min-fre' not allowed"),
    ({"config": {"storag": {}}}, "'storag' not allowed"),
    ({"config": {"storage": {"min-free": "2 gigs"}}}, "/config/storage/min-free"),
    ({"config": {"storage": {"quarantine": "never"}}}, "/config/storage/quarantine"),
    ({"config": {"node": {"id": 3}}}, "'id' not allowed"),
    ({"config": {"cluster": {"bootstrap": ["1@a:1"]}}}, "'bootstrap' not allowed"),
    ({"config": {"listeners": {"client": "0.0.0.0:1"}}}, "'listeners' not allowed"),
    ({"config": {"cluster": {"shards-per-node": 65}}}, "/config/cluster/shards-per-node"),
    ({"nodeIds": {"two": 2}}, "invalid propertyName 'two'"),
    ({"nodeIds": {"2": 0}}, "/nodeIds/2"),
    ({"nodeIds": {"2": 3}}, "pods 2 and 3 would both be node 3"),
    ({"removedNodes": [2]}, "pod 2 would be node 2, which is in removedNodes"),
    ({"nodeIds": {"2": 102}, "removedNodes": [2, 102]}, "pod 2 would be node 102"),
    ({"scaleDown": {"from": 5}}, "quipu-5 would be stopped, and node 5 holds data"),
    ({"scaleDown": {"from": 5}, "removedNodes": [5]}, "quipu-4 would be stopped, and node 4 holds data"),
    ({"scaleDown": {"from": 4}, "nodeIds": {"4": 104}, "removedNodes": [4]}, "node 104 holds data"),
    ({"scaleDown": {"mode": "force"}}, "/scaleDown/mode"),
    ({"tls": {"enabled": True}}, "this release speaks plain text"),
    ({"auth": {"enabled": True}}, "this release asks nobody who they are"),
    ({"listeners": {"client": {"port": 9292}}}, "need a port each"),
    ({"listeners": {"bindAddress": "localhost"}}, "/listeners/bindAddress"),
    ({"listeners": {"kafka": {"port": 9092}}}, "'kafka' not allowed"),
    ({"external": {"enabled": True}}, "external.addresses: 0 are given for 3 replicas"),
    ({"external": {"enabled": True, "addresses": ["a", "b", "c"]}}, "/external/addresses/0"),
    ({"external": {"enabled": True, "type": "NodePort", "addresses": ["a:1", "b:1", "c:1"]}}, "external.nodePorts: 0 are given"),
    ({"storage": {"size": "20"}}, "/storage/size"),
    ({"storage": {"accessModes": ["ReadWriteMany"]}}, "/storage/accessModes"),
    ({"antiAffinity": "strict"}, "/antiAffinity"),
    ({"drain": {"enabled": True, "timeoutSeconds": 90}}, "must be more than drain.timeoutSeconds"),
    ({"topology": {"topics": [{"partitions": 3}]}}, "missing property 'name'"),
    ({"topology": {"topics": [{"name": "fees", "replication": 5}]}}, "topic fees wants 5 replicas of 3 nodes"),
    ({"topology": {"topics": [{"name": "fees", "config": {"min-insync": 2}}]}}, "/topology/topics/0/config/min-insync"),
    ({"extraEnv": [{"name": "QUIPU_NODE__ID", "value": "7"}]}, "is the chart's own"),
    ({"extraEnv": [{"value": "7"}]}, "missing property 'name'"),
    ({"monitoring": {"serviceMonitor": {"interval": "often"}}}, "/monitoring/serviceMonitor/interval"),
]


def check_refusals(context: Context) -> None:
    """values that make no sense are refused with a sentence"""
    for values, expected in REFUSED:
        words = refused(values)
        ensure(expected in words, f"{values}: {expected!r} is not in {words!r}")


def check_completeness(context: Context) -> None:
    """values, schema, README and templates know the same values"""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def walk(known: dict, described: dict, path: str) -> None:
        properties = described.get("properties")
        if properties is None:
            return
        ensure(described.get("additionalProperties") is False, f"the schema takes anything at {path or 'the top'}")
        if path == ".config":
            return
        missing = set(properties) - set(known) - ({"global"} if not path else set())
        ensure(not missing, f"values.yaml lacks {[path + '.' + it for it in sorted(missing)]}")
        unknown = set(known) - set(properties)
        ensure(not unknown, f"the schema lacks {[path + '.' + it for it in sorted(unknown)]}")
        for key, value in known.items():
            if isinstance(value, dict):
                walk(value, properties[key], f"{path}.{key}")

    walk(values, schema, "")
    used = set()
    for template in (CHART / "templates").rglob("*"):
        if template.is_file():
            used |= set(re.findall(r"\.Values\.([A-Za-z]+)", template.read_text()))
            used |= set(re.findall(r"\$values\.([A-Za-z]+)", template.read_text()))
    ensure(used == set(values), f"templates use {sorted(used - set(values))} beside what there is, and not {sorted(set(values) - used)}")


def check_settings_schema(context: Context) -> None:
    """the schema knows every setting of the reference page, with its kind and bounds"""
    path = CHART / "values.schema.json"
    schema = json.loads(path.read_text())
    schema["properties"]["config"] = settings_schema.made(context.product.reference)
    compare(path, json.dumps(schema, indent=2) + "\n", context.update)


def check_reference_is_of_the_binary(context: Context) -> None:
    """the binary that answers is the one the reference page describes"""
    made = context.product.run("config", "reference").stdout.strip()
    page = (ROOT / "docs/reference/config.md").read_text().strip()
    ensure(made == page, f"{context.product.binary} prints another reference than docs/reference/config.md: build it again, or `cargo xtask docs`")


def check_default_ports(context: Context) -> None:
    """the ports are those the product has by default"""
    listeners = yaml.safe_load((CHART / "values.yaml").read_text())["listeners"]
    for name in ("client", "peer", "metrics"):
        ours, theirs = listeners[name]["port"], context.product.default_port(f"listeners.{name}")
        ensure(ours == theirs, f"listeners.{name}.port is {ours}, the product's is {theirs}")


def check_readme(context: Context) -> None:
    """the table of values in README.md is made from values.yaml"""
    path = CHART / "README.md"
    compare(path, readme.with_table(path.read_text(), (CHART / "values.yaml").read_text()), context.update)


def check_scale_down(context: Context) -> None:
    """an upgrade that would stop pods whose nodes hold data is refused, by what the cluster says"""

    def asked(values: dict, live: int | None) -> tuple[str, list[dict]]:
        with api_server.cluster(NAMESPACE, RELEASE, live) as cluster:
            try:
                return "", chart.documents(chart.render(values, cluster=cluster, is_upgrade=True))
            except Refused as reason:
                return str(reason), []

    ensure("quipu-5 would be stopped, and node 5 holds data" in asked({"replicas": 3}, 5)[0], "the first to go is named")
    ensure("quipu-4 would be stopped" in asked({"replicas": 3, "removedNodes": [5]}, 5)[0], "the second as well")
    for values, live in (({"replicas": 3, "removedNodes": [4, 5]}, 5), ({"replicas": 5}, 3), ({"replicas": 3}, 3), ({"replicas": 3}, None)):
        words, documents = asked(values, live)
        ensure(documents and not invariants.of_kind(documents, "Job"), f"{values} with {live} pods: {words or 'a hook'}")
    removed = {"replicas": 3, "removedNodes": [4], "nodeIds": {"4": 104}}
    ensure("node 104 holds data" in asked(removed, 4)[0], "the id counts, not the ordinal")
    by_hook = {"replicas": 3, "scaleDown": {"mode": "decommission"}}
    words, documents = asked(by_hook, 5)
    ensure(not words, words)
    job = invariants.of_kind(documents, "Job")[0]
    spec = job["spec"]["template"]["spec"]
    words = [container["args"] for container in invariants.containers_of(spec)]
    ensure(words == [["node", "decommission", "5", "--yes"], ["node", "decommission", "4", "--yes"]], f"{words}")
    ensure(job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade", "before anything else")
    ensure(not invariants.inspect(documents, context.product), "the hook's words exist")


def check_admission(context: Context) -> None:
    """the admission policy lets only the chart lower the number of pods"""
    documents = chart.documents(chart.render({"scaleDown": {"admissionPolicy": True}}))
    spec = invariants.of_kind(documents, "ValidatingAdmissionPolicy")[0]["spec"]
    environment = celpy.Environment()
    program = environment.program(environment.compile(spec["validations"][0]["expression"]))
    condition = environment.program(environment.compile(spec["matchConditions"][0]["expression"]))

    def workload(replicas: int | None, annotation: str | None = None, name: str = RELEASE) -> dict:
        metadata = {"name": name, "namespace": NAMESPACE}
        if annotation is not None:
            metadata["annotations"] = {"quipu/replicas": annotation}
        return {"metadata": metadata, "spec": {} if replicas is None else {"replicas": replicas}}

    def evaluated(of, new: dict, old: dict) -> bool:
        return bool(of.evaluate({"object": celpy.json_to_cel(new), "oldObject": celpy.json_to_cel(old)}))

    for new, old, expected in (
        (workload(3, "3"), workload(5, "5"), True),
        (workload(3, "5"), workload(5, "5"), False),
        (workload(3), workload(5), False),
        (workload(5), workload(3), True),
        (workload(3), workload(3), True),
        (workload(0, "3"), workload(3, "3"), False),
        (workload(None), workload(None), True),
    ):
        ensure(evaluated(program, new, old) is expected, f"{old} → {new}: expected {expected}")
    ensure(evaluated(condition, workload(3), workload(5)), "it is for this release")
    ensure(not evaluated(condition, workload(3, name="other"), workload(5, name="other")), "and for no other")


def check_monitoring_files(context: Context) -> None:
    """rules and dashboards are in the chart as they are in deploy/, and nothing is rendered where they are absent"""
    sources = {CHART / "files/rules.yaml": DEPLOY / "prometheus/rules.yaml"}
    for dashboard in sorted((DEPLOY / "grafana").glob("*.json")):
        sources[CHART / "files/dashboards" / dashboard.name] = dashboard
    for copied, source in sources.items():
        if source.is_file():
            compare(copied, source.read_text(), context.update)
    extra = [path.name for path in (CHART / "files").rglob("*.*") if path not in sources or not sources[path].is_file()]
    ensure(not extra, f"files/ has {extra}, deploy/ has not")
    on = {"monitoring": {"prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}}
    with chart.with_files(None, {}) as path:
        made = chart.render(on, path)
        kinds = [it["kind"] for it in chart.documents(made)]
        ensure("PrometheusRule" not in kinds and kinds.count("ConfigMap") == 1, f"{kinds}")
        ensure("packaged without rules" in made["NOTES.txt"] and "packaged without dashboards" in made["NOTES.txt"], "and it says so")
    with chart.with_files((FIXTURES / "rules.yaml").read_text(), {"overview.json": (FIXTURES / "overview.json").read_text()}) as path:
        documents = chart.documents(chart.render(on, path))
        rule = invariants.of_kind(documents, "PrometheusRule")[0]
        ensure(rule["spec"] == yaml.safe_load((FIXTURES / "rules.yaml").read_text()), "rules are carried as they are")
        dashboard = invariants.of_kind(documents, "ConfigMap")[1]["data"]["overview.json"]
        ensure(json.loads(dashboard) == json.loads((FIXTURES / "overview.json").read_text()), "dashboards as well")
    # With the real files: objects that Kubernetes takes, for job names that exist.
    documents = chart.documents(chart.render({"monitoring": {**on["monitoring"], "serviceMonitor": {"enabled": True}}}))
    ensure(not invariants.inspect(documents, context.product), f"{invariants.inspect(documents, context.product)}")
    for document in documents:
        ensure(len(json.dumps(document)) < 1_000_000, f"{invariants.name_of(document)} is too large for Kubernetes")
        ensure(document["kind"] not in crds.SCHEMAS or not crds.problems(document), f"{crds.problems(document) if document['kind'] in crds.SCHEMAS else ''}")


def check_package(context: Context) -> None:
    """the packaged chart has everything it needs and nothing else"""
    with tempfile.TemporaryDirectory(prefix="quipu-package-") as directory:
        with chart.load() as loaded:
            archive = loaded.save(directory)
        with tarfile.open(archive) as tar:
            names = {name.removeprefix("quipu/") for name in tar.getnames()}
        for wanted in ("Chart.yaml", "values.yaml", "values.schema.json", "README.md", "templates/NOTES.txt", "templates/statefulset.yaml"):
            ensure(wanted in names, f"{wanted} is not in the package")
        odd = [name for name in names if name.startswith(("tests/", "cases/", "golden/")) or name.endswith((".py", "~"))]
        ensure(not odd, f"{odd} are in the package")
        ensure(chart.render({}, Path(archive)) == chart.render({}), "it renders the same")


def check_probes_answer(context: Context) -> None:
    """a node with the rendered settings answers every probe and the scrape, and takes the rendered topics"""
    values = {"replicas": 1, "config": {"cluster": {"shards-per-node": 1}, "storage": {"min-free": "64MiB"}}, "topology": copy.deepcopy(cases()["everything"]["topology"]), "monitoring": {"serviceMonitor": {"enabled": True}}}
    values["topology"]["topics"][0].update(replication=1, config={"retention-time": "90d", "min-insync": "1"})
    documents = chart.documents(chart.render(values))
    container = node(documents)
    paths = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    paths += [it["path"] for it in invariants.of_kind(documents, "ServiceMonitor")[0]["spec"]["endpoints"]]
    topology = next(it for it in invariants.of_kind(documents, "ConfigMap") if "topology.yaml" in it["data"])["data"]["topology.yaml"]
    with live_node.running(context.product, config_map(documents)["quipu-1.toml"]) as running:
        for path in paths:
            status, body = running.get(path)
            ensure(status == 200, f"{path}: {status} {body}")
        ensure(running.get("/health/redy")[0] == 404, "a path that is not there is not answered")
        status, body = running.get("/metrics")
        ensure("quipu_build_info" in body, "metrics are ours")
        file = running.directory / "topology.yaml"
        file.write_text(topology)
        for words, expected in ((["--dry-run"], "fees"), (["--yes"], "fees"), (["--dry-run"], "")):
            answer = running.quipu("cluster", "apply", "--file", str(file), *words)
            ensure(answer.returncode == 0 and expected in answer.stdout + answer.stderr, f"{answer.stdout}{answer.stderr}")
        ensure(running.quipu("cluster", "health").returncode == 0, "`helm test` asks this")


def check_pending(context: Context) -> None:
    """what is listed as pending is still missing: else it is to be used, and taken from the list"""
    for flag in context.product.pending["flags"]:
        *words, name = flag.split()[1:]
        ensure(name not in context.product.verb(*words).flags, f"{flag} exists: remove it from deploy/tests/pending.yaml, and switch on what waits for it")
    for name in context.product.pending["files"]:
        ensure(not (ROOT / name).exists(), f"{name} exists: remove it from deploy/tests/pending.yaml, then run with --update")
