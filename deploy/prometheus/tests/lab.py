"""A cluster of three nodes under load, and a Prometheus that scrapes it; on loopback, in one folder
that is gone afterwards.

What runs: a steady load on court.case.filed with a group that keeps up; a group that read part of
fees and left, so that there is a lag which stands still; records of audit that were deleted by hand,
and a group that read the rest; and the stand-in for a service (standin.py).
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

from standin import StandIn

SCRAPE_SECONDS = 1
HERE = Path(__file__).resolve().parent
DEPLOY = HERE.parent


class Lab:
    def __init__(self, quipu, port):
        self.quipu, self.port = str(quipu), port
        self.dir = Path(tempfile.mkdtemp(prefix="quipu-lab-"))
        self.environment = os.environ | {"XDG_CONFIG_HOME": str(self.dir / "config")}
        self.processes, self.stand_in, self.is_up = [], None, False
        self.prometheus = f"http://127.0.0.1:{port + 80}"
        self.alertmanager = f"http://127.0.0.1:{port + 81}"

    def __enter__(self):
        try:
            self._cluster()
            self._load()
            self._prometheus()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.stand_in:
            self.stand_in.stop()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        if self.is_up:
            self.run("local", "down", "--purge", "--dir", self.dir / "cluster")
        shutil.rmtree(self.dir, ignore_errors=True)

    # The cluster.

    def run(self, *words, **more):
        words = [self.quipu, *map(str, words)]
        done = subprocess.run(words, capture_output=True, text=True, env=self.environment, timeout=120, **more)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def asked(self, *words):
        return json.loads(self.run(*words, "-o", "json"))

    def start(self, words, log, **more):
        with open(self.dir / log, "wb") as out:
            process = subprocess.Popen([str(word) for word in words], stdout=out, stderr=out, env=self.environment, **more)
        self.processes.append(process)
        return process

    def node(self, verb, number):
        self.run("local", verb, number, "--dir", self.dir / "cluster")

    def nodes(self):
        """Where each node's metrics are."""
        layout = json.loads((self.dir / "cluster/cluster.json").read_text())
        return [node["metrics"] for node in layout["nodes"]]

    def _cluster(self):
        self.is_up = True
        # Checkpoints, so that their panels have data within the minute.
        self.run("local", "up", "--nodes", 3, "--port", self.port, "--dir", self.dir / "cluster",
                 "--set", "storage.checkpoint-interval=5s")

    def _load(self):
        for topic, partitions, *settings in [
            ("court.case.filed", 6), ("fees", 3, "--config", "retention-time=30d"), ("orders", 3), ("audit", 1),
        ]:
            self.run("topic", "create", topic, "--partitions", partitions, *settings)
        self.start([self.quipu, "bench", "--topic", "court.case.filed", "--rate", 300, "--record-bytes", "256B",
                    "--warmup", "0s", "--duration", "24h"], "load.log")
        self.start([self.quipu, "sub", "court.case.filed", "--group", "docket", "-o", "raw"], "docket.log")
        lines = "".join(f'{{"amount":{amount}}}\n' for amount in range(400))
        self.run("pub", "fees", input=lines)
        self.run("sub", "fees", "--group", "archive", "--from", "start", "-n", 150)
        self.run("pub", "audit", input=lines)
        self.run("topic", "trim", "audit", "--partition", 0, "--before", 100, "--yes")
        self.run("sub", "audit", "--group", "auditors", "--from", "start", "-n", 300)
        self.stand_in = StandIn(self.quipu, self.environment, self.port + 82, self.nodes()[0])

    # Prometheus.

    def _prometheus(self):
        """The example configuration, with the lab's targets and more haste."""
        config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
        config["rule_files"] = [str(DEPLOY / "rules.yaml")]
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [self.alertmanager[7:]]
        nodes, services, own = config["scrape_configs"]
        nodes["static_configs"][0]["targets"] = self.nodes()
        # Here all nodes have one address: the port tells them apart.
        del nodes["relabel_configs"]
        services["static_configs"][0]["targets"] = [f"127.0.0.1:{self.port + 82}"]
        # Series that stand in for those of nodes have the labels of nodes.
        services["honor_labels"] = True
        own["static_configs"][0]["targets"] = [self.prometheus[7:]]
        (self.dir / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.start(["prometheus", f"--config.file={self.dir}/prometheus.yml", f"--storage.tsdb.path={self.dir}/tsdb",
                    f"--web.listen-address={self.prometheus[7:]}", "--log.level=warn"], "prometheus.log")
        wait_for("Prometheus to scrape", 60, lambda: len(self.query(f'up{{job="quipu"}} == 1')) == 3)

    def api(self, path, **parameters):
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None

    def query(self, expr, at=None):
        return self.api("query", query=expr, **({"time": at} if at else {}))["result"]

    def query_range(self, expr, start, end, step):
        return self.api("query_range", query=expr, start=start, end=end, step=step)["result"]

    def value(self, expr):
        """The one value of a query."""
        (only,) = self.query(expr)
        return float(only["value"][1])


def wait_for(what, seconds, is_so):
    """Looks until it is so; the deadline is an error."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if is_so():
                return
            problem = ""
        except (OSError, ValueError, RuntimeError) as error:
            problem = f" ({error})"
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}{problem}")
        time.sleep(0.3)
