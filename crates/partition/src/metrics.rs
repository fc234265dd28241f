//! All metrics of this crate. No label that grows with users' data.

use metrics::counter;

use crate::AppendRefused;

const DUPLICATES: &str = "quipu_partition_duplicates_total";
const REFUSED: &str = "quipu_partition_refused_total";
const FORGOTTEN: &str = "quipu_partition_producers_forgotten_total";

const OUT_OF_ORDER: &str = "out_of_order";
const FENCED: &str = "fenced";
const UNKNOWN_PRODUCER: &str = "unknown_producer";
const OLD_DUPLICATE: &str = "old_duplicate";

/// Registers descriptions; call once after the recorder is installed.
pub fn describe() {
    use metrics::{Unit, describe_counter};
    describe_counter!(DUPLICATES, Unit::Count, "Batches that were appended before.");
    describe_counter!(REFUSED, Unit::Count, "Batches refused at apply, by reason.");
    describe_counter!(FORGOTTEN, Unit::Count, "Producers forgotten because of too many others.");
    counter!(DUPLICATES).increment(0);
    counter!(FORGOTTEN).increment(0);
    for reason in [OUT_OF_ORDER, FENCED, UNKNOWN_PRODUCER, OLD_DUPLICATE] {
        counter!(REFUSED, "reason" => reason).increment(0);
    }
}

pub(crate) fn count_duplicate() {
    counter!(DUPLICATES).increment(1);
}

pub(crate) fn count_refused(refused: &AppendRefused) {
    let reason = match refused {
        AppendRefused::OutOfOrderSequence { .. } => OUT_OF_ORDER,
        AppendRefused::ProducerFenced { .. } => FENCED,
        AppendRefused::UnknownProducer => UNKNOWN_PRODUCER,
        AppendRefused::DuplicateSequence => OLD_DUPLICATE,
    };
    counter!(REFUSED, "reason" => reason).increment(1);
}

pub(crate) fn count_forgotten() {
    counter!(FORGOTTEN).increment(1);
}
