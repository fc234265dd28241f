"""Breaks things, and waits for the alerts: each must fire within its window, reach the receiver that
the example of an Alertmanager configuration names for its severity, and clear once all is well."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

from lab import DEPLOY, wait_for

# Alert, what tells it apart -> seconds within which it fires: its `for`, and what its window needs.
FIRES = {
    ("CircuitOpen", "severity", "warning"): 20,
    ("DlqTooLarge", "severity", "warning"): 60 + 20,
    ("NodeDown", "severity", "critical"): 120 + 20,
    ("AtRisk", "severity", "critical"): 120 + 40,
    ("ConsumerLagHigh", "source", "broker"): 300 + 60,
    ("ConsumerLagHigh", "source", "service"): 300 + 60,
    ("PublishErrorRate", "severity", "warning"): 300 + 60,
}
# Rates look five minutes back, and lag has to be read.
CLEARS = 300 + 120
RECEIVERS = {"critical": "pager", "warning": "day"}


def check(lab, report, lacks):
    expected = {alert: within for alert, within in FIRES.items() if alert[0] != "AtRisk" or not lacks}
    messages = receive(lab)
    alertmanager(lab)
    wait_for("the Alertmanager to be known", 60, lambda: lab.api("alertmanagers")["activeAlertmanagers"])

    begun = time.monotonic()
    # One event of twenty fails for good, nobody reads, a breaker opens, dead letters pile up.
    lab.stand_in.set.update(failing=0.05, pause=1, breaker=1, dlq=130)
    lab.node("kill", 3)
    fired = {}
    wait_until(begun + max(expected.values()), lambda: note(lab, fired, begun, expected))
    report.check("alerts fire within their windows", late(fired, expected))

    lab.stand_in.set.update(failing=0, pause=0, breaker=0, dlq=3, handler=0.0005)
    lab.node("start", 3)
    mended = time.monotonic()
    cleared = {}
    wait_until(mended + CLEARS, lambda: note_clear(lab, cleared, mended, expected))
    report.check("alerts clear once all is well",
                 [f"{' '.join(alert)} still fires after {CLEARS} s" for alert in expected if alert not in cleared])
    for alert in expected:
        report.note(f"{' '.join(alert)}: fired after {fired.get(alert, -1):.0f} s, cleared after {cleared.get(alert, -1):.0f} s")
    # The last messages are under way.
    wait_until(time.monotonic() + 30, lambda: not undelivered(messages, expected))
    report.check("receivers hear of each alert, and of its end", undelivered(messages, expected))


def wait_until(deadline, is_done):
    while not is_done() and time.monotonic() < deadline:
        time.sleep(1)


def firing(lab, expected):
    alerts = [alert["labels"] for alert in lab.api("alerts")["alerts"] if alert["state"] == "firing"]
    return {
        (name, label, value)
        for name, label, value in expected
        if any(labels["alertname"] == name and labels.get(label) == value for labels in alerts)
    }


def note(lab, fired, begun, expected):
    for alert in firing(lab, expected):
        fired.setdefault(alert, time.monotonic() - begun)
    return len(fired) == len(expected)


def note_clear(lab, cleared, mended, expected):
    for alert in set(expected) - firing(lab, expected):
        cleared.setdefault(alert, time.monotonic() - mended)
    return len(cleared) == len(expected)


def late(fired, expected):
    for alert, within in expected.items():
        if alert not in fired:
            yield f"{' '.join(alert)} did not fire within {within} s"
        elif fired[alert] > within:
            yield f"{' '.join(alert)} fired after {fired[alert]:.0f} s, not within {within} s"


def undelivered(messages, expected):
    problems = []
    for name, label, value in expected:
        severity = value if label == "severity" else "warning"
        for status in ("firing", "resolved"):
            if not any((receiver, state, labels["alertname"], labels.get(label)) == (RECEIVERS[severity], status, name, value)
                       for receiver, state, labels in messages):
                problems.append(f"{RECEIVERS[severity]} did not hear that {name} ({value}) is {status}")
    return problems


def receive(lab):
    """Where the receivers' messages arrive: (receiver, firing or resolved, labels)."""
    messages = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            messages.extend((body["receiver"], alert["status"], alert["labels"]) for alert in body["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", lab.port + 83), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return messages


def alertmanager(lab):
    """The example configuration with receivers of our own, and more haste."""
    config = yaml.safe_load((DEPLOY / "alertmanager.yml").read_text())
    config["route"] |= {"group_wait": "1s", "group_interval": "5s"}
    for receiver in config["receivers"]:
        for webhook in receiver["webhook_configs"]:
            webhook["url"] = f"http://127.0.0.1:{lab.port + 83}/"
    (lab.dir / "alertmanager.yml").write_text(yaml.safe_dump(config))
    lab.start(["prometheus-alertmanager", f"--config.file={lab.dir}/alertmanager.yml", f"--storage.path={lab.dir}/alerts",
               f"--web.listen-address={lab.alertmanager[7:]}", "--cluster.listen-address="], "alertmanager.log")
