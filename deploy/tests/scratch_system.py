"""This machine's system once more, in a mount namespace: what is changed in it is gone afterwards."""

import shlex
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from container import need_root
from runner import Skipped

#: Everything below it is written to memory; `/mnt` is the directory of packages.
ENTER = r"""
set -e
work=$1; packages=$2
mount --make-rprivate /
mount -t tmpfs none "$work"
mkdir "$work/upper" "$work/scratch" "$work/root"
mount -t overlay none -o "lowerdir=/,upperdir=$work/upper,workdir=$work/scratch" "$work/root"
root=$work/root
mount -t proc none "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs none "$root/run"
mount -t tmpfs -o mode=1777 none "$root/tmp"
mount --bind "$packages" "$root/mnt"
mkdir -p "$root/run/systemd/system"
echo ready
exec chroot "$root" sh
"""
END = "-- ended with"


class System:
    """A shell of root in the system's copy."""

    def __init__(self, shell: subprocess.Popen) -> None:
        self.shell = shell

    def run(self, line: str) -> tuple[int, str]:
        """Runs a line of shell; how it ended, and everything it said."""
        self.shell.stdin.write(f"( {line}\n) </dev/null 2>&1; code=$?; echo; echo '{END}' $code\n")
        self.shell.stdin.flush()
        said = []
        for text in self.shell.stdout:
            if text.startswith(END):
                return int(text.split()[-1]), "".join(said).strip()
            said.append(text)
        raise AssertionError("the shell ended:\n" + "".join(said))

    def good(self, line: str) -> str:
        """The same for what has to end well."""
        code, said = self.run(line)
        if code != 0:
            raise AssertionError(f"{line}: {code}\n{said}")
        return said

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Writes a file."""
        self.good(f"printf %s {shlex.quote(text)} > {path} && chmod {mode} {path}")


@contextmanager
def system(packages: Path):
    """Makes it, with a directory of packages in /mnt."""
    need_root("dpkg")
    if not shutil.which("dpkg"):
        raise Skipped("needs dpkg")
    with tempfile.TemporaryDirectory(prefix="quipu-system-") as work:
        shell = subprocess.Popen(
            # The first process of a namespace of its own: with it everything ends that was started.
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", work, str(packages)],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if shell.stdout.readline() != "ready\n":
                raise Skipped(f"no copy of the system: {shell.stderr.read().strip()}")
            yield System(shell)
        finally:
            shell.kill()
            shell.communicate()
