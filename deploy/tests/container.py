"""Runs programs as a container engine would: on the image's root, read-only, as its user, without rights."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runner import DEPLOY, Skipped

USER = 10001
TOOLS = ("unshare", "chroot", "mount", "setpriv")


def need_root(*tools: str) -> None:
    """Skips what only root can do, or what lacks a tool."""
    if os.geteuid() != 0:
        raise Skipped("needs root")
    missing = [tool for tool in (*TOOLS, *tools) if not shutil.which(tool)]
    if missing:
        raise Skipped(f"needs {', '.join(missing)}")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        raise Skipped("this machine allows no mount namespaces")


@contextmanager
def rootfs(binary: Path):
    """The image's root, made by the script that the Dockerfile runs."""
    if os.geteuid() != 0:
        raise Skipped("needs root")
    with tempfile.TemporaryDirectory(prefix="quipu-rootfs-") as directory:
        root = Path(directory) / "root"
        subprocess.run([DEPLOY / "rootfs.sh", binary, root], check=True)
        yield root


@dataclass
class Container:
    """One container: what is mounted where, and in which network namespace."""

    root: Path
    #: Directory or file on the machine, by path in the container; `True`: may be written.
    mounts: dict[str, tuple[Path, bool]] = field(default_factory=dict)
    network: str | None = None

    def command(self, words: list[str]) -> list[str]:
        """The command line that starts it, and becomes it."""
        script = ['set -e; root=$1; shift', 'mount --make-rprivate /', 'mount --bind "$root" "$root"']
        script.append('mount --bind -o remount,bind,ro,nosuid "$root"')
        script.append('mount --rbind /proc "$root/proc"; mount --rbind /dev "$root/dev"')
        for place, (source, is_writable) in self.mounts.items():
            script.append(f'mount --bind "{source}" "$root{place}"')
            if not is_writable:
                script.append(f'mount --bind -o remount,bind,ro "$root{place}"')
        # No shell inside: the program itself is what runs, and it can gain no rights.
        script.append(f'exec setpriv --no-new-privs chroot --userspec={USER}:{USER} --groups= "$root" "$@"')
        body = "\n".join(script)
        start = ["unshare", "--mount", "sh", "-c", body, "sh", str(self.root), *words]
        return ["ip", "netns", "exec", self.network, *start] if self.network else start

    def run(self, words: list[str], env: dict[str, str] | None = None, timeout: float = 60) -> subprocess.CompletedProcess:
        """Runs it to its end."""
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run(self.command(words), env={**(env or {}), **path}, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)

    def start(self, words: list[str], env: dict[str, str], log: Path) -> subprocess.Popen:
        """Starts it; the process is the program itself."""
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        with open(log, "ab") as output:
            return subprocess.Popen(self.command(words), env={**env, **path}, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def stop(process: subprocess.Popen, grace: float) -> bool:
    """SIGTERM, and SIGKILL after the grace; whether it ended by itself."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace)
        return True
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
