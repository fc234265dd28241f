//! Every point, and how a node is brought to pass it.

use crate::load::Size;

/// What a node is to the shard that a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Leader,
    Follower,
}

/// Which shard a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The one with the records.
    Records,
    /// The one with the positions.
    Positions,
    /// Shard 0.
    Metadata,
}

/// What makes a node pass a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drive {
    /// Records and positions.
    Load(Size),
    /// Records beside, which are deleted again and again.
    Trim,
    /// Topics come and go.
    Topics,
    /// Leadership goes from node to node.
    Lead,
    /// It starts, and died under load of this size before.
    Start(Size),
    /// It starts, and died between a write of the journal and its flush.
    StartTorn,
    /// It starts with entries that no other node has.
    StartAhead,
    /// A node was away for so long that it needs a snapshot of the records' shard.
    Lag,
    /// The same, of the metadata.
    LagBehindTopics,
}

/// A point and the roles in which it can be passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) point: &'static str,
    pub(crate) roles: &'static [Role],
    pub(crate) subject: Subject,
    pub(crate) drive: Drive,
}

/// Cases that share a cluster.
pub(crate) struct Part {
    /// Entries that the journal keeps behind a checkpoint: few make a node that was away need a
    /// snapshot, and journal files free.
    pub(crate) entries_kept: u32,
    pub(crate) cases: &'static [Case],
}

const LEADER: &[Role] = &[Role::Leader];
const FOLLOWER: &[Role] = &[Role::Follower];
pub(crate) const BOTH: &[Role] = &[Role::Leader, Role::Follower];

const LINES: Drive = Drive::Load(Size::Line);
const BULK: Drive = Drive::Load(Size::Bulk);
const START: Drive = Drive::Start(Size::Line);
const RESTART_BULK: Drive = Drive::Start(Size::Bulk);

const fn case(point: &'static str, drive: Drive) -> Case {
    Case { point, roles: BOTH, subject: Subject::Records, drive }
}

const fn by(roles: &'static [Role], point: &'static str, drive: Drive) -> Case {
    Case { point, roles, subject: Subject::Records, drive }
}

const fn of(subject: Subject, roles: &'static [Role], point: &'static str, drive: Drive) -> Case {
    Case { point, roles, subject, drive }
}

/// Journal files are never free here: every one is made anew.
pub(crate) const JOURNAL: Part = Part {
    entries_kept: 1_000_000,
    cases: &[
        case("journal.write.before", LINES),
        case("journal.write.after", LINES),
        case("journal.flush.before", LINES),
        case("journal.flush.after", LINES),
        case("journal.callback.before", LINES),
        case("journal.mark.before", LINES),
        case("journal.roll.before", BULK),
        case("journal.roll.after", BULK),
        case("journal.create.before", BULK),
        case("journal.create.fill.before", BULK),
        case("journal.create.rename.before", BULK),
        case("journal.create.sync-dir.before", BULK),
        case("journal.create.sync-dir.after", BULK),
        by(FOLLOWER, "journal.start.before", START),
        by(FOLLOWER, "journal.start.after", START),
        by(FOLLOWER, "journal.recover.rewrite.before", Drive::StartTorn),
        by(FOLLOWER, "journal.recover.flush.before", Drive::StartTorn),
        by(FOLLOWER, "journal.recover.flush.after", Drive::StartTorn),
        by(FOLLOWER, "disk.atomic.create.before", START),
        by(FOLLOWER, "disk.atomic.write.before", START),
        by(FOLLOWER, "disk.atomic.flush.before", START),
        by(FOLLOWER, "disk.atomic.rename.before", START),
        by(FOLLOWER, "disk.atomic.sync-dir.before", START),
        by(FOLLOWER, "disk.atomic.sync-dir.after", START),
        case("consensus.vote.save.before", Drive::Lead),
        case("consensus.vote.save.after", Drive::Lead),
        by(FOLLOWER, "consensus.log.truncate.before", Drive::StartAhead),
        by(FOLLOWER, "consensus.log.truncate.after", Drive::StartAhead),
    ],
};

/// Segments, tables, journal files that are used again.
pub(crate) const STORAGE: Part = Part {
    entries_kept: 64,
    cases: &[
        case("segment.create.before", BULK),
        case("segment.append.before", LINES),
        case("segment.append.after", LINES),
        case("segment.roll.before", BULK),
        case("segment.roll.after", BULK),
        case("segment.index.write.before", BULK),
        case("segment.index.write.after", BULK),
        case("segment.flush.before", LINES),
        case("segment.flush.sync-dir.before", LINES),
        case("segment.flush.after", LINES),
        case("segment.remove.before", Drive::Trim),
        case("segment.remove.after", Drive::Trim),
        by(FOLLOWER, "segment.recover.cut.before", RESTART_BULK),
        by(FOLLOWER, "segment.recover.cut.after", RESTART_BULK),
        by(FOLLOWER, "segment.recover.remove.before", RESTART_BULK),
        case("kv.write.before", LINES),
        case("kv.write.after", LINES),
        case("kv.flush.before", LINES),
        case("kv.flush.after", LINES),
        case("journal.purge.before", BULK),
        case("journal.purge.after", BULK),
        case("journal.recycle.rename.before", BULK),
        case("journal.recycle.sync-dir.before", BULK),
        case("journal.recycle.sync-dir.after", BULK),
        case("consensus.log.purge.before", LINES),
        case("consensus.log.purge.after", LINES),
        of(Subject::Metadata, BOTH, "metadata.apply.before", Drive::Topics),
        of(Subject::Metadata, BOTH, "metadata.apply.after", Drive::Topics),
        of(Subject::Metadata, BOTH, "metadata.checkpoint.before", Drive::Topics),
        of(Subject::Metadata, BOTH, "metadata.checkpoint.rows-written", Drive::Topics),
        of(Subject::Metadata, BOTH, "metadata.checkpoint.after", Drive::Topics),
    ],
};

/// Apply, checkpoints, snapshots, answers.
pub(crate) const SHARDS: Part = Part {
    entries_kept: 16,
    cases: &[
        case("consensus.apply.before", LINES),
        case("consensus.apply.after", LINES),
        case("consensus.reply.before", LINES),
        case("consensus.reply.after", LINES),
        by(LEADER, "shard.append.answer.before", LINES),
        case("consensus.checkpoint.journal-flushed", LINES),
        case("shard.checkpoint.before", LINES),
        case("shard.checkpoint.segments-flushed", LINES),
        case("shard.checkpoint.rows-written", LINES),
        case("shard.checkpoint.rows-flushed", LINES),
        case("shard.checkpoint.after", LINES),
        of(Subject::Positions, BOTH, "shard.group.apply.before", LINES),
        of(Subject::Positions, BOTH, "shard.group.apply.after", LINES),
        of(Subject::Positions, LEADER, "broker.commit.propose.before", LINES),
        of(Subject::Positions, LEADER, "broker.commit.answer.before", LINES),
        case("shard.partition.open.after", Drive::Topics),
        case("shard.partition.close.after", Drive::Topics),
        case("shard.garbage.remove.before", Drive::Topics),
        case("shard.garbage.remove.after", Drive::Topics),
        case("shard.partition.trim.after", Drive::Trim),
        by(LEADER, "shard.snapshot.build.before", Drive::Lag),
        by(LEADER, "shard.snapshot.build.after", Drive::Lag),
        by(LEADER, "consensus.snapshot.send.before", Drive::Lag),
        by(LEADER, "consensus.snapshot.send.after", Drive::Lag),
        by(FOLLOWER, "consensus.snapshot.receive.before", Drive::Lag),
        by(FOLLOWER, "shard.stage.write.after", Drive::Lag),
        by(FOLLOWER, "shard.stage.flush.before", Drive::Lag),
        by(FOLLOWER, "shard.stage.sync-dir.before", Drive::Lag),
        by(FOLLOWER, "shard.stage.sync-dir.after", Drive::Lag),
        by(FOLLOWER, "shard.stage.remove.before", Drive::Lag),
        by(FOLLOWER, "consensus.install.before", Drive::Lag),
        by(FOLLOWER, "consensus.install.journal-flushed", Drive::Lag),
        by(FOLLOWER, "shard.install.partitions-filled", Drive::Lag),
        by(FOLLOWER, "shard.install.after", Drive::Lag),
        of(Subject::Metadata, FOLLOWER, "metadata.install.before", Drive::LagBehindTopics),
        of(Subject::Metadata, FOLLOWER, "metadata.install.after", Drive::LagBehindTopics),
    ],
};

const STARTING: &str = "a node that starts leads nothing yet";
const LEADS: &str = "only who leads does it";
const LAGS: &str = "only who lags behind a leader does it";
const REBUILDS: &str = "tests/rebuild.rs damages journals and crashes at each of these";
const MOVES: &str = "replicas that move are the subject of tests/elasticity";
const PARTITIONS: &str = "tests/elasticity moves partitions and crashes at each of these";
const ROTS: &str = "damage to compacted topics is the subject of tests/damage";
const SPARES: &str = "a gibibyte of purged files is kept for another life";

/// What no node passes in a role, and why.
pub(crate) const OUT_OF_REACH: &[(&str, &[Role], &str)] = &[
    ("broker.move.receive.before", BOTH, PARTITIONS),
    ("broker.move.import.before", BOTH, PARTITIONS),
    ("broker.move.seal.before", BOTH, PARTITIONS),
    ("broker.move.seal.after", BOTH, PARTITIONS),
    ("broker.move.adopt.before", BOTH, PARTITIONS),
    ("broker.move.finish.before", BOTH, PARTITIONS),
    ("broker.move.finish.after", BOTH, PARTITIONS),
    ("shard.move.receive.after", BOTH, PARTITIONS),
    ("shard.move.import.after", BOTH, PARTITIONS),
    ("shard.move.seal.after", BOTH, PARTITIONS),
    ("shard.move.unseal.after", BOTH, PARTITIONS),
    ("shard.move.adopt.after", BOTH, PARTITIONS),
    ("broker.replicas.step.before", BOTH, MOVES),
    ("broker.replicas.step.after", BOTH, MOVES),
    ("segment.replace.marked", BOTH, ROTS),
    ("segment.replace.rename.before", BOTH, ROTS),
    ("segment.replace.renamed", BOTH, ROTS),
    ("shard.evict.noted", BOTH, MOVES),
    ("shard.evict.journal-removed", BOTH, MOVES),
    ("shard.evict.dirs-removed", BOTH, MOVES),
    ("metadata.rebuild.aside", BOTH, REBUILDS),
    ("metadata.rebuild.asking", BOTH, REBUILDS),
    ("metadata.rebuild.end.after", BOTH, REBUILDS),
    ("metadata.rebuild.end.before", BOTH, REBUILDS),
    ("metadata.rebuild.grant.after", BOTH, REBUILDS),
    ("metadata.rebuild.grant.before", BOTH, REBUILDS),
    ("metadata.rebuild.granted", BOTH, REBUILDS),
    ("metadata.rebuild.moved", BOTH, REBUILDS),
    ("metadata.rebuild.noted", BOTH, REBUILDS),
    ("journal.discard.before", BOTH, SPARES),
    ("journal.discard.after", BOTH, SPARES),
    ("journal.start.before", LEADER, STARTING),
    ("journal.start.after", LEADER, STARTING),
    ("journal.recover.rewrite.before", LEADER, STARTING),
    ("journal.recover.flush.before", LEADER, STARTING),
    ("journal.recover.flush.after", LEADER, STARTING),
    ("disk.atomic.create.before", LEADER, STARTING),
    ("disk.atomic.write.before", LEADER, STARTING),
    ("disk.atomic.flush.before", LEADER, STARTING),
    ("disk.atomic.rename.before", LEADER, STARTING),
    ("disk.atomic.sync-dir.before", LEADER, STARTING),
    ("disk.atomic.sync-dir.after", LEADER, STARTING),
    ("segment.recover.cut.before", LEADER, STARTING),
    ("segment.recover.cut.after", LEADER, STARTING),
    ("segment.recover.remove.before", LEADER, STARTING),
    ("consensus.log.truncate.before", LEADER, LAGS),
    ("consensus.log.truncate.after", LEADER, LAGS),
    ("shard.append.answer.before", FOLLOWER, LEADS),
    ("broker.commit.propose.before", FOLLOWER, LEADS),
    ("broker.commit.answer.before", FOLLOWER, LEADS),
    ("shard.snapshot.build.before", FOLLOWER, LEADS),
    ("shard.snapshot.build.after", FOLLOWER, LEADS),
    ("consensus.snapshot.send.before", FOLLOWER, LEADS),
    ("consensus.snapshot.send.after", FOLLOWER, LEADS),
    ("consensus.snapshot.receive.before", LEADER, LAGS),
    ("shard.stage.write.after", LEADER, LAGS),
    ("shard.stage.flush.before", LEADER, LAGS),
    ("shard.stage.sync-dir.before", LEADER, LAGS),
    ("shard.stage.sync-dir.after", LEADER, LAGS),
    ("shard.stage.remove.before", LEADER, LAGS),
    ("consensus.install.before", LEADER, LAGS),
    ("consensus.install.journal-flushed", LEADER, LAGS),
    ("shard.install.partitions-filled", LEADER, LAGS),
    ("shard.install.after", LEADER, LAGS),
    ("metadata.install.before", LEADER, LAGS),
    ("metadata.install.after", LEADER, LAGS),
];
