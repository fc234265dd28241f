//! Flags and variables that are refused, and the words.

/// Flags beside a good number and directory, and the words.
pub(crate) const FLAGS: &[(&[&str], &str)] = &[
    (
        &["raft.hartbeat=1"],
        "command line: unknown setting \"raft.hartbeat\"; did you mean \"raft.heartbeat\"?",
    ),
    (&["raft.heartbeat"], "command line: raft.heartbeat = \"\": write --set section.key=value"),
    (&[""], "command line:  = \"\": write --set section.key=value"),
    (&["=1"], "command line: unknown setting \"\"; `quipu config reference` lists all"),
    (&["node.id="], "command line: node.id = \"\": not a whole number"),
    (&["node.id=2", "node.id=x"], "command line: node.id = \"x\": not a whole number"),
    (
        &["listeners.client=0.0.0.0:9192"],
        "default: listeners.client-advertise = \"\": nobody can dial 0.0.0.0:9192: say which host:port others are to use",
    ),
    (
        &["cluster.bootstrap=2@h:1,3@h:2"],
        "node.id 1 is not in cluster.bootstrap: list every first node, this one included",
    ),
];

/// Variables, their values, and the words.
pub(crate) const VARIABLES: &[(&str, &str, &str)] = &[
    (
        "QUIPU_RAFT__HARTBEAT",
        "1",
        "environment variable QUIPU_RAFT__HARTBEAT: unknown setting \"raft.hartbeat\"; did you mean \"raft.heartbeat\"?",
    ),
    (
        "QUIPU_NODE__ID",
        "x",
        "environment variable QUIPU_NODE__ID: node.id = \"x\": not a whole number",
    ),
    (
        "QUIPU_NODE__ID",
        "",
        "environment variable QUIPU_NODE__ID: node.id = \"\": not a whole number",
    ),
];
