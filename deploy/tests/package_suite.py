"""The packages of a release: what is in them, and the life of the one for Debian on a real system."""

import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import live_node
from runner import DEPLOY, ROOT, Context, Skipped, ensure
from scratch_system import System, system

#: Two releases, the second after the first for dpkg.
OLD, NEW = "0.0.1~test1", "0.0.1~test2"
SCRATCH = tempfile.TemporaryDirectory(prefix="quipu-packages-")
SHELLS = {
    "bash": "usr/share/bash-completion/completions/quipu",
    "zsh": "usr/share/zsh/vendor-completions/_quipu",
    "fish": "usr/share/fish/vendor_completions.d/quipu.fish",
}


@cache
def artifacts(binary: Path, version: str, name: str) -> Path:
    """Has the release packed, with the binary that is there."""
    if not shutil.which("cargo") or not shutil.which("dpkg-deb"):
        raise Skipped("needs cargo and dpkg-deb")
    out = Path(SCRATCH.name) / name
    words = ["cargo", "xtask", "release", "--test", "--binary", binary, "--version", version, "--out", out]
    made = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    ensure(made.returncode == 0, made.stderr)
    return out


def deb_of(directory: Path) -> Path:
    """The package for Debian among the artifacts."""
    (found,) = directory.glob("*.deb")
    return found


def contents(deb: Path) -> dict[str, str]:
    """Rights and owner of each file, by path."""
    listed = subprocess.run(["dpkg-deb", "--contents", deb], capture_output=True, text=True, check=True)
    rows = [line.split(None, 5) for line in listed.stdout.splitlines()]
    return {row[5].split(" -> ")[0].removeprefix("./"): f"{row[0]} {row[1]}" for row in rows}


def pages_of(context: Context, *words: str) -> list[str]:
    """Names of the man pages that a verb and those below it have."""
    found = ["-".join(("quipu", *words))]
    for below in sorted(context.product.verb(*words).subcommands):
        found += pages_of(context, *words, below)
    return found


def check_artifacts(context: Context) -> None:
    """a release has a tarball, a deb, a bill of materials and checksums that fit; packed again it is the same"""
    first = artifacts(context.product.binary, OLD, "old")
    names = {it.name for it in first.iterdir()}
    ensure(len(names) == 4 and "SHA256SUMS" in names, f"{names}")
    summed = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=first, capture_output=True, text=True)
    ensure(summed.returncode == 0 and summed.stdout.count(": OK") == 3, summed.stdout + summed.stderr)
    again = artifacts(context.product.binary, OLD, "again")
    ensure((first / "SHA256SUMS").read_text() == (again / "SHA256SUMS").read_text(), "packed again it has other bytes")
    (packed,) = first.glob("*.tar.gz")
    with tarfile.open(packed) as tar:
        inside = {it.name.split("/", 1)[1]: it for it in tar.getmembers() if "/" in it.name}
    for name in ("bin/quipu", "README.md", "CHANGELOG.md", "LICENSE", "etc/quipu.toml", "share/man/man1/quipu.1"):
        ensure(name in inside, f"the tarball has no {name}")
    ensure({(it.uid, it.gid) for it in inside.values()} == {(0, 0)}, "the tarball has other owners than root")


def check_refuses_failpoints(context: Context) -> None:
    """a binary that tests can bend is packed for tests alone"""
    said = context.product.run("--version").stdout
    if "failpoints" not in said:
        raise Skipped("this binary has none")
    if not shutil.which("cargo"):
        raise Skipped("needs cargo")
    words = ["cargo", "xtask", "release", "--binary", context.product.binary, "--out", Path(SCRATCH.name) / "bent"]
    made = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    ensure(made.returncode != 0 and "no release" in made.stderr, made.stderr)


def check_contents(context: Context) -> None:
    """the deb has its files where Debian looks for them, owned by root, with a man page for every verb"""
    deb = deb_of(artifacts(context.product.binary, OLD, "old"))
    inside = contents(deb)
    wanted = ["usr/bin/quipu", "etc/quipu/quipu.toml", "lib/systemd/system/quipu.service", "usr/lib/sysusers.d/quipu.conf"]
    wanted += [f"usr/share/doc/quipu/{it}" for it in ("copyright", "changelog.gz", "changelog.Debian.gz", "sbom.cdx.json", "examples/quipu.toml")]
    wanted += SHELLS.values()
    wanted += [f"usr/share/man/man1/{page}.1.gz" for page in pages_of(context)]
    files = {path for path, rights in inside.items() if rights.startswith("-")}
    ensure(files == set(wanted), f"not there: {set(wanted) - files}; nobody asked for {files - set(wanted)}")
    for path, rights in inside.items():
        expected = "drwxr-xr-x" if rights.startswith("d") else "-rwxr-xr-x" if path == "usr/bin/quipu" else "-rw-r--r--"
        ensure(rights == f"{expected} root/root", f"{path}: {rights}")
    for file, known in (("usr/lib/sysusers.d/quipu.conf", "systemd/quipu.sysusers"), ("lib/systemd/system/quipu.service", "systemd/quipu.service")):
        with tempfile.TemporaryDirectory() as root:
            subprocess.run(["dpkg-deb", "--extract", deb, root], check=True)
            ensure((Path(root) / file).read_text() == (DEPLOY / known).read_text(), f"{file} is not deploy/{known}")
            bash = subprocess.run(["bash", "-n", Path(root) / SHELLS["bash"]], capture_output=True, text=True)
            ensure(bash.returncode == 0, bash.stderr)
            size = os.path.getsize(Path(root) / "usr/bin/quipu")
            ensure(size < os.path.getsize(context.product.binary), "the binary is not stripped")


def check_settings(context: Context) -> None:
    """the settings that come with the deb start nothing until the node has a number"""
    file = str(DEPLOY / "deb/quipu.toml")
    known, why = context.product.settings({}, ["--config", file])
    ensure(known is None and "node.id" in why, f"{known} {why}")
    known, why = context.product.settings({"QUIPU_NODE__ID": "1"}, ["--config", file])
    ensure(known is not None, why)
    ensure(known["node.data-dir"] == "/var/lib/quipu", f"{known}")
    # What is commented out is as true as what is not.
    text = re.sub(r"^# (?=[a-z-]+ = )", "", (DEPLOY / "deb/quipu.toml").read_text(), flags=re.MULTILINE)
    with tempfile.TemporaryDirectory() as directory:
        whole = Path(directory) / "quipu.toml"
        whole.write_text(text)
        known, why = context.product.settings({}, ["--config", str(whole)])
    ensure(known is not None and known["node.id"] == "1" and "quipu-3" in known["cluster.bootstrap"], f"{known} {why}")


def check_bill(context: Context) -> None:
    """the bill of materials has what the lock file pins: RocksDB and openraft, but nothing of tests"""
    directory = artifacts(context.product.binary, OLD, "old")
    (file,) = directory.glob("*.cdx.json")
    bill = json.loads(file.read_text())
    ensure(bill["bomFormat"] == "CycloneDX" and bill["metadata"]["component"]["version"] == OLD, f"{bill['metadata']}")
    lock = (ROOT / "Cargo.lock").read_text()
    pinned = set(re.findall(r'^checksum = "([^"]+)"', lock, re.MULTILINE))
    known = {it["name"]: it for it in bill["components"]}
    for name in ("librocksdb-sys", "openraft", "tokio", "quipu-journal"):
        ensure(name in known, f"it lacks {name}")
    for name in ("proptest", "quipu-testkit", "quipu-sim", "bindgen", "serde_derive"):
        ensure(name not in known, f"{name} is not linked")
    for name, it in known.items():
        ensure(name.startswith("quipu-") or it.get("licenses"), f"{name} has no licence")
        sums = [hash["content"] for hash in it.get("hashes", [])]
        ensure(name.startswith("quipu-") or sums and sums[0] in pinned, f"{name} has no checksum")
    references = {it["bom-ref"] for it in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    for row in bill["dependencies"]:
        ensure({row["ref"], *row["dependsOn"]} <= references, f"{row} names what is not there")


def check_lintian(context: Context) -> None:
    """lintian finds nothing in the deb"""
    if not shutil.which("lintian"):
        raise Skipped("needs lintian")
    deb = deb_of(artifacts(context.product.binary, OLD, "old"))
    # A package of tests is not compressed; this one was never uploaded to Debian.
    known = ("uses-no-compression-for-control-tarball", "uses-no-compression-for-data-tarball", "initial-upload-closes-no-bugs")
    words = ["lintian", "--allow-root", "--fail-on", "error,warning", "--suppress-tags", ",".join(known), deb]
    found = subprocess.run(words, capture_output=True, text=True)
    ensure(found.returncode == 0, found.stdout + found.stderr)


def settings_of(client: int, peer: int, metrics: int) -> str:
    """The package's settings, filled in as an operator would."""
    text = (DEPLOY / "deb/quipu.toml").read_text()
    text = text.replace("# id = 1", "id = 1")
    places = f'client = "127.0.0.1:{client}"\npeer = "127.0.0.1:{peer}"\nmetrics = "127.0.0.1:{metrics}"\n'
    return text.replace("[listeners]\n", f"[listeners]\n{places}")


def install(copy: System, directory: Path) -> str:
    """Installs the package of these artifacts."""
    # Whatever else this machine lacks is no matter of the test: the libraries are there.
    return copy.good(f"dpkg --install --force-confdef --force-confold /mnt/{directory.name}/{deb_of(directory).name}")


def check_life(context: Context) -> None:
    """the deb on a real system: installed it starts nothing; started as the unit says it serves; upgraded it keeps its data and restarts; removed it keeps data, purged it does not"""
    old, new = artifacts(context.product.binary, OLD, "old"), artifacts(context.product.binary, NEW, "new")
    client, peer, metrics = live_node.free_ports(3)
    asked = "cat /run/quipu-test/asked 2>/dev/null; : > /run/quipu-test/asked"
    with system(Path(SCRATCH.name)) as copy:
        copy.write("/usr/bin/systemctl", (DEPLOY / "tests/systemctl.py").read_text(), "755")
        copy.good("rm -f /usr/sbin/policy-rc.d && mkdir -p /run/quipu-test")
        copy.run("dpkg --purge quipu")

        said = install(copy, old)
        ensure("quipu: not started" in said, said)
        ensure("start" not in copy.good(asked), "installing starts the service")
        ensure(copy.good("stat -c '%U %a' /var/lib/quipu") == "quipu 750", "its directory is not its own")
        ensure(copy.good("dpkg --verify quipu") == "", "files differ from what the package says")
        code, said = copy.run("systemctl start quipu.service")
        ended = said or copy.good("cat /run/quipu-test/ended")
        ensure(code != 0 and ended == "2", f"it starts without a number, or fails otherwise: {ended}\n" + copy.good("cat /run/quipu-test/log"))
        ensure(copy.good("ls /var/lib/quipu") == "", "refused, it has left something behind")

        copy.write("/etc/quipu/quipu.toml", settings_of(client, peer, metrics))
        servers = f"QUIPU_SERVERS=127.0.0.1:{client} HOME=/tmp"
        copy.good("systemctl start quipu.service || { cat /run/quipu-test/log; false; }")
        ensure(copy.good("ps -o user= -p $(cat /run/quipu-test/pid)") == "quipu", "it runs as another user")
        ensure(copy.good(f"{servers} quipu pub fees one --create") == "published fees/0@0", "not published")
        ensure(copy.good(f"{servers} quipu sub fees --from start -n 1 -o raw") == "one", "not read")
        ensure(copy.good("find /var/lib/quipu -mindepth 1 ! -user quipu | head -1") == "", "foreign files")
        before = copy.good("cat /run/quipu-test/pid")

        # A release that cannot read the settings leaves the node alone.
        copy.good(asked)
        copy.good("cp /etc/quipu/quipu.toml /tmp/good && echo 'nonsense = 1' >> /etc/quipu/quipu.toml")
        said = install(copy, new)
        ensure("not restarted" in said and copy.good("cat /run/quipu-test/pid") == before, f"it is restarted into settings that are none: {said}")
        copy.good("cp /tmp/good /etc/quipu/quipu.toml")
        install(copy, old)
        before = copy.good("cat /run/quipu-test/pid")

        copy.good(asked)
        install(copy, new)
        ensure(copy.good("dpkg-query -W -f '${Version}' quipu") == f"{NEW}-1", "the version is another")
        heard = copy.good(asked)
        ensure("try-restart quipu.service" in heard and "stop quipu.service" not in heard.split("try-restart")[0], f"asked of systemd: {heard}")
        ensure(copy.good("cat /run/quipu-test/pid") != before, "it still runs as it did")
        ensure(copy.good(f"{servers} quipu sub fees --from start -n 1 -o raw") == "one", "the event is gone")
        ensure(copy.good(f"{servers} quipu pub fees two") == "published fees/0@1", "not published")
        ensure("id = 1" in copy.good("cat /etc/quipu/quipu.toml").splitlines(), "the settings were replaced")

        copy.good("dpkg --remove quipu")
        ensure("stop quipu.service" in copy.good(asked), "removing leaves it running")
        ensure(copy.run("systemctl is-active quipu.service")[0] != 0, "it runs")
        code, _ = copy.run("test -e /usr/bin/quipu")
        ensure(code != 0, "the program is still there")
        copy.good("test -e /etc/quipu/quipu.toml && test -d /var/lib/quipu/journal")
        install(copy, new)
        ensure("start" not in copy.good(asked).split(), "what was stopped by hand is started")
        copy.good("systemctl start quipu.service")
        ensure(copy.good(f"{servers} quipu sub fees --from start -n 2 -o raw") == "one\ntwo", "events are gone")

        copy.good("dpkg --purge quipu")
        ensure(copy.run("systemctl is-active quipu.service")[0] != 0, "it runs")
        left = copy.good("find /etc /usr /lib /var/lib/quipu /home /opt -xdev \\( -user quipu -o -path '*quipu*' \\) 2>/dev/null | grep -v '^/var/lib/dpkg/' || true")
        ensure(left == "", f"left behind: {left}")
