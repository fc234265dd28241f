//! Every defect that can be planted, and who must find it.

/// A defect.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    /// Its name, as [`is_planted`](crate::is_planted) is called.
    pub name: &'static str,
    /// What the product does then.
    pub does: &'static str,
    /// Who must find it.
    pub finder: Finder,
    /// Which nodes have it.
    pub nodes: Nodes,
}

/// Who finds a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finder {
    /// The chaos suite, drawing from these faults.
    Chaos(&'static str),
    /// Tests: their target (`lib`: those inside the crates), and a part of their names.
    Test(&'static str, &'static str),
}

/// Which nodes have a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// All of them.
    Every,
    /// The first: replicas differ then.
    One,
}

const KILL: Finder = Finder::Chaos("kill");
const CALM: Finder = Finder::Chaos("pause-one");
const LONELY: Finder = Finder::Chaos("isolate-leader,pause-leader");
const SEGMENTS: Finder = Finder::Test("crash_points", "segments_and_tables");
const SHARDS: Finder = Finder::Test("crash_points", "shards_survive");
const START: Finder = Finder::Test("bad_start", "");
const REBUILD: Finder = Finder::Test("rebuild", "a_second_damaged_node");
const INPUT: Finder = Finder::Test("bad_input", "");
const MODEL: Finder = Finder::Test("lib", "groups_do_what_the_model_foretells");
const JOURNAL: Finder = Finder::Test("journal", "a_failed_flush_fails_everything_after_it");
const MOVES: Finder = Finder::Test("elasticity", "partitions_move_between_shards_and_back");
const ARRIVAL: Finder = Finder::Test("lib", "a_partition_goes_on_in_another_shard");
const DISK: Finder = Finder::Test("journal", "");
const TERM: Finder = Finder::Test("lib", "a_restarted_leader_never_resumes_its_term");
const VOTE: Finder = Finder::Test("lib", "a_vote_is_on_the_disk_when_it_is_answered");
const CLOSED: Finder = Finder::Test("cluster", "a_closed_group_stores_nothing_any_more");
const TERM_OF_CHANGE: Finder = Finder::Test("cluster", "members_change_only_in_the_term");
const DEPOSED: Finder = Finder::Test("lib", "a_deposed_leader_settles_nothing");
const MEMBERS: Finder = Finder::Test("l1", "nothing_that_was_promised_is_lost");

/// Every defect, in order of name.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "plant.commit.before-replication",
        does: "a commit is answered as soon as it is proposed",
        finder: LONELY,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.commit.unfenced",
        does: "a commit is stored whoever sent it",
        finder: MODEL,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.dedupe.lost-at-leader-change",
        does: "a new leader knows no producer and takes any sequence",
        finder: KILL,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.dedupe.lost-in-checkpoint",
        does: "checkpoints and snapshots hold no producers",
        finder: SEGMENTS,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.dedupe.new-offset",
        does: "a retry is answered with the end of the log instead of its own offset",
        finder: KILL,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.end.beyond-high-watermark",
        does: "the latest offset is one too high",
        finder: CALM,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.fetch.one-late",
        does: "a fetch begins one record late",
        finder: CALM,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.fetch.skips-at-boundary",
        does: "a fetch leaves out the last batch of a sealed segment",
        finder: SEGMENTS,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.group.epoch-kept",
        does: "a rebalance keeps the group's epoch",
        finder: MODEL,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.group.granted-early",
        does: "a partition is given away before its owner let it go",
        finder: MODEL,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.group.works-after-close",
        does: "a replica that was closed goes on storing what it was about to",
        finder: CLOSED,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.groups.not-in-snapshot",
        does: "a snapshot brings no consumer groups",
        finder: SHARDS,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.journal.damage-cut",
        does: "damage in the middle of the journal is cut off with all behind it",
        finder: START,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.journal.flush-error-ignored",
        does: "a failed flush counts as done",
        finder: JOURNAL,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.journal.flush-skipped",
        does: "what is acknowledged was never flushed",
        finder: DISK,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.leader.restored",
        does: "a leader that was killed goes on in its term",
        finder: TERM,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.members.any-term",
        does: "members change as a leader saw fit in an earlier term",
        finder: TERM_OF_CHANGE,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.members.deposed-settles",
        does: "a leader that was deposed says that a move is done",
        finder: DEPOSED,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.members.unconfirmed",
        does: "members change by the image at hand, however old it is",
        finder: MEMBERS,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.move.not-sealed",
        does: "a partition is written to where it was while the last of it is brought over",
        finder: MOVES,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.move.producers-lost",
        does: "a partition arrives without its producers",
        finder: ARRIVAL,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.producer.stale-epoch",
        does: "a producer with an old epoch is let in",
        finder: INPUT,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.quorum.not-awaited",
        does: "a leader acknowledges to the quorum's callers what it has flushed alone",
        finder: LONELY,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.read.without-quorum",
        does: "a read asks nobody whether this node still leads",
        finder: LONELY,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.rebuild.without-majority",
        does: "a node gets other replicas whether a majority is there without it or not",
        finder: REBUILD,
        nodes: Nodes::Every,
    },
    Plant {
        name: "plant.trim.ignored",
        does: "one node answers that records are deleted and keeps them",
        finder: SEGMENTS,
        nodes: Nodes::One,
    },
    Plant {
        name: "plant.vote.before-flush",
        does: "a vote is answered before it is on the disk",
        finder: VOTE,
        nodes: Nodes::Every,
    },
];
