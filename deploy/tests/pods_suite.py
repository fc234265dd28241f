"""The life of pods: what the chart renders, run as processes, under load."""

import json
import time
from contextlib import contextmanager

import chart
import pods
from chart import Refused
from pods import Load, release
from runner import Context, Failed, ensure


@contextmanager
def under_load(kube: pods.Kube):
    """With an application that publishes; at the end nothing is lost."""
    load = Load(kube)
    try:
        yield load
        print(f"      {load.end()}")
    finally:
        load.stop()


@contextmanager
def three(context: Context, values: dict | None = None):
    """A release of three pods that are ready."""
    with release(context.product, values or {}) as kube:
        kube.start(1, 2, 3)
        kube.ready()
        kube.whole(1, 2, 3)
        yield kube


def check_judge(context: Context) -> None:
    """an event that is lost, or there twice, is noticed"""
    pods.judge("a reader", 3, [2, 0, 1])
    for numbers in ([0, 1], [0, 1, 1], [0, 1, 2, 2], [0, 1, 3], []):
        try:
            pods.judge("a reader", 3, numbers)
        except Failed:
            continue
        raise AssertionError(f"{numbers} pass for 0, 1, 2")


def check_first_start(context: Context) -> None:
    """pods that start together form one cluster, in whatever order; one alone waits, and lives"""
    with release(context.product, {}) as kube:
        kube.start(3)
        kube.until("the first pod to be live", lambda: ensure(kube.pods[3].get("/health/live")[0] == 200, "not live"))
        time.sleep(3)
        ensure(kube.pods[3].get("/health/ready")[0] == 503 and kube.pods[3].starts == 1, "it waits for the others")
        kube.start(1)
        time.sleep(1)
        kube.start(2)
        kube.ready()
        kube.whole(1, 2, 3)
        ensure([pod.starts for pod in kube.pods.values()] == [1, 1, 1], "nobody was restarted")


def check_single(context: Context) -> None:
    """one node alone, and two more that join it"""
    with release(context.product, {"replicas": 1}) as kube:
        kube.start(1)
        kube.ready()
        kube.whole(1)
        with under_load(kube) as load:
            kube.upgrade({"replicas": 3})
            kube.start(2, 3)
            kube.ready()
            kube.whole(1, 2, 3)
            load.goes_on()


def check_rolling_update(context: Context) -> None:
    """an update goes through all pods, twice, with no error for who tries again"""
    with three(context) as kube, under_load(kube) as load:
        for _ in range(2):
            for ordinal in (3, 2, 1):
                kube.stop(ordinal)
                kube.start(ordinal)
                kube.ready()
                load.goes_on()
        kube.whole(1, 2, 3)


def check_ready_is_caught_up(context: Context) -> None:
    """a pod is ready when its replicas have what they missed, not before: the next one may be restarted then"""
    is_early = "ready before caught up" in context.product.pending["behaviours"]
    # Nothing is followed through the log: what was missed comes as a snapshot, at this rate.
    storage = {**pods.SMALL["storage"], "journal-entries-kept": 0}
    slow = {"config": {**pods.SMALL, "storage": storage, "limits": {"catch-up-rate": "64KiB" if is_early else "1MiB"}}}
    with three(context, slow) as kube:
        made = kube.command(["topic", "create", "large", "--partitions", "3"])
        ensure(made.returncode == 0, made.stderr)
        kube.stop(3)
        (kube.scratch / "lines").write_text("".join(f"{number:04000d}\n" for number in range(3000)))
        sent = kube.command(["pub", "large", "--file", "/tmp/lines"], timeout=pods.WAIT)
        ensure(sent.returncode == 0, sent.stderr)
        # Until it is in a checkpoint, and purged from the journal.
        time.sleep(3)
        kube.start(3)
        kube.until("the pod to be ready", lambda: ensure(kube.pods[3].ready_since, "not ready"), wait=300)
        lacking = []
        for partition in "012":
            answer = kube.command(["partition", "describe", "large", partition, "-o", "json"])
            ensure(answer.returncode == 0, answer.stderr)
            own = next(it for it in json.loads(answer.stdout)["replicas"] if it["node_id"] == 3)
            lacking += [(partition, own["state"])] if own["state"] not in ("in-sync", "leads") else []
        if is_early:
            ensure(lacking, "a pod that is ready has caught up: take `ready before caught up` from deploy/tests/pending.yaml, and minReadySeconds may be 0")
        else:
            ensure(not lacking, f"the pod is ready, its replicas are not: {lacking}")


def check_restart(context: Context) -> None:
    """a pod that is killed comes back at another address with the same volume; so do all at once"""
    with three(context) as kube, under_load(kube) as load:
        for ordinal in (1, 2, 3):
            kube.stop(ordinal, is_killed=True)
            kube.start(ordinal)
            kube.ready()
            load.goes_on()
        for ordinal in (1, 2, 3):
            kube.stop(ordinal, is_killed=True)
        kube.start(3, 1, 2)
        kube.ready()
        load.goes_on()
        kube.whole(1, 2, 3)


def check_lost_volume(context: Context) -> None:
    """a pod whose volume is lost does not start; as another node it takes over, as README.md says"""
    with three(context) as kube, under_load(kube) as load:
        kube.stop(2, is_killed=True)
        kube.lose(2)
        kube.start(2)
        kube.until("the pod to be turned away", lambda: ensure(kube.pods[2].starts >= 2, "it runs"))
        ensure("is known with data directory" in kube.pods[2].log.read_text(), "and it says why")
        ensure(kube.pods[2].get("/health/ready")[0] != 200, "it never serves")
        load.goes_on()
        kube.upgrade({"nodeIds": {"2": 102}, "removedNodes": [2]})
        kube.stop(2, is_killed=True)
        kube.lose(2)
        kube.start(2)
        kube.ready()
        replaced = kube.pods[1].quipu("node", "replace", "2", "--yes", timeout=pods.WAIT)
        ensure(replaced.returncode == 0, replaced.stderr)
        load.goes_on()
        nodes = {it["node_id"] for it in kube.cluster()["nodes"]}
        ensure(nodes == {1, 3, 102}, f"{nodes}")
        kube.whole(1, 3, 102)
        if "stale rejections" in context.product.pending["behaviours"]:
            found = kube.problems(1, is_raw=True)
            ensure(any("node 2 turns this node away" in it for it in found), "removed nodes are forgotten: take `stale rejections` from deploy/tests/pending.yaml and a paragraph from the chart's README.md")
        load.goes_on()


def check_scale(context: Context) -> None:
    """from three pods to five and back by the hook, then to five again with new ids"""
    with three(context) as kube, under_load(kube) as load:
        kube.upgrade({"replicas": 5})
        kube.start(4, 5)
        kube.ready()
        kube.whole(1, 2, 3, 4, 5)
        balanced = kube.pods[1].quipu("cluster", "rebalance", "--yes", timeout=pods.WAIT)
        ensure(balanced.returncode == 0, balanced.stderr)
        kube.whole(1, 2, 3, 4, 5)
        try:
            kube.upgrade({"replicas": 3, "scaleDown": {"from": 5}})
            raise AssertionError("the chart lets pods go whose nodes hold data")
        except Refused as reason:
            ensure("node 5 holds data" in str(reason), str(reason))
        kube.upgrade({"replicas": 3, "scaleDown": {"from": 5, "mode": "decommission"}})
        # All at once, as Kubernetes does.
        for ordinal in (5, 4):
            kube.stop(ordinal)
        kube.whole(1, 2, 3)
        load.goes_on()
        for ordinal in (5, 4):
            kube.lose(ordinal)
        try:
            kube.upgrade({"replicas": 5, "removedNodes": [4, 5], "scaleDown": {"from": 3}})
            raise AssertionError("the chart gives ids away twice")
        except Refused as reason:
            ensure("removedNodes" in str(reason), str(reason))
        kube.upgrade({"replicas": 5, "removedNodes": [4, 5], "nodeIds": {"4": 104, "5": 105}, "scaleDown": {"from": 3}})
        kube.start(4, 5)
        kube.ready()
        load.goes_on()
        kube.whole(1, 2, 3, 104, 105)


def check_scale_down_by_mistake(context: Context) -> None:
    """pods that went without asking come back with what they had, and nothing is lost"""
    with three(context) as kube:
        kube.upgrade({"replicas": 5})
        kube.start(4, 5)
        kube.ready()
        balanced = kube.pods[1].quipu("cluster", "rebalance", "--yes", timeout=pods.WAIT)
        ensure(balanced.returncode == 0, balanced.stderr)
        with under_load(kube) as load:
            for ordinal in (5, 4):
                kube.stop(ordinal)
            time.sleep(5)
            kube.start(4, 5)
            kube.ready()
            load.goes_on()
            kube.whole(1, 2, 3, 4, 5)
