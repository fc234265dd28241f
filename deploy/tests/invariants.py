"""What must hold in manifests, whatever the values: every name in them means something in the code."""

import json
import re
import tempfile
from pathlib import Path

from product import Product, write_config

#: Kinds without a namespace.
CLUSTER_WIDE = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
#: What changes from release to release, and must not be in what never changes.
VERSIONED = ("app.kubernetes.io/version", "helm.sh/chart")
PROGRAM = "/usr/bin/quipu"
REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
LABEL = re.compile(r"^metadata\.labels\['([^']+)'\]$")


def of_kind(documents: list[dict], kind: str) -> list[dict]:
    """The objects of a kind."""
    return [it for it in documents if it["kind"] == kind]


def name_of(document: dict) -> str:
    """Kind and name."""
    return f"{document['kind']} {document['metadata']['name']}"


def pod_specs(documents: list[dict]):
    """Every pod an object makes: its owner, labels, and spec."""
    for document in documents:
        if document["kind"] == "Pod":
            yield document, document["metadata"].get("labels", {}), document["spec"]
        elif document["kind"] in ("StatefulSet", "Job"):
            template = document["spec"]["template"]
            yield document, template["metadata"].get("labels", {}), template["spec"]


def containers_of(spec: dict):
    """Containers in the order they start."""
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def ours(documents: list[dict]):
    """Containers that run our binary."""
    for owner, _, spec in pod_specs(documents):
        for container in containers_of(spec):
            if container.get("command") == [PROGRAM]:
                yield owner, container


def ordinals(stateful_set: dict) -> range:
    """Ordinals of the pods."""
    start = stateful_set["spec"].get("ordinals", {}).get("start", 0)
    return range(start, start + stateful_set["spec"]["replicas"])


def pod_name(stateful_set: dict, ordinal: int) -> str:
    """A pod's name."""
    return f"{stateful_set['metadata']['name']}-{ordinal}"


def environment(container: dict, pod: str, labels: dict) -> dict[str, str]:
    """What a container's process sees, references and fields resolved."""
    known: dict[str, str] = {}
    for variable in container.get("env", []):
        source = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        if source == "metadata.name":
            value = pod
        elif source and (label := LABEL.match(source)):
            value = labels.get(label[1], "")
        elif source:
            raise ValueError(f"{variable['name']}: field {source}")
        else:
            value = REFERENCE.sub(lambda it: known.get(it[1], it[0]), variable["value"])
        known[variable["name"]] = value
    return known


class Inspection:
    """Looks at one set of manifests."""

    def __init__(self, documents: list[dict], product: Product) -> None:
        self.documents = documents
        self.product = product
        self.wrong: list[str] = []

    def note(self, sentence: str) -> None:
        """Something does not hold."""
        self.wrong.append(sentence)

    def all(self) -> list[str]:
        """Everything that does not hold, one sentence each."""
        self.identities()
        self.selectors()
        self.command_lines()
        self.variables()
        self.probes()
        self.security()
        self.images()
        self.volumes()
        self.network_policies()
        self.monitors()
        for stateful_set in of_kind(self.documents, "StatefulSet"):
            self.nodes(stateful_set)
        return self.wrong

    def identities(self) -> None:
        seen = set()
        for document in self.documents:
            key = (document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"])
            if key in seen:
                self.note(f"{name_of(document)} is rendered twice")
            seen.add(key)
            if (document["kind"] in CLUSTER_WIDE) == ("namespace" in document["metadata"]):
                self.note(f"{name_of(document)}: a namespace is {'given' if document['kind'] in CLUSTER_WIDE else 'missing'}")
            if len(document["metadata"]["name"]) > 63:
                self.note(f"{name_of(document)}: a name has 63 characters at most")

    def selectors(self) -> None:
        pods = [(name_of(owner), labels) for owner, labels, _ in pod_specs(self.documents)]

        def matched(selector: dict) -> list[str]:
            return [owner for owner, labels in pods if selector.items() <= labels.items()]

        for stateful_set in of_kind(self.documents, "StatefulSet"):
            spec = stateful_set["spec"]
            selector = spec["selector"]["matchLabels"]
            fixed = [("the selector", selector)]
            fixed += [(f"volume claim {it['metadata']['name']}", it["metadata"].get("labels", {})) for it in spec["volumeClaimTemplates"]]
            for what, labels in fixed:
                for label in VERSIONED:
                    if label in labels:
                        self.note(f"{name_of(stateful_set)}: {what} cannot change, and has {label}")
            headless = [it for it in of_kind(self.documents, "Service") if it["metadata"]["name"] == spec["serviceName"]]
            if not headless or headless[0]["spec"].get("clusterIP") != "None":
                self.note(f"{name_of(stateful_set)}: {spec['serviceName']} is no headless service")
            elif not headless[0]["spec"].get("publishNotReadyAddresses"):
                self.note(f"{name_of(stateful_set)}: nodes dial each other before they are ready: publishNotReadyAddresses")
        expected = {name_of(it) for it in of_kind(self.documents, "StatefulSet")}
        for service in of_kind(self.documents, "Service"):
            selector = dict(service["spec"]["selector"])
            selector.pop("statefulset.kubernetes.io/pod-name", None)
            if set(matched(selector)) != expected:
                self.note(f"{name_of(service)} selects {matched(selector)}, not the nodes alone")
        for budget in of_kind(self.documents, "PodDisruptionBudget"):
            found = matched(budget["spec"]["selector"]["matchLabels"])
            if set(found) != expected:
                self.note(f"{name_of(budget)} selects {found}, not the nodes alone")

    def command_lines(self) -> None:
        for owner, container in ours(self.documents):
            for sentence in self.product.command_line(container.get("args", [])):
                self.note(f"{name_of(owner)}, container {container['name']}: {sentence}")
        for owner, _, spec in pod_specs(self.documents):
            for container in containers_of(spec):
                execs = [container.get("lifecycle", {}).get(hook, {}).get("exec") for hook in ("preStop", "postStart")]
                execs += [container.get(probe, {}).get("exec") for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
                for command in (it["command"] for it in execs if it):
                    if command[0] != PROGRAM:
                        self.note(f"{name_of(owner)}: {command[0]} is not in the image, which has no shell")
                        continue
                    if any("$(" in word for word in command):
                        self.note(f"{name_of(owner)}: nobody expands {command} in a hook or probe")
                    for sentence in self.product.command_line(command[1:]):
                        self.note(f"{name_of(owner)}, a hook of {container['name']}: {sentence}")

    def variables(self) -> None:
        for owner, container in ours(self.documents):
            names = [variable["name"] for variable in container.get("env", [])]
            for name in names:
                if name.startswith("QUIPU_") and name not in self.product.variables:
                    self.note(f"{name_of(owner)}: the product knows no variable {name}")
                if names.count(name) > 1:
                    self.note(f"{name_of(owner)}: {name} is set twice")
            known: set[str] = set()
            for variable in container.get("env", []):
                for reference in REFERENCE.findall(variable.get("value", "")):
                    if reference not in known:
                        self.note(f"{name_of(owner)}: {variable['name']} refers to {reference}, which is not set before it")
                known.add(variable["name"])

    def probes(self) -> None:
        for owner, _, spec in pod_specs(self.documents):
            for container in containers_of(spec):
                ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    get = container.get(probe, {}).get("httpGet")
                    if get and get["path"] not in self.product.routes:
                        self.note(f"{name_of(owner)}: {probe} asks for {get['path']}; the server has {sorted(self.product.routes)}")
                    if get and get["port"] not in ports:
                        self.note(f"{name_of(owner)}: {probe} asks at port {get['port']}, which the container does not have")
        for service in of_kind(self.documents, "Service"):
            names = {
                port["name"]
                for stateful_set in of_kind(self.documents, "StatefulSet")
                for container in stateful_set["spec"]["template"]["spec"]["containers"]
                for port in container.get("ports", [])
            }
            for port in service["spec"]["ports"]:
                if port["targetPort"] not in names:
                    self.note(f"{name_of(service)}: no container has a port {port['targetPort']!r}")

    def security(self) -> None:
        for owner, _, spec in pod_specs(self.documents):
            pod = spec.get("securityContext", {})
            if not pod.get("runAsNonRoot") or not pod.get("runAsUser"):
                self.note(f"{name_of(owner)}: runs as root, or may")
            if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
                self.note(f"{name_of(owner)}: no seccomp profile")
            if spec.get("automountServiceAccountToken") is not False:
                self.note(f"{name_of(owner)}: a token is mounted that nobody uses")
            if spec.get("enableServiceLinks") is not False:
                self.note(f"{name_of(owner)}: variables of every service of the namespace reach the process")
        for owner, container in ours(self.documents):
            context = container.get("securityContext", {})
            wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            for key, value in wanted.items():
                if context.get(key) != value:
                    self.note(f"{name_of(owner)}, container {container['name']}: securityContext.{key} is {context.get(key)}")
            if not container.get("resources", {}).get("requests"):
                self.note(f"{name_of(owner)}, container {container['name']}: asks for no resources")

    def images(self) -> None:
        for owner, container in ours(self.documents):
            image = container["image"]
            if "@sha256:" not in image and (":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")):
                self.note(f"{name_of(owner)}: image {image} is not the same tomorrow")

    def volumes(self) -> None:
        maps = {it["metadata"]["name"]: it for it in of_kind(self.documents, "ConfigMap")}
        for owner, _, spec in pod_specs(self.documents):
            claims = [it["metadata"]["name"] for it in owner["spec"].get("volumeClaimTemplates", [])] if owner["kind"] == "StatefulSet" else []
            volumes = {it["name"]: it for it in spec.get("volumes", [])}
            for container in containers_of(spec):
                for mount in container.get("volumeMounts", []):
                    if mount["name"] not in volumes and mount["name"] not in claims:
                        self.note(f"{name_of(owner)}: mounts volume {mount['name']}, which is not there")
            for volume in volumes.values():
                source = volume.get("configMap", {}).get("name")
                if source and source not in maps:
                    self.note(f"{name_of(owner)}: config map {source} is not rendered")

    def network_policies(self) -> None:
        names = {
            port["name"]
            for stateful_set in of_kind(self.documents, "StatefulSet")
            for container in stateful_set["spec"]["template"]["spec"]["containers"]
            for port in container.get("ports", [])
        }
        for policy in of_kind(self.documents, "NetworkPolicy"):
            for rule in policy["spec"]["ingress"]:
                for port in rule["ports"]:
                    if port["port"] not in names:
                        self.note(f"{name_of(policy)}: no container has a port {port['port']!r}")

    def monitors(self) -> None:
        services = of_kind(self.documents, "Service")
        for monitor in of_kind(self.documents, "ServiceMonitor"):
            selector = monitor["spec"]["selector"]["matchLabels"]
            found = [it for it in services if selector.items() <= it["metadata"]["labels"].items()]
            if len(found) != 1:
                self.note(f"{name_of(monitor)} selects {[it['metadata']['name'] for it in found]}: every pod is to be scraped once")
            for endpoint in monitor["spec"]["endpoints"]:
                for service in found:
                    if endpoint["port"] not in {port["name"] for port in service["spec"]["ports"]}:
                        self.note(f"{name_of(monitor)}: {name_of(service)} has no port {endpoint['port']}")
                if endpoint["path"] not in self.product.routes:
                    self.note(f"{name_of(monitor)}: the server has no path {endpoint['path']}")
                job = next((it["replacement"] for it in endpoint.get("relabelings", []) if it.get("targetLabel") == "job"), None)
                for rule in of_kind(self.documents, "PrometheusRule"):
                    for wanted in set(re.findall(r'\bjob="([^"]+)"', json.dumps(rule["spec"]).replace('\\"', '"'))):
                        if wanted != job:
                            self.note(f"{name_of(rule)} asks for job {wanted!r}, {name_of(monitor)} calls it {job!r}")

    def nodes(self, stateful_set: dict) -> None:
        """Every pod's settings, as the binary reads them, agree with what is around them."""
        spec = stateful_set["spec"]["template"]["spec"]
        labels = stateful_set["spec"]["template"]["metadata"]["labels"]
        container = next(it for it in spec["containers"] if it.get("command") == [PROGRAM])
        maps = {it["metadata"]["name"]: it["data"] for it in of_kind(self.documents, "ConfigMap")}
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        domain = f"{stateful_set['spec']['serviceName']}.{stateful_set['metadata']['namespace']}.svc."
        lists, ids, advertised = set(), set(), set()
        for ordinal in ordinals(stateful_set):
            pod = pod_name(stateful_set, ordinal)
            env = environment(container, pod, {**labels, "statefulset.kubernetes.io/pod-name": pod})
            settings = self.settings(container, spec, env, maps, pod)
            if settings is None:
                continue
            lists.add(settings["cluster.bootstrap"])
            ids.add(settings["node.id"])
            advertised.add(settings["listeners.client-advertise"])
            for name in ("client", "peer", "metrics"):
                if settings[f"listeners.{name}"].rsplit(":", 1)[1] != str(ports.get(name)):
                    self.note(f"pod {pod}: listens for {name} at {settings[f'listeners.{name}']}, the container's port is {ports.get(name)}")
                if not settings[f"listeners.{name}"].startswith(("0.0.0.0:", "[::]:")):
                    self.note(f"pod {pod}: others do not reach listeners.{name} {settings[f'listeners.{name}']}")
            mounts = [it["mountPath"] for it in container["volumeMounts"] if it["name"] == "data"]
            if not any(settings["node.data-dir"].startswith(mount + "/") for mount in mounts):
                self.note(f"pod {pod}: {settings['node.data-dir']} is not in a folder of the volume at {mounts}")
            own = [it for it in settings["cluster.bootstrap"].split(",") if it.startswith(settings["node.id"] + "@")]
            if len(own) != 1 or not own[0].split("@")[1].startswith(f"{pod}.{domain}"):
                self.note(f"pod {pod}: others are to find it at {own}, its name is {pod}.{domain}…")
            if len(settings["cluster.bootstrap"].split(",")) != stateful_set["spec"]["replicas"]:
                self.note(f"pod {pod}: its list has not every pod: {settings['cluster.bootstrap']}")
            for address in settings["cluster.bootstrap"].split(","):
                if address.rsplit(":", 1)[1] != str(ports.get("peer")):
                    self.note(f"pod {pod}: {address} is not the peers' port {ports.get('peer')}")
        replicas = stateful_set["spec"]["replicas"]
        if len(lists) > 1:
            self.note(f"pods have different lists of first nodes: {sorted(lists)}")
        if not self.wrong and (len(ids) != replicas or len(advertised) != replicas):
            self.note(f"pods share an id or an address: {sorted(ids)}, {sorted(advertised)}")

    def settings(self, container: dict, spec: dict, env: dict, maps: dict, pod: str) -> dict[str, str] | None:
        """What a pod would run with; its configuration file is put where this process can write."""
        path = env.get("QUIPU_CONFIG", "")
        found = None
        for mount in container["volumeMounts"]:
            source = next((it.get("configMap", {}).get("name") for it in spec.get("volumes", []) if it["name"] == mount["name"]), None)
            if source and path.startswith(mount["mountPath"] + "/"):
                found = maps.get(source, {}).get(path.removeprefix(mount["mountPath"] + "/"))
        if found is None:
            self.note(f"pod {pod}: no config map has {path}")
            return None
        with tempfile.TemporaryDirectory(prefix="quipu-config-") as directory:
            file = write_config(Path(directory), "quipu.toml", found)
            words = container["args"][1:]
            settings, why = self.product.settings({**env, "QUIPU_CONFIG": str(file)}, words)
        if settings is None:
            self.note(f"pod {pod}: the node would not start: {why}")
        return settings


def inspect(documents: list[dict], product: Product) -> list[str]:
    """Everything that does not hold, one sentence each."""
    return Inspection(documents, product).all()
