#!/usr/bin/env python3
"""Checks everything in deploy/ without a cluster, a container engine or a network.

    python3 deploy/tests/run.py [suite …] [--update] [--only TEXT]

Suites: helm, compose, image, systemd, package; all of them by default. `pods` starts what the chart renders as
real processes in network namespaces, and takes minutes; it runs when it is named.

The product is what the checks compare with: the sources beside this file, and the binary `quipu` in
QUIPU_BIN, else in ~/.cache/quipu/target/debug. Python packages go into a virtual environment under
~/.cache/quipu/venv, once.
"""

import argparse
import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
SUITES = ("helm", "compose", "image", "systemd", "package")
NAMED_ONLY = ("pods",)
# How it ends when it cannot get what it checks with.
NOT_CHECKED = 3


def enter_venv() -> None:
    """Goes on inside the virtual environment, which is made first if it is not as required."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    venv = cache / "quipu/venv/deploy"
    python = venv / "bin/python"
    if Path(sys.prefix) == venv:
        return
    venv.parent.mkdir(parents=True, exist_ok=True)
    # One at a time: who comes second finds it made.
    lock = open(venv.parent / "deploy.lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    wanted = hashlib.sha256(version.encode() + REQUIREMENTS.read_bytes()).hexdigest()
    stamp = venv / "requirements.sha256"
    if not stamp.is_file() or stamp.read_text() != wanted:
        print(f"installing what the checks need into {venv} (once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*install, "--no-deps", "-r", REQUIREMENTS]).returncode != 0:
            print("the packages cannot be installed: nothing was checked", file=sys.stderr)
            sys.exit(NOT_CHECKED)
        stamp.write_text(wanted)
    lock.close()
    os.execv(python, [str(python), *sys.argv])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="suite", help="which to run")
    parser.add_argument("--update", action="store_true", help="write generated files anew")
    parser.add_argument("--only", default="", metavar="TEXT", help="checks whose name has this text")
    options = parser.parse_args()
    unknown = set(options.suites) - {*SUITES, *NAMED_ONLY}
    if unknown:
        parser.error(f"unknown suite: {', '.join(sorted(unknown))}")
    enter_venv()
    sys.path.insert(0, str(HERE))
    sys.dont_write_bytecode = True
    import runner

    return runner.run(options.suites or list(SUITES), options.update, options.only)


if __name__ == "__main__":
    sys.exit(main())
