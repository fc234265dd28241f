"""One real node on loopback, with a configuration file that something else made."""

import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from product import Product, write_config

#: How long a node may take until it serves.
READY_WAIT = 60.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses at this moment, above those of other suites' fixed ones."""
    taken = []
    for _ in range(count):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        taken.append(listener)
    ports = [it.getsockname()[1] for it in taken]
    for listener in taken:
        listener.close()
    return ports


class Running:
    """A node that runs."""

    def __init__(self, product: Product, directory: Path, client: int, metrics: int) -> None:
        self.product, self.directory, self.client, self.metrics = product, directory, client, metrics

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a path of the metrics listener; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def quipu(self, *words: str) -> subprocess.CompletedProcess:
        """Runs a verb against it."""
        return self.product.run(*words, env={"QUIPU_SERVERS": f"127.0.0.1:{self.client}"})


@contextmanager
def running(product: Product, config: str, verb: str = "serve", flags: tuple[str, ...] = ()):
    """Starts a node; places of this machine stand in for the file's."""
    client, peer, metrics = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="quipu-live-") as name:
        directory = Path(name)
        words = [verb, *flags]
        places = {
            "listeners.client": f"127.0.0.1:{client}",
            "listeners.client-advertise": f"127.0.0.1:{client}",
            "listeners.peer": f"127.0.0.1:{peer}",
            "listeners.metrics": f"127.0.0.1:{metrics}",
            "cluster.bootstrap": f"1@127.0.0.1:{peer}",
        }
        if verb == "serve":
            words += ["--config", str(write_config(directory, "quipu.toml", config))]
            places["node.data-dir"] = str(directory / "data")
        for key, value in places.items():
            words += ["--set", f"{key}={value}"]
        with open(directory / "log", "wb") as log:
            process = subprocess.Popen([str(product.binary), *words], env={"HOME": name}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        node = Running(product, directory, client, metrics)
        try:
            begun = time.monotonic()
            while node.get("/health/ready")[0] != 200:
                if process.poll() is not None or time.monotonic() - begun > READY_WAIT:
                    raise AssertionError(f"the node does not serve:\n{(directory / 'log').read_text()[-2000:]}")
                time.sleep(0.05)
            yield node
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
