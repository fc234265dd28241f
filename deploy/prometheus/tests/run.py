#!/usr/bin/env python3
"""Holds alerts, dashboards and runbooks against each other, against the code, and against a live
cluster of three nodes under load.

    deploy/prometheus/tests/run.py                     everything, in about two minutes
    deploy/prometheus/tests/run.py --offline           what needs no cluster
    deploy/prometheus/tests/run.py --drill             and break things: alerts fire, and clear
    deploy/prometheus/tests/run.py --pictures DIR      and draw the dashboards' key panels

Installs what it needs: Debian's prometheus and prometheus-alertmanager, and pinned Python packages
in ~/.cache/quipu/venv/prometheus. Starts nothing that outlives it, and listens on loopback alone.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
VENV = Path.home() / ".cache/quipu/venv/prometheus"
# The suite could not install what it checks with.
NOT_CHECKED = 3
PACKAGES = {
    "prometheus": ["/usr/bin/promtool", "/usr/bin/prometheus"],
    "prometheus-alertmanager": ["/usr/bin/amtool", "/usr/bin/prometheus-alertmanager"],
    "python3-venv": ["/usr/lib/python3*/ensurepip", "/usr/lib/python3*/venv"],
}


def install_packages():
    missing = [
        package for package, files in PACKAGES.items()
        if not all(any(Path("/").glob(file[1:])) for file in files)
    ]
    if not missing:
        return
    print(f"installing {', '.join(missing)} (once)", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    services = ["prometheus", "prometheus-alertmanager"]
    before = {service for service in services if is_running(service)}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=True)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=environment,
                   check=True, stdout=subprocess.DEVNULL)
    # The packages may start their services: nobody asked for those.
    for service in services:
        if service not in before and is_running(service):
            subprocess.run(["service", service, "stop"], check=False)


def is_running(service):
    if not shutil.which("service"):
        return False
    return subprocess.run(["service", service, "status"], capture_output=True, check=False).returncode == 0


def enter_venv():
    """Goes on in the virtual environment, which is made when its packages are not the pinned ones."""
    wanted = HERE / "requirements.txt"
    mark, digest = VENV / "requirements.sha256", hashlib.sha256(wanted.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text() != digest:
        print(f"installing Python packages into {VENV} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin/pip", "install", "-q", "--disable-pip-version-check", "-r", wanted], check=True)
        mark.write_text(digest)
    if Path(sys.prefix) != VENV:
        python = VENV / "bin/python"
        os.execv(python, [python, Path(__file__).resolve(), *sys.argv[1:]])


def quipu_binary(given):
    target = Path(os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache/quipu/target"))
    given = given or os.environ.get("QUIPU_BIN")
    found = [Path(given)] if given else [target / "debug/quipu", target / "release/quipu"]
    for path in found:
        if path.exists():
            return path
    sys.exit(f"there is no {found[0]}: cargo build --bin quipu, or --quipu PATH")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quipu", metavar="PATH", help="the binary; default: QUIPU_BIN, else the debug build")
    parser.add_argument("--port", type=int, default=25200, help="the first of a hundred ports (default %(default)s)")
    parser.add_argument("--offline", action="store_true", help="only what needs no cluster")
    parser.add_argument("--drill", action="store_true", help="break things and wait for alerts: 14 minutes more")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw the key panels: six minutes more")
    parser.add_argument("--lacks", default="", metavar="NAMES",
                        help="metrics of the source that an older binary lacks, with commas between: what needs them "
                             "is not judged")
    return parser.parse_args()


def main():
    given = arguments()
    try:
        install_packages()
        enter_venv()
    except subprocess.CalledProcessError as error:
        print(f"NOT checked: what the checks need cannot be installed ({error})")
        return NOT_CHECKED
    from report import Report

    report = Report()
    import offline

    offline.check(report)
    if not given.offline:
        import live
        from lab import Lab

        lacks = {name for name in given.lacks.split(",") if name}
        with Lab(quipu_binary(given.quipu), given.port) as lab:
            live.check(lab, report, lacks)
            if given.pictures:
                import pictures

                pictures.draw(lab, given.pictures, lacks)
            if given.drill:
                import drill

                drill.check(lab, report, lacks)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
