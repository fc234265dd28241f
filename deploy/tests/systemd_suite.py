"""The systemd unit: what systemd says of it, and what it names."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from runner import DEPLOY, ROOT, Context, Skipped, ensure

UNIT = DEPLOY / "systemd/quipu.service"
SYSUSERS = DEPLOY / "systemd/quipu.sysusers"
#: What `systemd-analyze security` may find at most, of 100.
EXPOSURE_MAX = 20


def settings(text: str) -> dict[str, list[str]]:
    """Values by key, in order."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^([A-Z][A-Za-z]+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def need_systemd() -> None:
    """Skips what systemd's own tools are to say."""
    if not shutil.which("systemd-analyze"):
        raise Skipped("needs systemd-analyze")


def analyze(text: str, context: Context, *words: str) -> subprocess.CompletedProcess:
    """Has systemd look at a unit; the binary is where it is on this machine."""
    with tempfile.TemporaryDirectory(prefix="quipu-unit-") as directory:
        unit = Path(directory) / "quipu.service"
        unit.write_text(text.replace("/usr/bin/quipu", str(context.product.binary)))
        return subprocess.run(["systemd-analyze", *words, unit], capture_output=True, text=True)


def notifies() -> bool:
    """Whether the server tells systemd that it is ready."""
    return any("sd_notify" in source.read_text() or "NOTIFY_SOCKET" in source.read_text() for source in (ROOT / "crates/server").rglob("*.rs"))


def problems(text: str, context: Context) -> list[str]:
    """What does not fit the product."""
    unit, wrong = settings(text), []
    program, *words = unit["ExecStart"][0].split()
    if program != "/usr/bin/quipu":
        wrong.append(f"starts {program}")
    wrong += context.product.command_line(words)
    file = words[words.index("--config") + 1] if "--config" in words else ""
    if file != "/etc/quipu/quipu.toml":
        wrong.append(f"reads {file!r}, the package has /etc/quipu/quipu.toml")
    for hook in unit.get("ExecStop", []):
        program, *stop = hook.removeprefix("-").split()
        wrong += context.product.command_line(stop)
        if program != "/usr/bin/quipu" or stop[stop.index("--config") + 1 :] != [file]:
            wrong.append(f"stops by {hook!r}, which does not read {file!r}")
    home = f"/var/lib/{unit['StateDirectory'][0]}"
    example, why = context.product.settings({}, ["--config", str(DEPLOY / "quipu.toml")])
    if example is None:
        wrong.append(f"deploy/quipu.toml: {why}")
    elif example["node.data-dir"] != home:
        wrong.append(f"may write to {home}, deploy/quipu.toml keeps data in {example['node.data-dir']}")
    if unit["User"] != re.findall(r"^u (\S+)", SYSUSERS.read_text(), re.MULTILINE):
        wrong.append(f"runs as {unit['User']}, which quipu.sysusers does not make")
    if (unit["Type"][0] == "notify") != notifies():
        wrong.append(f"Type={unit['Type'][0]}, but the server {'tells' if notifies() else 'does not tell'} systemd that it is ready")
    usage = re.search(r"pub const USAGE: u8 = (\d+);", (ROOT / "crates/cli/src/exit.rs").read_text())[1]
    if unit["RestartPreventExitStatus"] != [usage]:
        wrong.append(f"settings that cannot be read end with {usage}, not {unit['RestartPreventExitStatus']}")
    return wrong


def check_fits(context: Context) -> None:
    """the unit fits the product: command line, file, directory, user, type, exit codes"""
    text = UNIT.read_text()
    ensure(not problems(text, context), f"{problems(text, context)}")
    for old, new, expected in (
        ("serve --config", "serve --conf", "has no flag --conf"),
        ("quipu serve", "quipu server", "has no verb 'server'"),
        ("--until-restart", "--until-reboot", "has no flag --until-reboot"),
        ("45s --config /etc/quipu/quipu.toml", "45s --config /etc/quipu.toml", "which does not read"),
        ("/etc/quipu/quipu.toml", "/etc/quipu.toml", "the package has"),
        ("StateDirectory=quipu", "StateDirectory=quipu-data", "keeps data in /var/lib/quipu"),
        ("User=quipu", "User=nobody", "does not make"),
        ("ExitStatus=2", "ExitStatus=3", "end with 2"),
        ("Type=exec" if not notifies() else "Type=notify", "Type=notify" if not notifies() else "Type=exec", "systemd that it is ready"),
    ):
        ensure(old in text, f"{old} is not in the unit")
        found = problems(text.replace(old, new), context)
        ensure(any(expected in sentence for sentence in found), f"{old} → {new}: {expected!r} is in none of {found}")


def check_exit_code(context: Context) -> None:
    """a node whose settings cannot be read ends with the code that is not tried again"""
    answer = context.product.run("serve", "--set", "node.id=none")
    ensure(answer.returncode == 2, f"{answer.returncode}: {answer.stderr}")


def check_verify(context: Context) -> None:
    """systemd reads the unit without a remark"""
    need_systemd()
    text = UNIT.read_text()
    found = analyze(text, context, "verify", "--man=no", "--recursive-errors=no")
    ensure(found.returncode == 0 and not found.stderr.strip(), found.stderr)
    for old, new in (("Type=exec", "Type=exek"), ("ProtectSystem=strict", "ProtectSytem=strict")):
        if old in text:
            found = analyze(text.replace(old, new), context, "verify", "--man=no", "--recursive-errors=no")
            ensure(found.stderr.strip(), f"{new} goes unnoticed")


def check_exposure(context: Context) -> None:
    """little of the system is open to the process, by systemd's own measure"""
    need_systemd()
    limit = f"--threshold={EXPOSURE_MAX}"
    found = analyze(UNIT.read_text(), context, "security", "--offline=yes", "--no-pager", limit)
    ensure(found.returncode == 0, "\n".join(line for line in found.stdout.splitlines() if line.startswith(("✗", "→")) or "Overall" in line))
    open_to_all = "\n".join(line for line in UNIT.read_text().splitlines() if not line.startswith(("Protect", "Private", "Restrict", "SystemCall", "Capability")))
    ensure(analyze(open_to_all, context, "security", "--offline=yes", "--no-pager", limit).returncode != 0, "an open unit goes unnoticed")


def check_sysusers(context: Context) -> None:
    """systemd makes the user"""
    if not shutil.which("systemd-sysusers"):
        raise Skipped("needs systemd-sysusers")
    with tempfile.TemporaryDirectory(prefix="quipu-sysusers-") as root:
        (Path(root) / "etc").mkdir()
        made = subprocess.run(["systemd-sysusers", f"--root={root}", SYSUSERS], capture_output=True, text=True)
        passwd = (Path(root) / "etc/passwd").read_text() if (Path(root) / "etc/passwd").is_file() else ""
        ensure(made.returncode == 0 and re.search(r"^quipu:.*:/var/lib/quipu:", passwd, re.MULTILINE), made.stderr + passwd)
