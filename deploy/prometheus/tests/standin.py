"""A service for the lab. It publishes and reads through the quipu command, and exports what a service
that links the client crate exports, under the same names and labels.

Counts, times and errors of publishing and reading are real. Its circuit breaker, its dead letters,
and everything in `PLANNED` are made up: they stand in for what no node and no client of this
release has, so that queries for it are evaluated against series of the right shape at least.
"""

import json
import random
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

SERVICE, TOPIC, GROUP, BREAKER = "orders-service", "orders", "orders-mail", "mail"
BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

# Series of what nodes do not have yet; {node} is the address under which Prometheus knows one.
PLANNED = """\
# TYPE quipu_tls_cert_not_after_seconds gauge
quipu_tls_cert_not_after_seconds{{job="quipu",instance="{node}",listener="client"}} {month}
# TYPE quipu_auth_failures_total counter
quipu_auth_failures_total{{job="quipu",instance="{node}",mechanism="scram",reason="password"}} 3
# TYPE quipu_authz_denied_total counter
quipu_authz_denied_total{{job="quipu",instance="{node}",operation="write"}} 1
# TYPE quipu_dlq_messages gauge
quipu_dlq_messages{{job="quipu",instance="{node}",topic="orders.dlq"}} {dlq}
# TYPE quipu_workflow_instances gauge
quipu_workflow_instances{{job="quipu",instance="{node}",workflow="admission",state="running"}} 4
# TYPE quipu_workflow_step_seconds histogram
quipu_workflow_step_seconds_bucket{{job="quipu",instance="{node}",workflow="admission",step="bed",le="0.1"}} {tick}
quipu_workflow_step_seconds_bucket{{job="quipu",instance="{node}",workflow="admission",step="bed",le="+Inf"}} {tick}
quipu_workflow_step_seconds_sum{{job="quipu",instance="{node}",workflow="admission",step="bed"}} {tick}
quipu_workflow_step_seconds_count{{job="quipu",instance="{node}",workflow="admission",step="bed"}} {tick}
# TYPE quipu_workflow_compensations_total counter
quipu_workflow_compensations_total{{job="quipu",instance="{node}",workflow="admission",result="ok"}} 2
quipu_workflow_compensations_total{{job="quipu",instance="{node}",workflow="admission",result="failed"}} 0
# TYPE quipu_timers_overdue gauge
quipu_timers_overdue{{job="quipu",instance="{node}",workflow="admission"}} 0
# TYPE quipu_canary_roundtrip_seconds histogram
quipu_canary_roundtrip_seconds_bucket{{job="quipu",instance="{node}",le="0.1"}} {tick}
quipu_canary_roundtrip_seconds_bucket{{job="quipu",instance="{node}",le="+Inf"}} {tick}
quipu_canary_roundtrip_seconds_sum{{job="quipu",instance="{node}"}} {tick}
quipu_canary_roundtrip_seconds_count{{job="quipu",instance="{node}"}} {tick}
# TYPE quipu_canary_lost_total counter
quipu_canary_lost_total{{job="quipu",instance="{node}"}} 0
"""


class Histogram:
    def __init__(self):
        self.counts, self.sum, self.count = [0] * len(BUCKETS), 0.0, 0

    def record(self, seconds):
        self.sum, self.count = self.sum + seconds, self.count + 1
        for at, bound in enumerate(BUCKETS):
            self.counts[at] += seconds <= bound

    def lines(self, name, labels):
        for bound, count in zip([*BUCKETS, "+Inf"], [*self.counts, self.count]):
            yield f'{name}_bucket{{{labels},le="{bound}"}} {count}'
        yield f"{name}_sum{{{labels}}} {self.sum}"
        yield f"{name}_count{{{labels}}} {self.count}"


class StandIn:
    """Publishes in bursts, reads as a member of a group, and answers on `port`."""

    def __init__(self, quipu, environment, port, node):
        self.quipu, self.environment, self.node = quipu, environment, node
        self.lock = threading.Lock()
        self.is_over = False
        self.begun = time.time()
        # Of these, others may change what happens: see `Handler.do_POST`.
        self.set = {"failing": 0.0, "burst": 20.0, "breaker": 0.0, "dlq": 7.0, "pause": 0.0, "handler": 0.002}
        self.published, self.publish_seconds, self.publish_errors = 0, Histogram(), {}
        self.consumed, self.processing_seconds, self.processing_errors = 0, Histogram(), 0
        self.dead = 0
        self.polled = self.begun
        self.reader = None
        server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        for work in (server.serve_forever, self._publish, self._read):
            threading.Thread(target=work, daemon=True).start()

    def stop(self):
        self.is_over = True
        if self.reader:
            self.reader.terminate()

    def _publish(self):
        while not self.is_over:
            events = "".join(json.dumps({"order": random.randrange(10**6)}) + "\n" for _ in range(int(self.set["burst"])))
            # An event of an unknown topic fails for good, as any other that all retries end for.
            fails = random.random() < self.set["failing"]
            topic = "no-such-topic" if fails else TOPIC
            begun = time.monotonic()
            done = subprocess.run([self.quipu, "pub", topic, "--key-field", "order"], input=events, text=True,
                                  capture_output=True, env=self.environment)
            with self.lock:
                count = events.count("\n")
                if done.returncode == 0:
                    self.published += count
                    self.publish_seconds.record(time.monotonic() - begun)
                else:
                    error = "UNKNOWN_TOPIC" if "QP1203" in done.stderr else "TIMEOUT"
                    self.publish_errors[error] = self.publish_errors.get(error, 0) + count
            time.sleep(0.25)

    def _read(self):
        while not self.is_over:
            # An event is acknowledged once it is printed: a small pipe, so that this means read.
            self.reader = subprocess.Popen(
                [self.quipu, "sub", TOPIC, "--group", GROUP, "--from", "start", "-o", "raw"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self.environment, pipesize=4096)
            for _ in self.reader.stdout:
                while self.set["pause"] and not self.is_over:
                    time.sleep(0.1)
                begun, self.polled = time.monotonic(), time.time()
                time.sleep(random.expovariate(1 / max(self.set["handler"], 1e-6)))
                with self.lock:
                    self.consumed += 1
                    self.processing_seconds.record(time.monotonic() - begun)
                    if random.random() < 0.002:
                        self.processing_errors, self.dead = self.processing_errors + 1, self.dead + 1
                if self.is_over:
                    break
            self.reader.wait()

    def page(self):
        with self.lock:
            own = f'service="{SERVICE}",topic="{TOPIC}"'
            read = f'{own},group="{GROUP}"'
            breaker = f'service="{SERVICE}",breaker="{BREAKER}"'
            seconds = int(time.time() - self.begun)
            errors = {"TIMEOUT": 0, "UNKNOWN_TOPIC": 0} | self.publish_errors
            return "\n".join([
                "# TYPE event_published_total counter", f"event_published_total{{{own}}} {self.published}",
                "# TYPE event_publish_errors_total counter",
                *(f'event_publish_errors_total{{{own},error="{error}"}} {count}' for error, count in errors.items()),
                "# TYPE event_publish_duration_seconds histogram",
                *self.publish_seconds.lines("event_publish_duration_seconds", own),
                "# TYPE event_consumed_total counter", f"event_consumed_total{{{read}}} {self.consumed}",
                "# TYPE event_processing_errors_total counter",
                f"event_processing_errors_total{{{read}}} {self.processing_errors}",
                "# TYPE event_processing_duration_seconds histogram",
                *self.processing_seconds.lines("event_processing_duration_seconds", read),
                "# TYPE consumer_lag_messages gauge",
                f"consumer_lag_messages{{{read}}} {max(0, self.published - self.consumed)}",
                "# TYPE consumer_last_poll_timestamp_seconds gauge",
                f'consumer_last_poll_timestamp_seconds{{service="{SERVICE}",group="{GROUP}"}} {self.polled}',
                "# TYPE events_skipped_total counter",
                *(f'events_skipped_total{{{own},reason="{reason}"}} 0' for reason in ("removed", "reset")),
                "# TYPE circuit_breaker_state gauge", f"circuit_breaker_state{{{breaker}}} {int(self.set['breaker'])}",
                "# TYPE circuit_breaker_failures_total counter",
                f"circuit_breaker_failures_total{{{breaker}}} {self.processing_errors}",
                "# TYPE circuit_breaker_successes_total counter",
                f"circuit_breaker_successes_total{{{breaker}}} {self.consumed}",
                "# TYPE dlq_messages_total counter", f"dlq_messages_total{{{own}}} {self.dead}",
                "# TYPE dlq_retries_total counter",
                f'dlq_retries_total{{service="{SERVICE}",result="ok"}} {self.dead // 2}',
                f'dlq_retries_total{{service="{SERVICE}",result="failed"}} 0',
                PLANNED.format(node=self.node, month=int(self.begun) + 30 * 86400, tick=seconds, dlq=int(self.set["dlq"])),
            ])

    def _handler(self):
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = stand_in.page().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                stand_in.set.update({name: float(value) for name, value in parse_qsl(urlsplit(self.path).query)})
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        return Handler

