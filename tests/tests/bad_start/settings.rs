//! Settings that are refused, and the words.

/// Name, text of the file, words. `{base}` takes three lines, so that what follows is line 4 on.
pub(crate) const FILES: &[(&str, &str, &str)] = &[
    // --- keys nobody knows ---
    (
        "a typing error",
        "{base}[raft]\nhartbeat = \"150ms\"\n",
        "{file}:5: unknown setting \"raft.hartbeat\"; did you mean \"raft.heartbeat\"?",
    ),
    (
        "another key altogether",
        "{base}[kafka]\nzookeeper = \"z:2181\"\n",
        "{file}:5: unknown setting \"kafka.zookeeper\"; `quipu config reference` lists all",
    ),
    (
        "a key without a section",
        "port = 9192\n",
        "{file}:1: unknown setting \"port\"; `quipu config reference` lists all",
    ),
    (
        "a key in another section",
        "{base}[journal]\nheartbeat = \"150ms\"\n",
        "{file}:5: unknown setting \"journal.heartbeat\"; `quipu config reference` lists all",
    ),
    (
        "underscores",
        "{base}[raft]\nelection_min = \"1s\"\n",
        "{file}:5: unknown setting \"raft.election_min\"; did you mean \"raft.election-min\"?",
    ),
    (
        "a table within a section",
        "{base}[raft.election]\nmin = \"1s\"\n",
        "{file}:4: unknown setting \"raft.election\"; did you mean \"raft.election-max\"?",
    ),
    // --- wrong types ---
    (
        "a text for a number",
        "[node]\nid = \"one\"\n",
        "{file}:2: node.id = \"one\": not a whole number",
    ),
    ("a fraction", "[node]\nid = 1.5\n", "{file}:2: node.id = \"1.5\": not a whole number"),
    (
        "a truth for a number",
        "[node]\nid = true\n",
        "{file}:2: node.id = \"true\": not a whole number",
    ),
    ("a negative number", "[node]\nid = -1\n", "{file}:2: node.id = \"-1\": not a whole number"),
    (
        "a date for a number",
        "[node]\nid = 2026-01-01\n",
        "{file}:2: node.id = \"2026-01-01\": not a whole number",
    ),
    (
        "a table for a number",
        "[node]\nid = { a = 1 }\n",
        "{file}:2: node.id = \"{…}\": not a whole number",
    ),
    (
        "a list for a number",
        "[node]\nid = [1, 2]\n",
        "{file}:2: node.id = \"1,2\": not a whole number",
    ),
    (
        "a number for a duration",
        "{base}[raft]\nheartbeat = 150\n",
        "{file}:5: raft.heartbeat = \"150\": not a duration, for example 150ms, 30s or 5m",
    ),
    (
        "a word for a size",
        "{base}[journal]\nfile-bytes = \"huge\"\n",
        "{file}:5: journal.file-bytes = \"huge\": \"huge\" is not a size…\n",
    ),
    (
        "a word for an address",
        "{base}[listeners]\nclient = \"localhost\"\n",
        "{file}:5: listeners.client = \"localhost\": not ip:port, for example 0.0.0.0:9192",
    ),
    (
        "a port above 65535",
        "{base}[listeners]\npeer = \"127.0.0.1:70000\"\n",
        "{file}:5: listeners.peer = \"127.0.0.1:70000\": not ip:port, for example 0.0.0.0:9192",
    ),
    (
        "a number for an address",
        "{base}[listeners]\nmetrics = 9644\n",
        "{file}:5: listeners.metrics = \"9644\": not ip:port, for example 0.0.0.0:9192",
    ),
    (
        "an advertised host without a port",
        "{base}[listeners]\nclient-advertise = \"host\"\n",
        "{file}:5: listeners.client-advertise = \"host\": \"host\" is not host:port",
    ),
    (
        "a log format nobody knows",
        "{base}[log]\nformat = \"xml\"\n",
        "{file}:5: log.format = \"xml\": expected auto, text or json",
    ),
    (
        "no data directory",
        "[node]\nid = 1\ndata-dir = \"\"\n",
        "{file}:3: node.data-dir = \"\": must not be empty",
    ),
    // --- out of bounds ---
    (
        "a node id of 0",
        "[node]\nid = 0\n",
        "{file}:2: node.id = \"0\": out of bounds; expected a number 1 to 1000000",
    ),
    (
        "a node id above a million",
        "[node]\nid = 1000001\n",
        "{file}:2: node.id = \"1000001\": out of bounds; expected a number 1 to 1000000",
    ),
    (
        "a number beyond 64 bits",
        "[node]\nid = \"99999999999999999999\"\n",
        "{file}:2: node.id = \"99999999999999999999\": not a whole number",
    ),
    (
        "no threads",
        "{base}worker-threads = 0\n",
        "{file}:4: node.worker-threads = \"0\": out of bounds; expected a number 1 to 256",
    ),
    (
        "no shards",
        "{base}[cluster]\nshards-per-node = 0\n",
        "{file}:5: cluster.shards-per-node = \"0\": out of bounds; expected a number 1 to 64",
    ),
    (
        "a journal file of a kilobyte",
        "{base}[journal]\nfile-bytes = \"1KiB\"\n",
        "{file}:5: journal.file-bytes = \"1KiB\": out of bounds; expected a size 4MiB to 4GiB",
    ),
    (
        "a heartbeat of 1 ms",
        "{base}[raft]\nheartbeat = \"1ms\"\n",
        "{file}:5: raft.heartbeat = \"1ms\": out of bounds; expected a duration 20ms to 10000ms",
    ),
    (
        "a negative duration",
        "{base}[raft]\nheartbeat = \"-1s\"\n",
        "{file}:5: raft.heartbeat = \"-1s\": not a duration, for example 150ms, 30s or 5m",
    ),
    (
        "a flush that never comes",
        "{base}[journal]\nflush = \"0s\"\n",
        "{file}:5: journal.flush = \"0s\": expected \"always\" or a duration of 1ms to 60s",
    ),
    (
        "too little memory for requests",
        "{base}[limits]\nrequest-memory = \"1MiB\"\n",
        "{file}:5: limits.request-memory = \"1MiB\": out of bounds; expected a size 64MiB to 64GiB",
    ),
    (
        "a checkpoint every day and a second",
        "{base}[storage]\ncheckpoint-interval = \"86401s\"\n",
        "{file}:5: storage.checkpoint-interval = \"86401s\": out of bounds; expected a duration 100ms to 86400000ms",
    ),
    // --- lists of nodes ---
    (
        "a peer without an address",
        "{base}[cluster]\nbootstrap = [\"1\"]\n",
        "{file}:5: cluster.bootstrap = \"1\": \"1\" is not id@host:port",
    ),
    (
        "a peer without a number",
        "{base}[cluster]\nbootstrap = [\"x@h:1\"]\n",
        "{file}:5: cluster.bootstrap = \"x@h:1\": \"x\" in \"x@h:1\" is not a node id",
    ),
    (
        "a peer on port 0",
        "{base}[cluster]\nbootstrap = [\"1@h:0\"]\n",
        "{file}:5: cluster.bootstrap = \"1@h:0\": \"h:0\" is not host:port",
    ),
    (
        "a peer twice",
        "{base}[cluster]\nbootstrap = [\"1@h:1\", \"1@i:1\"]\n",
        "{file}:5: cluster.bootstrap = \"1@h:1,1@i:1\": node 1 is listed twice",
    ),
    // --- contradictions ---
    (
        "an election before three heartbeats",
        "{base}[raft]\nelection-min = \"200ms\"\n",
        "raft.election-min (200ms) must be at least three times raft.heartbeat (300ms)",
    ),
    (
        "elections together",
        "{base}[raft]\nelection-max = \"800ms\"\n",
        "raft.election-max (800ms) must be at least 1.5 times raft.election-min (1s)",
    ),
    (
        "a bootstrap list without this node",
        "{base}[cluster]\nbootstrap = [\"2@h:1\"]\n",
        "node.id 1 is not in cluster.bootstrap: list every first node, this one included",
    ),
    // --- not TOML ---
    ("no value", "[node]\nid =\n", "{file}:2: …\n"),
    ("no quotes", "{base}rack = a b\n", "{file}:4: …\n"),
    ("a quote that does not end", "{base}rack = \"a\n", "{file}:4: …\n"),
    ("a section that does not end", "{base}[raft\nheartbeat = \"150ms\"\n", "{file}:4: …\n"),
    ("a key twice", "[node]\nid = 1\nid = 2\n", "{file}:3: …\n"),
    ("a section twice", "{base}[node]\nrack = \"a\"\n", "{file}:4: …\n"),
    ("another language", "node:\n  id: 1\n", "{file}:1: …\n"),
    // --- missing ---
    (
        "no number",
        "[node]\nrack = \"a\"\n",
        "setting node.id is missing: put it into the file, set QUIPU_NODE__ID, or pass --set node.id=…",
    ),
    (
        "no directory",
        "[node]\nid = 1\n",
        "setting node.data-dir is missing: put it into the file, set QUIPU_NODE__DATA_DIR, or pass --set node.data-dir=…",
    ),
    // --- found only when used ---
    (
        "a log filter that is none",
        "{base}[log]\nfilter = \"info,,=[\"\n",
        "{file}:5: log.filter = \"info,,=[\": …\n",
    ),
];
