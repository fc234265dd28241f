"""The image: its Dockerfile, and its root, in which the product really runs."""

import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

import container
import live_node
from runner import DEPLOY, ROOT, Context, Skipped, ensure

DOCKERFILE = DEPLOY / "Dockerfile"
#: Files of the root beside binary and libraries.
FILES = {"etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/hosts", "etc/resolv.conf"}


def tool(name: str) -> str:
    """A program of the virtual environment."""
    return str(Path(sys.executable).parent / name)


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and rest of each instruction, continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines.splitlines() if line.strip())]


def dockerfile_problems(text: str, context: Context) -> list[str]:
    """What does not fit the product."""
    known, wrong = instructions(text), []
    last = len(known) - 1 - [name for name, _ in reversed(known)].index("FROM")
    final = dict(known[last:])
    values = yaml.safe_load((DEPLOY / "helm/quipu/values.yaml").read_text())
    user = values["podSecurityContext"]["runAsUser"]
    if final["FROM"] != "scratch":
        wrong.append(f"the image begins with {final['FROM']}, not with nothing")
    if final.get("USER") != f"{user}:{user}":
        wrong.append(f"runs as {final.get('USER')}, the chart says {user}")
    ports = {str(context.product.default_port(f"listeners.{name}")) for name in ("client", "peer", "metrics")}
    if set(final["EXPOSE"].split()) != ports:
        wrong.append(f"exposes {final['EXPOSE']}, the product has {sorted(ports)}")
    if final["ENTRYPOINT"] != '["/usr/bin/quipu"]':
        wrong.append(f"starts {final['ENTRYPOINT']}, the root has /usr/bin/quipu")
    wrong += context.product.command_line(yaml.safe_load(final["CMD"]))
    toolchain = re.search(r'^rust-version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    if not known[0][1].startswith(f"rust:{toolchain}-"):
        wrong.append(f"builds with {known[0][1]}, Cargo.toml says {toolchain}")
    build = next(rest for name, rest in known if name == "RUN" and "cargo build" in rest)
    for wanted in ("--locked", "--release"):
        if wanted not in build:
            wrong.append(f"cargo build without {wanted}")
    if "--features" in build:
        wrong.append("cargo build with features: releases have none")
    package = re.search(r"--package (\S+)", build)
    if not package or f'name = "{package[1]}"' not in (ROOT / "crates/cli/Cargo.toml").read_text():
        wrong.append("builds another package than the command's")
    needed = set(re.findall(r'\("([a-z+-]+)", &\[', (ROOT / "xtask/src/packages.rs").read_text().split("NETWORK")[0]))
    for name in needed - {"g++"}:
        if name not in text:
            wrong.append(f"the build needs {name}")
    for script in re.findall(r"deploy/\S+\.sh", build):
        if not (ROOT / script).is_file():
            wrong.append(f"{script} is not there")
    return wrong


def check_dockerfile(context: Context) -> None:
    """the Dockerfile fits the product: user, ports, entry point, toolchain, packages"""
    text = DOCKERFILE.read_text()
    ensure(not dockerfile_problems(text, context), f"{dockerfile_problems(text, context)}")
    for old, new, expected in (
        ("USER 10001:10001", "USER root", "runs as root"),
        ("EXPOSE 9192", "EXPOSE 9193", "exposes 9193"),
        ('CMD ["serve"]', 'CMD ["server"]', "has no verb 'server'"),
        ('CMD ["serve"]', 'CMD ["serve", "--conf=x"]', "has no flag --conf"),
        ("FROM scratch", "FROM debian:bookworm", "begins with debian:bookworm"),
        ("rust:1.95", "rust:1.70", "builds with rust:1.70"),
        ("--locked", "", "without --locked"),
        ("--bin quipu", "--bin quipu --features failpoints", "with features"),
        ("libclang-dev", "clang", "needs libclang-dev"),
        ("/usr/bin/quipu", "/quipu", "the root has /usr/bin/quipu"),
    ):
        ensure(old in text, f"{old} is not in the Dockerfile")
        found = dockerfile_problems(text.replace(old, new), context)
        ensure(any(expected in sentence for sentence in found), f"{old} → {new}: {expected!r} is in none of {found}")


def check_lint(context: Context) -> None:
    """hadolint and shellcheck have no remarks"""
    for words in ([tool("hadolint"), "--no-color", DOCKERFILE], [tool("shellcheck"), "--shell=sh", DEPLOY / "rootfs.sh"]):
        found = subprocess.run(words, capture_output=True, text=True)
        ensure(found.returncode == 0, found.stdout + found.stderr)
    bad = subprocess.run([tool("hadolint"), "-"], input="FROM debian:latest\nRUN cd /x\n", capture_output=True, text=True)
    ensure(bad.returncode != 0, "hadolint finds nothing")


def check_ignore(context: Context) -> None:
    """the build context has every member of the workspace and what they include"""
    text = (DEPLOY / "Dockerfile.dockerignore").read_text()
    taken = {line[1:] for line in text.splitlines() if line.startswith("!")}
    members = re.search(r"^members = \[([^\]]+)\]", (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    for member in (it.split("/")[0] for it in re.findall(r'"([^"]+)"', members)):
        ensure(member in taken, f"{member} is a member of the workspace, and not in the build context")
    for name in taken:
        ensure((ROOT / name).exists(), f"{name} is not there")
    for source in (ROOT / "crates").rglob("*.rs"):
        if "tests" in source.parts or source.name == "tests.rs":
            continue
        # Tests are not built into the image.
        text = re.split(r"#\[cfg\((?:doc)?test\)\]", source.read_text())[0]
        for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text):
            path = (source.parent / name).resolve()
            ensure(path.relative_to(ROOT).parts[0] in taken, f"{source.relative_to(ROOT)} includes {name}, which is not in the build context")


def check_root(context: Context) -> None:
    """the root has the binary, its libraries and five files: no shell, nothing setuid, nothing to write"""
    with container.rootfs(context.product.binary) as root:
        files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
        libraries = {name for name in files if ".so" in Path(name).name}
        ensure(files - libraries == FILES | {"usr/bin/quipu"}, f"{sorted(files - libraries - FILES)}")
        linked = subprocess.run(["ldd", context.product.binary], capture_output=True, text=True).stdout
        wanted = {path.lstrip("/") for path in re.findall(r"(/\S+) \(0x", linked)}
        ensure(wanted and wanted == libraries, f"linked with {sorted(wanted)}, the root has {sorted(libraries)}")
        for path in root.rglob("*"):
            mode = path.lstat().st_mode
            ensure(not mode & (stat.S_ISUID | stat.S_ISGID), f"{path} is setuid")
            if path.name != "tmp":
                ensure(not mode & stat.S_IWOTH, f"{path} may be written by all")
        owned = {str(path.relative_to(root)) for path in root.rglob("*") if path.lstat().st_uid == container.USER}
        ensure(owned == {"var/lib/quipu"}, f"the user owns {sorted(owned)}")


def check_runs(context: Context) -> None:
    """in that root, read-only, as user 10001 and without rights, a node serves and the command works"""
    container.need_root()
    client, peer, metrics = live_node.free_ports(3)
    with container.rootfs(context.product.binary) as root, tempfile.TemporaryDirectory(prefix="quipu-data-") as name:
        directory = Path(name)
        data, scratch, hosts = directory / "data", directory / "tmp", directory / "hosts"
        for place in (data, scratch):
            place.mkdir()
            shutil.chown(place, container.USER, container.USER)
        directory.chmod(0o755)
        hosts.write_text("127.0.0.1 localhost node-1.quipu\n")
        mounts = {"/var/lib/quipu": (data, True), "/tmp": (scratch, True), "/etc/hosts": (hosts, False)}
        box = container.Container(root, mounts)
        version = box.run(["/usr/bin/quipu", "--version"])
        ensure(version.returncode == 0 and context.product.version in version.stdout, version.stdout + version.stderr)
        ensure(box.run(["/bin/sh", "-c", "true"]).returncode == 127, "there is a shell")
        env = {
            "HOME": "/tmp",
            "QUIPU_NODE__ID": "1",
            "QUIPU_NODE__DATA_DIR": "/var/lib/quipu/data",
            "QUIPU_CLUSTER__SHARDS_PER_NODE": "1",
            "QUIPU_LISTENERS__CLIENT": f"127.0.0.1:{client}",
            "QUIPU_LISTENERS__CLIENT_ADVERTISE": f"node-1.quipu:{client}",
            "QUIPU_LISTENERS__PEER": f"127.0.0.1:{peer}",
            "QUIPU_LISTENERS__METRICS": f"127.0.0.1:{metrics}",
            "QUIPU_STORAGE__MIN_FREE": "64MiB",
        }
        refused = box.run(["/usr/bin/quipu", "serve"], {**env, "QUIPU_NODE__DATA_DIR": "/data"})
        ensure(refused.returncode == 1 and "Read-only file system" in refused.stderr, f"the root is to be read-only: {refused.stderr[-300:]}")
        node = box.start(["/usr/bin/quipu", "serve"], env, directory / "log")
        try:
            begun, status = time.monotonic(), 0
            while status != 200:
                ensure(node.poll() is None and time.monotonic() - begun < 60, (directory / "log").read_text()[-2000:])
                time.sleep(0.1)
                try:
                    status = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/health/ready", timeout=2).status
                except (urllib.error.URLError, OSError):
                    status = 0
            rights = dict(line.split(":\t") for line in Path(f"/proc/{node.pid}/status").read_text().splitlines() if ":\t" in line)
            ensure(rights["Uid"].split()[0] == str(container.USER) and int(rights["CapEff"], 16) == 0 and rights["NoNewPrivs"] == "1", f"{rights['Uid']} {rights['CapEff']}")
            ask = {"HOME": "/tmp", "QUIPU_SERVERS": f"node-1.quipu:{client}"}
            for words in (["pub", "fees", "120", "--create"], ["sub", "fees", "--from", "start", "-n", "1", "-o", "raw"], ["context", "add", "here", "localhost:1"]):
                answer = box.run(["/usr/bin/quipu", *words], ask)
                ensure(answer.returncode == 0, f"quipu {' '.join(words)}: {answer.stderr}")
            ensure(container.stop(node, 30) and node.returncode == 0, f"SIGTERM ends it in order: {node.returncode}")
        finally:
            if node.poll() is None:
                node.kill()
                node.wait()
