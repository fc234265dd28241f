#!/usr/bin/python3
"""Stands in for systemctl where no systemd runs: does what the package's scripts ask of it with the
unit that is installed, and writes down what it was asked.

Knows user, group, command, directories, umask and `Type=notify` of one service; nothing of what else
a unit may say.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

UNITS = Path("/lib/systemd/system")
STATE = Path("/run/quipu-test")
WAIT = 60.0


def setting(text: str, key: str) -> str:
    """The value of a key of the unit."""
    return re.search(rf"^{key}=(.*)$", text, re.MULTILINE)[1]


def running() -> int:
    """The process of the service, 0 when there is none."""
    file = STATE / "pid"
    pid = int(file.read_text()) if file.is_file() else 0
    try:
        # It is a child of whoever started it: gone, but not yet waited for, is gone.
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] if pid else "Z"
    except FileNotFoundError:
        state = "Z"
    return 0 if state == "Z" else pid


def start() -> int:
    """Starts it as the unit says, and waits until it says that it is up."""
    if running():
        return 0
    unit = (UNITS / "quipu.service").read_text()
    user, group = setting(unit, "User"), setting(unit, "Group")
    state = Path("/var/lib") / setting(unit, "StateDirectory")
    mode = int(setting(unit, "StateDirectoryMode"), 8)
    subprocess.run(["install", "-d", "-m", f"{mode:o}", "-o", user, "-g", group, state], check=True)
    notify = STATE / "notify"
    notify.unlink(missing_ok=True)
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(str(notify))
    notify.chmod(0o666)
    ear.settimeout(0.2)
    words = ["setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", "--no-new-privs", *setting(unit, "ExecStart").split()]
    with open(STATE / "log", "ab") as log:
        process = subprocess.Popen(
            words,
            cwd=setting(unit, "WorkingDirectory"),
            env={"NOTIFY_SOCKET": str(notify), "PATH": "/usr/bin:/bin"},
            umask=int(setting(unit, "UMask"), 8),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (STATE / "pid").write_text(str(process.pid))
    begun = time.monotonic()
    while time.monotonic() - begun < WAIT:
        if process.poll() is not None:
            (STATE / "ended").write_text(str(process.returncode))
            return 1
        try:
            if "READY=1" in ear.recv(4096).decode().splitlines():
                return 0
        except TimeoutError:
            pass
    return 1


def stop() -> int:
    """Ends it as systemd would."""
    pid = running()
    if pid:
        unit = (UNITS / "quipu.service").read_text()
        for words in re.findall(r"^ExecStop=-?(.*)$", unit, re.MULTILINE):
            as_user = ["setpriv", f"--reuid={setting(unit, 'User')}", f"--regid={setting(unit, 'Group')}", "--init-groups"]
            with open(STATE / "log", "ab") as log:
                subprocess.run([*as_user, *words.split()], env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.kill(pid, signal.SIGTERM)
        begun = time.monotonic()
        while running():
            if time.monotonic() - begun > WAIT:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
    return 0


def main() -> int:
    STATE.mkdir(exist_ok=True)
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    with open(STATE / "asked", "a") as asked:
        print(*words, file=asked)
    if words == ["daemon-reload"]:
        return 0
    verb, unit = words
    if unit != "quipu.service":
        return 5
    if verb == "is-active":
        return 0 if running() else 3
    if verb == "start":
        return start()
    if verb == "stop":
        return stop()
    if verb == "restart" or (verb == "try-restart" and running()):
        return stop() or start()
    return 0 if verb == "try-restart" else 1


if __name__ == "__main__":
    sys.exit(main())
