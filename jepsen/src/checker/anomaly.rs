//! Every anomaly the checker can name.

use std::fmt;

use serde::{Serialize, Serializer};

/// Defines the anomalies: code, name, one sentence.
macro_rules! anomalies {
    ($($variant:ident = $code:literal, $name:literal, $summary:literal;)+) => {
        /// Something that must not happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Anomaly {
            $(#[doc = $summary] $variant,)+
        }

        impl Anomaly {
            /// Every anomaly, in order of code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The short code, for example `A1`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The name, for example `inconsistent-offsets`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)+ }
            }
        }
    };
}

anomalies! {
    InconsistentOffsets = "A1", "inconsistent-offsets", "One offset showed two values.";
    Duplicate = "A2", "duplicate", "One value lies at two offsets.";
    AbortedRead = "A3", "aborted-read", "A value whose append was refused was read.";
    LostWrite = "A4", "lost-write", "An acknowledged value is missing although later ones were read.";
    Unseen = "A5", "unseen", "An acknowledged value at the end of the log was never read.";
    IntPollSkip = "A6", "int-poll-skip", "A poll skipped offsets between two of its records.";
    IntNonmonotonicPoll = "A7", "int-nonmonotonic-poll", "A poll went back or repeated between two of its records.";
    PollSkip = "A8", "poll-skip", "A process skipped offsets between two polls.";
    NonmonotonicPoll = "A9", "nonmonotonic-poll", "A process went back or repeated between two polls.";
    IntNonmonotonicSend = "A11", "int-nonmonotonic-send", "The records of one append lie in another order than they were sent.";
    NonmonotonicSend = "A12", "nonmonotonic-send", "Two appends of one process lie in another order than they were sent.";
    CycleWrites = "A14-G0", "G0", "Appends precede each other in a circle.";
    CycleWritesProcess = "A14-G0-process", "G0-process", "As G0, with the order of calls in a process.";
    CycleReadsProcess = "A14-G1c-process", "G1c-process", "Appends, the reads of their values and the calls of a process precede each other in a circle.";
    CycleWritesRealtime = "A14-G0-realtime", "G0-realtime", "As G0, with the order of calls that did not overlap.";
    CycleReadsRealtime = "A14-G1c-realtime", "G1c-realtime", "Appends, the reads of their values and calls that did not overlap precede each other in a circle.";
    ReadLag = "A16", "worst-realtime-lag", "Long after the faults a read was staler than the limit.";
    Hole = "B1", "dense-offsets", "An offset below the end holds nothing.";
    Phantom = "B2", "phantom", "A value was read that nobody ever sent.";
    Payload = "B3", "payload", "A record was read with other bytes than it was sent with.";
    WrongPartition = "B4", "wrong-partition", "A value was read from a partition it was not sent to.";
    AppendOrder = "B5", "real-time-append-order", "An append that ended before another began lies behind it.";
    LateAppendOrder = "B6", "real-time-order-of-unclear-appends", "An append without an answer lies before one that had ended when it began.";
    UnstablePrefix = "B7", "prefix-stability", "Two reads of one offset differ.";
    ReplicasDiffer = "B8", "replica-equality", "Replicas differ after healing.";
    StateWentBack = "B9", "white-box-monotonicity", "A replica's state went back, or a term had two leaders.";
    NoProgress = "B10", "progress", "Too few appends were acknowledged although a majority was healthy.";
    LeaderAckLost = "K1", "leader-ack-lost", "A record acknowledged by its leader vanished although the leader did not change.";
    ReadWindow = "L2", "read-window", "A fetch did not begin at the offset it asked for, or passed the high watermark.";
    EndMisplaced = "L3", "end-misplaced", "The end of the log was below what was acknowledged, or above what was sent.";
    EndDecreased = "L4", "end-decreased", "The end of the log went back.";
    FutureRead = "L5", "future-read", "A read returned before the append of a record up to it was called.";
    TwoOwners = "G1", "two-owners", "A partition had two owners.";
    EpochDecreased = "G2", "group-epoch-decreased", "The epoch of a group went back.";
    StaleCommit = "G3", "stale-commit", "A commit of a member that was no longer owner had an effect.";
    CommitRegister = "G4", "commit-register", "A committed position was lost or went back by itself.";
    PhantomCommit = "G5", "phantom-commit", "A position was reported that nobody committed.";
    SkippedDelivery = "G6", "at-least-once", "A group passed over records without delivering them.";
    RedeliveryOutside = "G7", "redelivery-outside-window", "A record below the committed position was delivered again.";
    EarlyAutoCommit = "G8", "early-auto-commit", "A commit covered records that were still being handled.";
    GroupNotHealed = "G9", "group-not-healed", "A group was not whole in time, or a static member was not treated as one.";
    CommitLostInFault = "G10", "commit-lost-in-fault", "A committed position did not survive a fault.";
    RepeatedSequence = "P1", "repeated-sequence", "A producer's sequence lies in the log twice.";
    SequenceGap = "P2", "sequence-gap", "Sequences of a producer do not rise by one along the log.";
    RetryMoved = "P3", "retry-answer", "A retry of a recent batch did not get the original offset.";
    ProducerForgotten = "P4", "producer-forgotten", "A producer's right next sequence was refused: its state was lost.";
    FencedAppend = "P5", "fenced-append", "A record of an older epoch lies behind one of a newer.";
    GapAccepted = "P6", "gap-accepted", "An append that left out sequences was accepted.";
    SharedProducerId = "P7", "shared-producer-id", "A producer id was given out twice.";
    LogStartWentBack = "R1", "log-start-went-back", "The log start went back.";
    DeletedTooEarly = "R2", "deleted-too-early", "Records were deleted that no rule allowed to delete.";
    BelowStart = "R3", "read-below-start", "A read below the log start, or an out-of-range error inside the log, was answered wrongly.";
    Resurrection = "R4", "resurrection", "Deleted records came back.";
    SizeBound = "R5", "size-bound", "A log stayed above its size limit.";
    ClockJumpDeletes = "R6", "clock-jump-deletes", "A jump of the wall clock deleted young records.";
    TopicLifecycle = "R7", "topic-lifecycle", "A deleted topic answered, or its data or id appeared again.";
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.name())
    }
}

impl Serialize for Anomaly {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}
