#!/usr/bin/env python3
"""The dashboards, as a program: `dashboards.py` writes the JSON files beside it, `dashboards.py
--check` says whether they are current. Needs nothing but Python 3.11.

A figure that each node reports of the cluster as it sees it is taken by max; what each node reports
of itself is summed. Group figures are summed over nodes: coordinators alone report them.
"""

import argparse
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from panels import GREEN, RED, YELLOW, Dashboard, Panel, Query, Row, Variable, dashboard_json

HERE = Path(__file__).resolve().parent
RUNBOOKS = "https://quipu.example/docs/runbooks"

# Selectors. A node is known to Prometheus as an instance.
CLUSTER = 'job=~"$job",cluster=~"$cluster"'
NODE = f'{CLUSTER},instance=~"$node"'
TOPIC = f'{CLUSTER},topic=~"$topic"'
GROUP = f'{CLUSTER},group=~"$group",topic=~"$topic"'
SERVICE = 'service=~"$service"'
RATE = "[$__rate_interval]"

# What a request may fail with through no fault of its sender.
FAULTS = (
    "INTERNAL|DATA_CORRUPT|STORAGE_FULL|OVERLOADED|NOT_ENOUGH_REPLICAS|DEADLINE_EXCEEDED"
    "|LEADERSHIP_LOST|CONTROLLER_UNAVAILABLE"
)
FAULTY = f'{NODE},error=~"{FAULTS}"'

# All jobs are those of nodes, not those of Prometheus.
JOB = Variable("job", "label_values(quipu_build_info, job)", "Job", everything=None)
CLUSTERS = Variable("cluster", 'label_values(quipu_build_info{job=~"$job"}, cluster)', "Cluster")
NODES = Variable("node", f"label_values(quipu_build_info{{{CLUSTER}}}, instance)", "Node")
TOPICS = Variable("topic", f"label_values(quipu_topic_records_in_total{{{CLUSTER}}}, topic)", "Topic")
GROUPS = Variable("group", f"label_values(quipu_group_members{{{CLUSTER}}}, group)", "Group")
SERVICES = Variable("service", "label_values(event_published_total, service)", "Service")

NONE_IS_WELL = [(None, GREEN), (1, RED)]


def quantile(q, metric, where, by=""):
    """A quantile of a histogram, over all series or by labels."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{where}}}{RATE})))"


def quantiles(metric, where, *which):
    return [Query(quantile(q, metric, where), f"p{q * 100:g}") for q in which]


def rate(metric, where, by=""):
    over = f"sum by ({by})" if by else "sum"
    return f"{over} (rate({metric}{{{where}}}{RATE}))"


def mean(metric, where, by=""):
    return f"{rate(metric + '_sum', where, by)} / {rate(metric + '_count', where, by)}"


def stat(title, expr, about, unit="short", thresholds=(), runbooks=(), mappings=None, is_key=False):
    return Panel(
        title, "stat", [Query(expr)], unit, about, width=4, height=4, thresholds=list(thresholds),
        runbooks=list(runbooks), mappings=mappings or {}, is_key=is_key,
    )


def graph(title, queries, about, unit="short", **more):
    return Panel(title, "timeseries", queries, unit, about, **more)


def table(title, columns, about, **more):
    """Columns: title -> (expression, unit)."""
    letters = [chr(ord("A") + at) for at in range(len(columns))]
    queries = [Query(expr, instant=True) for expr, _ in columns.values()]
    shown = {letter: (title, unit) for letter, (title, (_, unit)) in zip(letters, columns.items())}
    return Panel(title, "table", queries, about=about, width=24, columns=shown, **more)


OVERVIEW = Dashboard(
    "quipu-overview", "Quipu / Overview",
    "Whether the cluster is well, and how much goes through it.",
    [JOB, CLUSTERS, NODES],
    [
        Row("Health", [
            stat("Nodes up", f"sum(up{{{CLUSTER}}})", "Nodes whose metrics Prometheus reaches.",
                 runbooks=["NodeDown", "CrashLoop"], is_key=True),
            stat("Controllers", f"sum(quipu_controller_is_leader{{{CLUSTER}}})",
                 "Nodes that lead the metadata group: always one.",
                 thresholds=[(None, RED), (1, GREEN), (2, RED)], runbooks=["NoController"], is_key=True),
            stat("Leaderless partitions", f"max(quipu_cluster_leaderless_partitions{{{CLUSTER}}})",
                 "Partitions that can be neither written nor read now.",
                 thresholds=NONE_IS_WELL, runbooks=["LeaderlessPartitions"], is_key=True),
            stat("Under-replicated partitions", f"max(quipu_cluster_under_replicated_partitions{{{CLUSTER}}})",
                 "Partitions with a replica that does not answer.",
                 thresholds=[(None, GREEN), (1, YELLOW)], runbooks=["UnderReplicated"], is_key=True),
            stat("Partitions at risk", f"max(quipu_cluster_at_risk_partitions{{{CLUSTER}}})",
                 "Partitions that the next failure stops.", thresholds=NONE_IS_WELL, runbooks=["AtRisk"], is_key=True),
            stat("Leadership changes, 5 m", f"sum(increase(quipu_raft_leadership_changes_total{{{CLUSTER}}}[5m]))",
                 "New leaders that replicas have seen in five minutes, all together: three for each "
                 "change of a shard with three replicas.", runbooks=["LeadershipChurn"]),
            stat("Fullest disk",
                 f"max(1 - quipu_disk_free_bytes{{{CLUSTER}}} / quipu_disk_total_bytes{{{CLUSTER}}})",
                 "The part of the fullest node's disk that is in use.", "percentunit",
                 [(None, GREEN), (0.85, YELLOW), (0.95, RED)], ["DiskLow", "DiskFillsSoon"], is_key=True),
            stat("Nodes that refuse writes", f"sum(quipu_node_storage_full{{{CLUSTER}}})",
                 "Nodes with less than storage.min-free on their disk.",
                 thresholds=NONE_IS_WELL, runbooks=["WritesRefused"]),
            stat("Bytes in, now", rate("quipu_topic_in_bytes_total", CLUSTER), "Bytes of batches acknowledged.", "Bps", is_key=True),
            stat("Bytes out, now", rate("quipu_topic_out_bytes_total", CLUSTER), "Bytes of batches read.", "Bps"),
            stat("Records in, now", rate("quipu_topic_records_in_total", CLUSTER), "Records acknowledged.", "cps", is_key=True),
            stat("Firing alerts",
                 'count(ALERTS{alertstate="firing",component="quipu",cluster=~"$cluster"}) or vector(0)',
                 "Alerts of rules.yaml that fire now.", thresholds=[(None, GREEN), (1, YELLOW)]),
        ]),
        Row("Traffic", [
            graph("Bytes in and out", [
                Query(rate("quipu_topic_in_bytes_total", NODE), "in"),
                Query(rate("quipu_topic_out_bytes_total", NODE), "out"),
            ], "Bytes of batches, as clients send and read them; replication is not counted.", "Bps", is_key=True),
            graph("Records in", [Query(rate("quipu_topic_records_in_total", NODE, "instance"), "{{instance}}")],
                  "Records acknowledged, by the node that leads their partition.", "cps", stack=True, is_key=True),
            graph("Requests by api", [Query(rate("quipu_requests_total", NODE, "api"), "{{api}}")],
                  "Answered requests.", "reqps"),
            graph("Produce latency",
                  quantiles("quipu_request_duration_seconds", f'{NODE},api="produce"', 0.5, 0.95, 0.99),
                  "From a produce request to its acknowledgement.", "s", runbooks=["FlushSlow"], is_key=True),
            graph("Fetch latency", quantiles("quipu_request_duration_seconds", f'{NODE},api="fetch"', 0.5, 0.99),
                  "From a fetch request to its answer. A fetch at the end of a log waits for records: "
                  "that time is in it.", "s"),
            graph("Errors by api", [
                Query(f"({rate('quipu_requests_total', FAULTY, 'api')} or 0 * {rate('quipu_requests_total', NODE, 'api')})"
                      f" / {rate('quipu_requests_total', NODE, 'api')}", "{{api}}"),
            ], "Requests that failed through no fault of their sender, as a part of all.", "percentunit",
                  thresholds=[(None, GREEN), (0.01, RED)], line=True, runbooks=["RequestErrors"]),
            graph("Answers that are no success", [
                Query(rate("quipu_requests_total", f'{NODE},error!="OK"', "api, error"), "{{api}} {{error}}"),
            ], "All errors, those of senders included. NOT_LEADER is how clients learn of a new leader.", "reqps"),
            graph("Panics", [Query(f"sum by (instance, api) (increase(quipu_request_panics_total{{{NODE}}}{RATE}))",
                                   "{{instance}} {{api}}")],
                  "Requests that ended in a defect of the server.", runbooks=["RequestPanics"]),
            graph("Connections", [
                Query(f"sum by (listener) (quipu_connections{{{NODE}}})", "{{listener}}"),
            ], "Open connections: of clients, of other nodes, of those who read metrics and health."),
            graph("Open streams", [Query(f"sum by (api) (quipu_listener_streams{{{NODE}}})", "{{api}}")],
                  "Streams that clients hold open."),
        ]),
        Row("Nodes", [
            graph("CPU", [Query(f"rate(process_cpu_seconds_total{{{NODE}}}{RATE})", "{{instance}}")],
                  "Cores in use.", "short", runbooks=["CrashLoop"], is_key=True),
            graph("Memory", [Query(f"process_resident_memory_bytes{{{NODE}}}", "{{instance}}")],
                  "Resident memory.", "bytes", is_key=True),
            graph("Memory for requests", [Query(f"quipu_memory_permits_used_ratio{{{NODE}}}", "{{instance}}")],
                  "Part of limits.request-memory in use. At 1, connections wait before they are read.",
                  "percentunit", thresholds=[(None, GREEN), (0.9, RED)], line=True, maximum=1,
                  runbooks=["MemoryFull"]),
            graph("Open files", [Query(f"process_open_fds{{{NODE}}}", "{{instance}}")], "File descriptors in use."),
            graph("Threads", [Query(f"process_threads{{{NODE}}}", "{{instance}}")], "Threads of the process."),
            graph("Traffic between nodes", [
                Query(rate("quipu_peer_bytes_total", NODE, "direction"), "{{direction}}"),
            ], "Bytes of Raft messages: what is written goes to each follower once.", "Bps",
                  runbooks=["PeerDisconnected"]),
            table("Nodes", {
                "Release": (f"max by (instance, version) (quipu_build_info{{{NODE}}})", "short"),
                "Up for": (f"time() - max by (instance) (process_start_time_seconds{{{NODE}}})", "s"),
                "Shards": (f"max by (instance) (quipu_node_shards_open{{{NODE}}})", "short"),
                "Leads": (f"max by (instance) (quipu_node_shards_led{{{NODE}}})", "short"),
                "Disk free": (f"min by (instance) (quipu_disk_free_bytes{{{NODE}}})", "bytes"),
                "Controller": (f"max by (instance) (quipu_controller_is_leader{{{NODE}}})", "short"),
            }, "Every node: its release, its share of the shards and of leaderships.", runbooks=["VersionSkew"]),
        ]),
    ],
)

TOPICS_BOARD = Dashboard(
    "quipu-topics", "Quipu / Topics",
    "What each topic takes in, gives out, holds and lets go.",
    [JOB, CLUSTERS, TOPICS],
    [
        Row("All", [
            table("Topics", {
                "Bytes in": (rate("quipu_topic_in_bytes_total", TOPIC, "topic"), "Bps"),
                "Records in": (rate("quipu_topic_records_in_total", TOPIC, "topic"), "cps"),
                "Bytes out": (rate("quipu_topic_out_bytes_total", TOPIC, "topic"), "Bps"),
                "Size": (f"sum by (topic) (quipu_topic_size_bytes{{{TOPIC}}})", "bytes"),
                "Partitions": (f"max by (topic) (quipu_topic_partitions{{{TOPIC}}})", "short"),
                "Retention": (f"max by (topic) (quipu_topic_retention_seconds{{{TOPIC}}})", "s"),
                "Oldest record": (f"max by (topic) (quipu_topic_oldest_record_age_seconds{{{TOPIC}}})", "s"),
            }, "Size is one copy, as leaders hold it; +Inf: age removes nothing.", sort="Bytes in",
                  runbooks=["ConsumerWillLoseData"]),
        ]),
        Row("Traffic", [
            graph("Bytes in by topic", [Query(rate("quipu_topic_in_bytes_total", TOPIC, "topic"), "{{topic}}")],
                  "Bytes of batches acknowledged, repeats left out.", "Bps", width=12, stack=True, is_key=True),
            graph("Bytes out by topic", [Query(rate("quipu_topic_out_bytes_total", TOPIC, "topic"), "{{topic}}")],
                  "Bytes of batches read.", "Bps", width=12, stack=True, is_key=True),
            graph("Records in by topic", [Query(rate("quipu_topic_records_in_total", TOPIC, "topic"), "{{topic}}")],
                  "Records acknowledged, repeats left out.", "cps", width=12, is_key=True),
            Panel("Largest 15 by bytes in", "bargauge", [
                Query(f"topk(15, {rate('quipu_topic_in_bytes_total', TOPIC, 'topic')})", "{{topic}}", instant=True),
            ], "Bps", "The topics that most is written to now.", width=12),
            graph("Mean size of a record", [
                Query(f"{rate('quipu_topic_in_bytes_total', TOPIC, 'topic')}"
                      f" / ({rate('quipu_topic_records_in_total', TOPIC, 'topic')} > 0)", "{{topic}}"),
            ], "As it is sent: compressed, its share of the batch header included.", "bytes", width=12),
            graph("Repeats recognised", [
                Query(rate("quipu_topic_duplicate_batches_total", TOPIC, "topic"), "{{topic}}"),
            ], "Batches that a producer sent again and that were stored before: not stored twice.", "ops", width=12),
        ]),
        Row("Size", [
            graph("Size by topic", [Query(f"sum by (topic) (quipu_topic_size_bytes{{{TOPIC}}})", "{{topic}}")],
                  "One copy of the topic.", "bytes", width=8, stack=True, is_key=True),
            graph("Growth in an hour", [
                Query(f"sum by (topic) (deriv(quipu_topic_size_bytes{{{TOPIC}}}[15m])) * 3600", "{{topic}}"),
            ], "As fast as in the last fifteen minutes.", "bytes", width=8),
            graph("Records deleted by reason", [
                Query(rate("quipu_topic_records_deleted_total", TOPIC, "reason"), "{{reason}}"),
            ], "age and size: retention; request: by hand; compaction: a newer record has the key.",
                  "cps", width=8, runbooks=["ConsumerLostData"]),
        ]),
        Row("Where the load is", [
            Panel("Hottest 15 shards", "bargauge", [
                Query(f"topk(15, {rate('quipu_shard_bundle_bytes_sum', CLUSTER, 'shard')})", "shard {{shard}}",
                      instant=True),
            ], "Bps", "Bytes proposed by shard. `quipu topic describe` says which partitions a shard hosts, "
                      "`quipu partition move` brings one to another.", width=12),
            graph("Shards led by node", [Query(f"sum by (instance) (quipu_node_shards_led{{{CLUSTER}}})",
                                               "{{instance}}")],
                  "An even share is the aim; `quipu cluster rebalance --dry-run` says what would move.", width=6),
            graph("Partitions on the move", [
                Query(f"max(quipu_cluster_partitions_moving{{{CLUSTER}}})", "moving"),
            ], "Partitions on their way to another shard.", width=6),
        ]),
    ],
)

LAG_BY_GROUP = f"sum by (group, topic) (quipu_group_lag_messages{{{GROUP}}})"
LAG_SECONDS = f"max by (group, topic) (quipu_group_lag_seconds{{{GROUP}}})"
# How fast lag shrinks: read minus written.
CATCHING_UP = f"(-sum by (group, topic) (deriv(quipu_group_lag_messages{{{GROUP}}}[1m])) > 0)"
# Who is a few seconds behind has caught up: what is left is what is under way.
TIME_TO_CATCH_UP = f"({LAG_BY_GROUP} / {CATCHING_UP} and {LAG_SECONDS} >= 10) or 0 * ({LAG_SECONDS} < 10)"

CONSUMERS = Dashboard(
    "quipu-consumers", "Quipu / Consumer lag",
    "Which groups are behind, by how much, and whether they catch up.",
    [JOB, CLUSTERS, TOPICS, GROUPS],
    [
        Row("Lag", [
            graph("Lag by group and topic", [Query(LAG_BY_GROUP, "{{group}} {{topic}}")],
                  "Records that a group has not read, as its coordinator reports. The line is where an alert "
                  "begins.", width=12, thresholds=[(None, GREEN), (1000, RED)], line=True,
                  runbooks=["ConsumerLagHigh", "ConsumerLagGrowing"], is_key=True),
            graph("Lag in time", [
                Query(LAG_SECONDS, "{{group}} {{topic}}"),
            ], "Age of the oldest record that a group has not read.", "s", width=12,
                  runbooks=["ConsumerWillLoseData"], is_key=True),
            graph("Time to catch up", [Query(TIME_TO_CATCH_UP, "{{group}} {{topic}}")],
                  "Lag divided by how fast it shrinks: read minus written. 0: less than ten seconds behind. No "
                  "line: the group does not catch up at this rate.", "s", width=12,
                  runbooks=["ConsumerLagGrowing", "ConsumerStalled"], is_key=True),
            graph("Lag by service", [Query("sum(consumer_lag_messages) by (service)", "{{service}}")],
                  "As the members of a service report it themselves.", width=12, runbooks=["ConsumerLagHigh"],
                  thresholds=[(None, GREEN), (1000, RED)], line=True),
        ]),
        Row("Speed", [
            graph("Written to what groups read", [
                Query(rate("quipu_topic_records_in_total", TOPIC, "topic"), "{{topic}}"),
            ], "Records a second that come in: what a group has to keep up with.", "cps", width=12, is_key=True),
            graph("Read and acknowledged", [
                Query(f"sum by (group, topic) (clamp_min(deriv(quipu_group_committed_offset{{{GROUP}}}[5m]), 0))",
                      "{{group}} {{topic}}"),
            ], "How fast the stored positions move, over five minutes.", "cps", width=12,
                  runbooks=["ConsumerStalled"], is_key=True),
        ]),
        Row("Groups", [
            table("Groups", {
                "Lag": (LAG_BY_GROUP, "short"),
                "Lag in time": (LAG_SECONDS, "s"),
                "Time to catch up": (TIME_TO_CATCH_UP, "s"),
                "Stored positions": (f"sum by (group, topic) (quipu_group_committed_offset{{{GROUP}}})", "short"),
            }, "The group that is furthest behind first. `quipu group stuck` says where it stands still, and why.",
                  sort="Lag", runbooks=["ConsumerStalled"]),
            graph("Since members asked for events", [
                Query('time() - max by (service, group) (consumer_last_poll_timestamp_seconds)', "{{service}} {{group}}"),
            ], "A member that does not ask has stopped, or its handler hangs.", "s", runbooks=["ConsumerStalled"]),
            graph("Skipped by readers", [
                Query(f"sum by (service, topic, reason) (increase(events_skipped_total{RATE}))",
                      "{{service}} {{topic}} {{reason}}"),
            ], "Events that readers did not get: removed before, or passed over because they go on at the end.",
                  runbooks=["ConsumerLostData"]),
            graph("Members", [
                Query(f'sum by (group) (quipu_group_members{{{CLUSTER},group=~"$group"}})', "{{group}}"),
            ], "Members that the coordinator hears.", runbooks=["ConsumerStalled"]),
            graph("Rebalances", [
                Query(f'sum by (group) (increase(quipu_group_rebalances_total{{{CLUSTER},group=~"$group"}}{RATE}))',
                      "{{group}}"),
            ], "How often a group's assignment was computed: members that come and go."),
            graph("Deleted before they were read", [
                Query(f'sum by (group) (increase(quipu_group_unread_deleted_total{{{CLUSTER},group=~"$group"}}{RATE}))',
                      "{{group}}"),
            ], "Records that are gone for the group.", runbooks=["ConsumerLostData"]),
        ]),
    ],
)

STORAGE = Dashboard(
    "quipu-raft-storage", "Quipu / Raft and storage",
    "Where the time of an acknowledgement goes, how far followers are, and what the disks do.",
    [JOB, CLUSTERS, NODES],
    [
        Row("Time of an acknowledgement", [
            graph("Commit", quantiles("quipu_raft_commit_seconds", NODE, 0.5, 0.95, 0.99),
                  "From a proposal on a leader to its reply: replicated, flushed by a quorum, applied.", "s",
                  runbooks=["FlushSlow"], is_key=True),
            graph("Flush, p99 by node", [
                Query(quantile(0.99, "quipu_journal_flush_seconds", NODE, "instance"), "{{instance}}"),
            ], "Time of one fdatasync of the journal. A quorum waits for its second fastest node.", "s",
                  thresholds=[(None, GREEN), (0.25, RED)], line=True, runbooks=["FlushSlow"], is_key=True),
            graph("Where a produce request spends its time, p99", [
                Query(quantile(0.99, "quipu_request_duration_seconds", f'{NODE},api="produce"'), "whole request"),
                *(Query(quantile(0.99, "quipu_request_phase_seconds", f'{NODE},api="produce",phase="{phase}"'), phase)
                  for phase in ("queue", "append", "replicate", "respond")),
            ], "queue: until there was room and it was proposed; append: until the leader's disk had it; replicate: "
               "until a quorum had it; respond: until the client took the answer.", "s", is_key=True),
            graph("Frames in one flush", [Query(mean("quipu_journal_batch_records", NODE, "instance"), "{{instance}}")],
                  "How many frames of all shards share a flush, on average: more under load."),
            graph("Commands in one bundle", [Query(mean("quipu_shard_bundle_commands", NODE, "instance"),
                                                   "{{instance}}")],
                  "How many appends share a Raft entry, on average."),
            graph("Waiting to be bundled", [Query(f"sum by (instance) (quipu_shard_queue_bytes{{{NODE}}})",
                                                  "{{instance}}")],
                  "Bytes in the queues of shards.", "bytes", runbooks=["MemoryFull"]),
        ]),
        Row("Raft", [
            graph("Leadership changes", [
                Query(f"sum by (instance) (increase(quipu_raft_leadership_changes_total{{{NODE}}}{RATE}))",
                      "{{instance}}"),
                Query(f"sum(increase(quipu_raft_fast_elections_total{{{NODE}}}{RATE}))", "campaigns for a dead node"),
            ], "New leaders that replicas have seen.", runbooks=["LeadershipChurn"]),
            graph("Replicas by state", [Query(f"sum by (state) (quipu_raft_groups{{{NODE}}})", "{{state}}")],
                  "Leaders, followers, and those that are neither.", stack=True, runbooks=["LeaderlessPartitions"]),
            graph("Follower lag", [
                Query(f"max by (instance, peer) (quipu_raft_follower_lag_entries{{{NODE}}})",
                      "{{instance}} to node {{peer}}"),
            ], "Entries that a node's disk lacks, in the worst shard that the other leads.",
                  runbooks=["UnderReplicated"], is_key=True),
            graph("Connections between nodes", [
                Query(f"min by (instance, peer) (quipu_peer_connected{{{NODE}}})", "{{instance}} to node {{peer}}"),
            ], "1 while there is one.", maximum=1, runbooks=["PeerDisconnected"]),
            graph("Copies for other nodes", [
                Query(rate("quipu_snapshot_bytes_total", NODE, "direction"), "{{direction}}"),
                Query(f"min(quipu_catch_up_rate_bytes{{{NODE}}})", "allowed now, slowest node"),
            ], "Snapshots, and the rate they may take now: less while appends suffer.", "Bps",
                  runbooks=["NodeRebuilding"]),
            graph("Snapshots to come", [
                Query(f"sum by (instance) (quipu_shard_snapshot_records_missing{{{NODE}}})", "{{instance}}"),
            ], "Records of snapshots that are received and still to come.", runbooks=["NodeRebuilding"]),
        ]),
        Row("Disk", [
            graph("Disk free", [
                Query(f"min by (instance) (quipu_disk_free_bytes{{{NODE}}})", "{{instance}}"),
                Query(f"max(quipu_disk_required_bytes{{{NODE}}})", "writes are refused below"),
            ], "On the disk of the data directory.", "bytes", runbooks=["DiskLow", "WritesRefused"], is_key=True),
            graph("Disk free in a day", [
                Query(f"clamp_min(min by (instance) (predict_linear(quipu_disk_free_bytes{{{NODE}}}[1h], 86400)), 0)",
                      "{{instance}}"),
            ], "If the last hour goes on.", "bytes", runbooks=["DiskFillsSoon"]),
            graph("Written", [
                Query(rate("quipu_journal_bytes_total", NODE), "journal"),
                Query(rate("quipu_segment_written_bytes_total", NODE), "segments"),
            ], "Bytes written by all nodes together.", "Bps", is_key=True),
            graph("Flushes", [Query(rate("quipu_journal_flushes_total", NODE, "instance"), "{{instance}}")],
                  "Flushes of the journal a second.", "ops"),
            graph("Journal files", [Query(f"max by (instance) (quipu_journal_files{{{NODE}}})", "{{instance}}")],
                  "Files with live entries. They go when a checkpoint covers them."),
            graph("Since the last checkpoint", [
                Query(f"sum by (instance) (quipu_shard_checkpoint_debt_bytes{{{NODE}}})", "{{instance}}"),
            ], "Bytes that a restart would apply again.", "bytes"),
            graph("Checkpoint, p99", [
                Query(quantile(0.99, "quipu_shard_checkpoint_seconds", NODE, "instance"), "{{instance}}"),
            ], "Time to make a checkpoint durable.", "s"),
            graph("Damage", [
                Query(f"sum by (instance) (increase(quipu_segment_corruptions_total{{{NODE}}}{RATE}))",
                      "found, {{instance}}"),
                Query(f"sum by (instance) (increase(quipu_segment_mended_total{{{NODE}}}{RATE}))",
                      "mended, {{instance}}"),
            ], "Damaged places found, and segments replaced by another replica's copy.", runbooks=["DataCorrupt"]),
            graph("Replicas to be rebuilt", [Query(f"sum by (instance) (quipu_node_rebuilding{{{NODE}}})",
                                                   "{{instance}}")],
                  "Replicas of a node that lost its journal, until others have fed them.",
                  runbooks=["NodeRebuilding"]),
        ]),
    ],
)

PUBLISHED = "rate(event_published_total[5m])"

APPLICATIONS = Dashboard(
    "quipu-applications", "Quipu / Applications",
    "What services say of themselves: what they publish and process, their breakers and dead letters.",
    [CLUSTERS, SERVICES],
    [
        Row("Publish", [
            graph("Published", [
                Query(f"sum by (service, topic) (rate(event_published_total{{{SERVICE}}}[5m]))", "{{service}} {{topic}}"),
            ], "Events a second that were acknowledged.", "cps", is_key=True),
            graph("Publish error rate", [
                Query(f"sum by (service) (rate(event_publish_errors_total{{{SERVICE}}}[5m]))"
                      f" / sum by (service) (rate(event_published_total{{{SERVICE}}}[5m]))", "{{service}}"),
            ], "Failed after all retries, divided by acknowledged. The line is where an alert begins.", "percentunit",
                  thresholds=[(None, GREEN), (0.01, RED)], line=True, runbooks=["PublishErrorRate"], is_key=True),
            graph("Publish errors", [
                Query(f"sum by (service, error) (rate(event_publish_errors_total{{{SERVICE}}}[5m]))",
                      "{{service}} {{error}}"),
            ], "By error code.", "cps", runbooks=["PublishErrorRate"]),
            Panel("Publish latency", "heatmap", [
                Query(f"sum by (le) (increase(event_publish_duration_seconds_bucket{{{SERVICE}}}{RATE}))", "{{le}}"),
            ], "s", "From the first event of a batch being handed over to its acknowledgement.", width=12),
            graph("Publish latency, p50 and p99",
                  quantiles("event_publish_duration_seconds", SERVICE, 0.5, 0.99), "The same as lines.", "s", width=12,
                  is_key=True),
        ]),
        Row("Process", [
            graph("Processed", [
                Query(f"sum by (service, topic) (rate(event_consumed_total{{{SERVICE}}}[5m]))", "{{service}} {{topic}}"),
            ], "Events a second that were handed to a handler.", "cps"),
            graph("Processing error rate", [
                Query(f"sum by (service) (rate(event_processing_errors_total{{{SERVICE}}}[5m]))"
                      f" / sum by (service) (rate(event_consumed_total{{{SERVICE}}}[5m]))", "{{service}}"),
            ], "Events whose handler failed.", "percentunit", thresholds=[(None, GREEN), (0.01, RED)], line=True,
                  runbooks=["ProcessingErrorRate"]),
            graph("Lag by service", [Query("sum(consumer_lag_messages) by (service)", "{{service}}")],
                  "Events that the members of a service have not processed.",
                  thresholds=[(None, GREEN), (1000, RED)], line=True, runbooks=["ConsumerLagHigh"]),
            Panel("Processing time", "heatmap", [
                Query(f"sum by (le) (increase(event_processing_duration_seconds_bucket{{{SERVICE}}}{RATE}))", "{{le}}"),
            ], "s", "From a handler being called to its return.", width=12),
            graph("Processing time, p50 and p99",
                  quantiles("event_processing_duration_seconds", SERVICE, 0.5, 0.99), "The same as lines.", "s", width=12,
                  is_key=True),
        ]),
        Row("Circuit breakers", [
            Panel("State", "state-timeline", [
                Query(f"max by (service, breaker) (circuit_breaker_state{{{SERVICE}}} == 1)"
                      f" or max by (service, breaker) (circuit_breaker_state{{{SERVICE}}})", "{{service}} {{breaker}}"),
            ], about="OPEN as soon as one instance's breaker is.", width=12, is_key=True,
                  mappings={0: ("CLOSED", GREEN), 1: ("OPEN", RED), 2: ("HALF OPEN", YELLOW)}, runbooks=["CircuitOpen"]),
            graph("Calls", [
                Query(f"sum by (service, breaker) (rate(circuit_breaker_failures_total{{{SERVICE}}}[5m]))",
                      "failed {{service}} {{breaker}}"),
                Query(f"sum by (service, breaker) (rate(circuit_breaker_successes_total{{{SERVICE}}}[5m]))",
                      "succeeded {{service}} {{breaker}}"),
            ], "Calls through the breaker.", "ops", width=12, runbooks=["CircuitOpen"]),
        ]),
        Row("Dead letters", [
            graph("Waiting", [Query("sum by (topic) (quipu_dlq_messages)", "{{topic}}")],
                  "Dead letters that nobody has resolved. The line is where an alert begins.",
                  thresholds=[(None, GREEN), (100, RED)], line=True, runbooks=["DlqTooLarge"], is_key=True),
            graph("Given up", [
                Query(f"sum by (service) (increase(dlq_messages_total{{{SERVICE}}}{RATE}))", "{{service}}"),
            ], "Events that went to a dead-letter topic.", runbooks=["DlqGrowing"]),
            graph("Retried", [
                Query(f"sum by (service, result) (increase(dlq_retries_total{{{SERVICE}}}{RATE}))",
                      "{{service}} {{result}}"),
            ], "Dead letters that were tried again, by how it ended.", runbooks=["DlqTooLarge"]),
        ]),
        Row("Queries of the metrics guide", [
            graph("sum(consumer_lag_messages) by (service)",
                  [Query("sum(consumer_lag_messages) by (service)", "{{service}}")], "Consumer lag by service.", width=6),
            graph("rate(event_published_total[5m])", [Query(PUBLISHED)], "Event publishing rate.", "cps", width=6),
            graph("rate(event_publish_errors_total[5m]) / rate(event_published_total[5m])",
                  [Query(f"sum without (error) (rate(event_publish_errors_total[5m])) / {PUBLISHED}")],
                  "Error rate; errors of all codes together.", "percentunit", width=6),
            graph("circuit_breaker_state{service=…}", [Query(f"circuit_breaker_state{{{SERVICE}}}")],
                  "0 = CLOSED, 1 = OPEN, 2 = HALF_OPEN.", width=6, maximum=2),
        ], is_collapsed=True),
    ],
)

WORKFLOWS = Dashboard(
    "quipu-workflows", "Quipu / Workflows",
    "Instances of workflows, their steps and compensations.",
    [JOB, CLUSTERS],
    [
        Row("Workflows", [
            Panel("", "text", about="", width=24, height=2,
                  text="For services with workflows. Without, there are no such series, and the panels are empty."),
            graph("Instances by state", [
                Query(f"sum by (workflow, state) (quipu_workflow_instances{{{CLUSTER}}})", "{{workflow}} {{state}}"),
            ], "Instances that are not over, and those that ended and are kept.", width=12, stack=True),
            graph("Step latency, p99", [
                Query(quantile(0.99, "quipu_workflow_step_seconds", CLUSTER, "workflow, step"), "{{workflow}} {{step}}"),
            ], "From a step's start to its result.", "s", width=12),
            graph("Compensations", [
                Query(rate("quipu_workflow_compensations_total", CLUSTER, "workflow, result"), "{{workflow}} {{result}}"),
            ], "Steps that were undone, and those that could not be.", "ops", width=12, runbooks=["CompensationFailed"]),
            graph("Timers overdue", [Query(f"max by (workflow) (quipu_timers_overdue{{{CLUSTER}}})", "{{workflow}}")],
                  "Timers whose time is over and that nobody took.", width=12, runbooks=["WorkflowStuck"]),
        ]),
    ],
)

SECURITY = Dashboard(
    "quipu-security", "Quipu / Security",
    "Who is turned away, and which certificates end.",
    [JOB, CLUSTERS, NODES],
    [
        Row("Requests refused as a whole", [
            graph("Refused requests by error", [
                Query(rate("quipu_listener_refused_requests_total", NODE, "error"), "{{error}}"),
            ], "Requests that no handler could read: malformed, too large, meant for another cluster.", "reqps",
                  width=12),
            graph("Producers refused", [Query(rate("quipu_partition_refused_total", NODE, "reason"), "{{reason}}")],
                  "Batches of producers that are fenced, unknown or out of order, on every replica.", "ops", width=12),
        ]),
        Row("Authentication and TLS", [
            Panel("", "text", about="", width=24, height=2,
                  text="For nodes with authentication and TLS. Without, there are no such series, and the panels "
                       "are empty."),
            graph("Failed logins", [
                Query(rate("quipu_auth_failures_total", NODE, "mechanism, reason"), "{{mechanism}} {{reason}}"),
            ], "By mechanism and reason.", "ops", runbooks=["AuthFailures"]),
            graph("Denied operations", [Query(rate("quipu_authz_denied_total", NODE, "operation"), "{{operation}}")],
                  "Operations that an access rule denied.", "ops"),
            graph("Certificates", [
                Query(f"(min by (instance, listener) (quipu_tls_cert_not_after_seconds{{{NODE}}}) - time()) / 86400",
                      "{{instance}} {{listener}}"),
            ], "Days until they end.", "d", thresholds=[(None, RED), (14, GREEN)], line=True, runbooks=["CertExpiry"]),
        ]),
    ],
)

DASHBOARDS = {
    "overview": OVERVIEW,
    "topics": TOPICS_BOARD,
    "consumers": CONSUMERS,
    "raft-storage": STORAGE,
    "applications": APPLICATIONS,
    "workflows": WORKFLOWS,
    "security": SECURITY,
}


def files():
    """The path of each dashboard, and what is to be in it."""
    everything = list(DASHBOARDS.values())
    for name, dashboard in DASHBOARDS.items():
        drawn = dashboard_json(dashboard, everything, RUNBOOKS)
        yield HERE / f"{name}.json", json.dumps(drawn, indent=1, ensure_ascii=False) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is not current")
    check = parser.parse_args().check
    stale = []
    for path, wanted in files():
        if path.exists() and path.read_text() == wanted:
            continue
        stale.append(path.name)
        if not check:
            path.write_text(wanted)
    known = {path for path, _ in files()}
    strays = [path.name for path in HERE.glob("*.json") if path not in known]
    if check and (stale or strays):
        sys.exit(f"not what dashboards.py writes: {', '.join(stale + strays)}; run deploy/grafana/dashboards.py")
    print(f"{len(DASHBOARDS)} dashboards, " + ("current" if check else f"{len(stale)} written"))


if __name__ == "__main__":
    main()
