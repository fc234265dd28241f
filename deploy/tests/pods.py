"""What Kubernetes does with the rendered manifests, done with processes in network namespaces.

Each pod has a network namespace, an address that is new at each start, the image's root, its volume, and its
files of the config map as they are when it starts. Names of the headless service are in a hosts file that all
share. A container that ends is started again.
"""

import ctypes
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import chart
import container
import invariants
from product import Product
from runner import Failed, ensure

CLONE_NEWNET = 0x40000000
#: How long something may take that ought to happen.
WAIT = 120.0
#: Between two starts of a container that ends.
BACK_OFF = 1.0
#: Settings for a small machine.
SMALL = {
    "cluster": {"shards-per-node": 1, "rebalance-after": "2s"},
    "journal": {"file-bytes": "4MiB"},
    "storage": {"min-free": "64MiB", "checkpoint-interval": "500ms", "journal-entries-kept": 64},
    "raft": {"heartbeat": "100ms"},
}


def ip(*words: str) -> None:
    """Runs `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Fabric:
    """The network between pods. This process is in it as well."""

    def __init__(self, directory: Path) -> None:
        self.name = f"quipu-{os.getpid()}"
        self.hosts_file = directory / "hosts"
        self.names: dict[str, str] = {}
        self.numbers = itertools.count(2)
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        ip("netns", "add", self.name)
        self.enter(f"/var/run/netns/{self.name}")
        ip("link", "set", "lo", "up")
        ip("link", "add", "pods", "type", "bridge")
        ip("addr", "add", "10.88.0.1/16", "dev", "pods")
        ip("link", "set", "pods", "up")
        self.write()

    def enter(self, namespace: str | int) -> None:
        """Moves this thread into a network namespace."""
        handle = namespace if isinstance(namespace, int) else os.open(namespace, os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        if handle is not namespace:
            os.close(handle)

    def join(self) -> tuple[str, str]:
        """A new namespace on the network, and its address."""
        number = next(self.numbers)
        name, address = f"{self.name}-{number}", f"10.88.{number // 250}.{number % 250 + 2}"
        ip("netns", "add", name)
        ip("link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"v{number}", "master", "pods", "up")
        ip("-n", name, "addr", "add", f"{address}/16", "dev", "eth0")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "set", "eth0", "up")
        return name, address

    def leave(self, name: str) -> None:
        """Takes a namespace away."""
        subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def write(self) -> None:
        """Writes the names, into the file that is mounted everywhere."""
        text = "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in self.names.items())
        with open(self.hosts_file, "r+" if self.hosts_file.exists() else "w") as file:
            file.write(text)
            file.truncate()

    def close(self) -> None:
        """Goes home."""
        self.enter(self.home)
        os.close(self.home)
        self.leave(self.name)


class Pod:
    """A pod that is there."""

    def __init__(self, kube: "Kube", ordinal: int) -> None:
        self.kube, self.ordinal = kube, ordinal
        self.name = invariants.pod_name(kube.stateful_set, ordinal)
        self.template = kube.stateful_set["spec"]["template"]
        self.container = self.template["spec"]["containers"][0]
        self.host = f"{self.name}.{kube.stateful_set['spec']['serviceName']}.{chart.NAMESPACE}.svc.cluster.local"
        self.env = self.template_env()
        self.network, self.address = kube.fabric.join()
        self.files = Path(tempfile.mkdtemp(prefix="config-", dir=kube.directory))
        for name, text in kube.config_map().items():
            (self.files / name).write_text(text)
        self.files.chmod(0o755)
        mounts = {
            "/etc/hosts": (kube.fabric.hosts_file, False),
            "/etc/quipu": (self.files, False),
            "/var/lib/quipu": (kube.volume(ordinal), True),
            "/tmp": (kube.scratch, True),
        }
        self.box = container.Container(kube.root, mounts, self.network)
        self.log = kube.directory / f"{self.name}.log"
        self.process: subprocess.Popen | None = None
        self.starts, self.not_before = 0, 0.0
        self.ready_since: float | None = None
        kube.fabric.names[self.host] = self.address
        kube.fabric.write()
        self.look()

    def template_env(self) -> dict[str, str]:
        """The variables of the node's process."""
        return invariants.environment(self.container, self.name, self.template["metadata"]["labels"])

    def look(self) -> None:
        """Starts the container if it does not run; asks its readiness probe."""
        if self.process is not None and self.process.poll() is not None:
            self.process, self.not_before, self.ready_since = None, time.monotonic() + BACK_OFF, None
        if self.process is None and time.monotonic() >= self.not_before:
            self.process = self.box.start([*self.container["command"], *self.container["args"]], self.env, self.log)
            self.starts += 1
        probe = self.container["readinessProbe"]["httpGet"]
        is_ready = self.get(probe["path"])[0] == 200
        self.ready_since = (self.ready_since or time.monotonic()) if is_ready else None

    def get(self, path: str) -> tuple[int, str]:
        """What the probes' port answers."""
        port = {it["name"]: it["containerPort"] for it in self.container["ports"]}["metrics"]
        try:
            with urllib.request.urlopen(f"http://{self.address}:{port}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def quipu(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess:
        """`kubectl exec pod -- quipu …`"""
        return self.box.run([invariants.PROGRAM, *words], self.env, timeout)

    def stop(self, is_killed: bool = False) -> float:
        """Hook, SIGTERM, SIGKILL after the grace; how long it took."""
        begun = time.monotonic()
        grace = self.template["spec"]["terminationGracePeriodSeconds"]
        if self.process and not is_killed:
            hook = self.container.get("lifecycle", {}).get("preStop", {}).get("exec")
            if hook:
                done = self.box.run(hook["command"], self.env, grace)
                ensure(done.returncode == 0, f"{self.name}: preStop: {done.stderr}")
            self.kube.does(f"SIGTERM to pod {self.ordinal}")
            in_time = container.stop(self.process, grace)
            ensure(in_time, f"{self.name} did not stop within {grace} s")
        elif self.process:
            self.process.kill()
            self.process.wait()
        self.kube.fabric.names.pop(self.host, None)
        self.kube.fabric.write()
        self.kube.fabric.leave(self.network)
        self.process = None
        return time.monotonic() - begun


class Kube:
    """The release, its pods, and their volumes."""

    def __init__(self, product: Product, directory: Path, root: Path, values: dict) -> None:
        self.product, self.directory, self.root = product, directory, root
        self.scratch = directory / "tmp"
        self.scratch.mkdir()
        shutil.chown(self.scratch, container.USER, container.USER)
        self.pods: dict[int, Pod] = {}
        #: What was last done, and when, for who wonders about a gap.
        self.done, self.done_at = "", 0.0
        self.values = {"config": SMALL, "minReadySeconds": 1}
        self.fabric = Fabric(directory)
        self.upgrade(values)

    def upgrade(self, values: dict) -> list[dict]:
        """New manifests; pods stay as they are. The hooks before it are run."""
        self.values = {**self.values, **values}
        documents = chart.documents(chart.render(self.values, is_upgrade=True))
        wrong = invariants.inspect(documents, self.product)
        ensure(not wrong, f"{wrong}")
        for job in invariants.of_kind(documents, "Job"):
            if job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade":
                for step in invariants.containers_of(job["spec"]["template"]["spec"]):
                    done = self.command(step["args"], environment=invariants.environment(step, "hook", {}), timeout=WAIT)
                    ensure(done.returncode == 0, f"hook {step['args']}: {done.stderr}")
        self.documents = documents
        return documents

    @property
    def stateful_set(self) -> dict:
        """As last rendered."""
        return invariants.of_kind(self.documents, "StatefulSet")[0]

    def config_map(self) -> dict[str, str]:
        """The nodes' files, as last rendered."""
        return next(it["data"] for it in invariants.of_kind(self.documents, "ConfigMap") if it["metadata"]["name"] == chart.RELEASE)

    def volume(self, ordinal: int) -> Path:
        """The claim of a pod, made if it is not there."""
        path = self.directory / f"data-{ordinal}"
        if not path.exists():
            path.mkdir()
            shutil.chown(path, container.USER, container.USER)
        return path

    def lose(self, ordinal: int) -> None:
        """A volume is gone for good."""
        shutil.rmtree(self.volume(ordinal))

    def does(self, what: str) -> None:
        """Something is done to a pod now."""
        self.done, self.done_at = what, time.monotonic()

    def doing(self, now: float) -> str:
        """What was done last, and how long ago."""
        return f"{now - self.done_at:.1f} s after {self.done}" if self.done else ""

    def start(self, *ordinals: int) -> None:
        """Pods come."""
        for ordinal in ordinals:
            self.does(f"the start of pod {ordinal}")
            self.pods[ordinal] = Pod(self, ordinal)

    def stop(self, ordinal: int, is_killed: bool = False) -> float:
        """A pod goes."""
        self.does(f"the {'death' if is_killed else 'hook'} of pod {ordinal}")
        return self.pods.pop(ordinal).stop(is_killed)

    def until(self, what: str, look, wait: float = WAIT):
        """Waits for something; containers that end are started again meanwhile. An error says what is missing."""
        begun, words = time.monotonic(), ""
        while time.monotonic() - begun < wait:
            for pod in self.pods.values():
                pod.look()
            try:
                return look()
            except (Failed, LookupError, json.JSONDecodeError) as error:
                words = str(error)
            time.sleep(0.1)
        raise Failed(f"waited {wait:.0f} s for {what}: {words}\n{self.tails()}")

    def ready(self, *ordinals: int) -> None:
        """Waits until pods have been ready for `minReadySeconds`."""
        least = self.stateful_set["spec"]["minReadySeconds"]

        def look() -> None:
            for ordinal in ordinals or list(self.pods):
                since = self.pods[ordinal].ready_since
                ensure(since and time.monotonic() - since >= least, f"{self.pods[ordinal].name}: {self.pods[ordinal].get('/health/ready')}")

        self.until("pods to be ready", look)

    def command(self, words: list[str], environment: dict[str, str] | None = None, timeout: float = 60) -> subprocess.CompletedProcess:
        """Runs our command beside the pods, as a hook or an application does."""
        env = environment or {"QUIPU_SERVERS": ",".join(f"{pod.host}:9192" for pod in self.pods.values()), "HOME": "/tmp"}
        return self.application().run([invariants.PROGRAM, *words], env, timeout)

    def application(self) -> container.Container:
        """A pod of somebody else's."""
        return container.Container(self.root, {"/etc/hosts": (self.fabric.hosts_file, False), "/tmp": (self.scratch, True)}, self.fabric.name)

    def cluster(self) -> dict:
        """The cluster as a node describes it."""
        answer = self.command(["cluster", "info", "-o", "json"])
        ensure(answer.returncode == 0, answer.stderr)
        return json.loads(answer.stdout)

    def is_whole(self, nodes: set[int]) -> None:
        """These nodes and no others; every shard led and in its place."""
        cluster = self.cluster()
        alive = {it["node_id"] for it in cluster["nodes"] if it["is_alive"]}
        known = {it["node_id"] for it in cluster["nodes"]}
        ensure(alive == known == nodes, f"nodes {sorted(known)}, alive {sorted(alive)}, expected {sorted(nodes)}")
        for shard in cluster["shards"]:
            ensure(shard["leader"] is not None, f"shard {shard['shard']} has no leader")
            ensure(not shard["leaving"], f"shard {shard['shard']} moves")
            ensure(set(shard["replicas"]) <= nodes, f"shard {shard['shard']} is on {shard['replicas']}")
        for name in self.pods:
            ensure(not self.problems(name), f"pod {name}: {self.problems(name)}")

    def problems(self, ordinal: int, is_raw: bool = False) -> list[str]:
        """What a pod calls wrong with the cluster."""
        status, body = self.pods[ordinal].get("/health/cluster")
        ensure(status in (200, 503), f"pod {ordinal}: {body}")
        found = json.loads(body)["problems"]
        if is_raw or "stale rejections" not in self.product.pending["behaviours"]:
            return found
        return [it for it in found if " away: WRONG_NODE" not in it]

    def whole(self, *nodes: int) -> None:
        """Waits until the cluster is these nodes, and well."""
        self.until("a whole cluster", lambda: self.is_whole(set(nodes)))

    def tails(self) -> str:
        """The end of every log."""
        found = sorted(self.directory.glob("*.log"))
        return "\n".join(f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-6:]) for path in found)

    def close(self) -> None:
        """Ends every process that was started here."""
        for ordinal in list(self.pods):
            self.stop(ordinal, is_killed=True)
        self.fabric.close()


def judge(who: str, sent: int, numbers: list[int]) -> None:
    """Each number is there, once."""
    ensure(sorted(numbers) == list(range(sent)), f"{who}: {sent} sent, {len(numbers)} read, {len(set(numbers))} different")


class Gap:
    """The longest time between two events; the first counts from nothing."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube
        self.longest, self.when, self.last, self.since = 0.0, "", None, ""

    def ends(self) -> None:
        """Another event."""
        now = time.monotonic()
        if self.last is not None and now - self.last > self.longest:
            self.longest, self.when = now - self.last, self.since
        self.last, self.since = now, self.kube.doing(now)

    def __str__(self) -> str:
        return f"{self.longest * 1000:.0f} ms" + (f" (from {self.when} on)" if self.when else "")


class Load:
    """An application that publishes numbers all the time, and another that reads them as they come."""

    def __init__(self, kube: Kube, topic: str = "numbers") -> None:
        self.kube, self.topic = kube, topic
        made = kube.command(["topic", "create", topic, "--partitions", "6"])
        ensure(made.returncode == 0, made.stderr)
        self.writer = self.run("pub", topic, "--timeout", "60s")
        self.reader = self.run("sub", topic, "--from", "start", "-o", "raw")
        self.sent, self.words = 0, {"writer": "", "reader": ""}
        self.seen: list[int] = []
        #: How long nothing was read that was written all the time, at most.
        self.gap = Gap(kube)
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=it, daemon=True) for it in (self.write, self.read)]
        self.threads += [threading.Thread(target=self.listen, args=it, daemon=True) for it in (("writer", self.writer), ("reader", self.reader))]
        self.threads += [threading.Thread(target=self.writer.stdout.read, daemon=True)]
        for thread in self.threads:
            thread.start()
        self.goes_on()

    def run(self, *words: str) -> subprocess.Popen:
        """Starts an application that knows every pod there is now."""
        env = {"QUIPU_SERVERS": ",".join(f"{pod.host}:9192" for pod in self.kube.pods.values()), "HOME": "/tmp", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        command = self.kube.application().command([invariants.PROGRAM, *words])
        return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def write(self) -> None:
        try:
            while not self.is_over.is_set():
                self.writer.stdin.write(f"{self.sent}\n")
                self.writer.stdin.flush()
                self.sent += 1
                time.sleep(0.005)
            self.writer.stdin.close()
        except BrokenPipeError:
            pass

    def read(self) -> None:
        for line in self.reader.stdout:
            self.gap.ends()
            self.seen.append(int(line))

    def listen(self, who: str, process: subprocess.Popen) -> None:
        for line in process.stderr:
            self.words[who] += line

    def check(self) -> None:
        """Nobody gave up."""
        for who, process in (("writer", self.writer), ("reader", self.reader)):
            ensure(process.poll() is None, f"the {who} ended: {self.words[who]}")

    def goes_on(self) -> None:
        """Waits until what is sent from now on is read."""
        first = self.sent

        def look() -> None:
            self.check()
            ensure(any(it > first + 20 for it in self.seen[-200:]), f"{self.sent} sent, {len(self.seen)} read; waiting for {first + 20}")

        self.kube.until("numbers to be read", look)

    def end(self) -> str:
        """Everything that was sent is acknowledged, and there once, for who read along and for who comes later."""
        self.check()
        self.is_over.set()
        self.writer.wait(WAIT)
        ensure(self.writer.returncode == 0, f"the writer saw an error: {self.words['writer']}")
        self.kube.until("everything to be read", lambda: ensure(len(self.seen) >= self.sent, f"{len(self.seen)} of {self.sent}"))
        found = self.kube.command(["sub", self.topic, "--from", "start", "--until", "end", "-o", "raw"])
        ensure(found.returncode == 0, found.stderr)
        for who, numbers in (("who read along", self.seen), ("who comes later", [int(it) for it in found.stdout.split()])):
            judge(who, self.sent, numbers)
        return f"{self.sent} events, none lost, none twice, no error; longest gap {self.gap}"

    def stop(self) -> None:
        """Ends the applications."""
        self.is_over.set()
        for process in (self.writer, self.reader):
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def release(product: Product, values: dict):
    """The chart, installed; nothing runs yet."""
    container.need_root("ip")
    with container.rootfs(product.binary) as root, tempfile.TemporaryDirectory(prefix="quipu-pods-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        kube = Kube(product, directory, root, values)
        try:
            yield kube
        finally:
            kube.close()
