//! Each target over seeded mutations of its corpus.

use std::path::Path;

use quipu_fuzz::{Mutator, TARGETS, Target, caught, find, load, shrink};

/// The same inputs in every run.
const SEED: u64 = 20_261_121;

macro_rules! mutations {
    ($($name:ident: $count:literal,)+) => {
        $(
            #[test]
            fn $name() {
                mutate(stringify!($name), $count);
            }
        )+

        #[test]
        fn every_target_is_tried() {
            let tried = [$(stringify!($name)),+];
            for target in TARGETS {
                assert!(tried.contains(&target.name), "{} is not", target.name);
            }
        }
    };
}

mutations! {
    record_batch: 6_000,
    batch_run: 6_000,
    decompress_gzip: 2_000,
    decompress_snappy: 3_000,
    decompress_lz4: 3_000,
    decompress_zstd: 2_000,
    journal_files: 1_500,
    journal_damage: 1_500,
    segment_files: 2_000,
    segment_damage: 2_000,
    segment_index: 2_000,
    compaction: 1_500,
    partition_checkpoint: 5_000,
    kv_key: 10_000,
    shard_rows: 1_500,
    bundle: 6_000,
    shard_apply: 1_500,
    shard_snapshot: 1_500,
    group_commands: 3_000,
    group_state: 2_000,
    raft_stored: 10_000,
    raft_frames: 6_000,
    grpc_requests: 6_000,
    topic_requests: 2_000,
    subscription: 2_000,
    metadata_commands: 1_500,
    metadata_state: 1_500,
    identity_file: 3_000,
    config_toml: 3_000,
    cli_values: 6_000,
    cli_args: 1_000,
}

fn mutate(name: &str, count: usize) {
    let target = find(name).unwrap_or_else(|| panic!("there is no target {name}"));
    let corpus = load(target).unwrap_or_else(|error| panic!("corpus of {name}: {error}"));
    let corpus: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::seeded(SEED);
    for _ in 0..count {
        let input = mutator.next(&corpus).expect("a corpus has inputs");
        if let Err(words) = caught(|| (target.run)(&input)) {
            fail(target, &input, &words);
        }
    }
}

fn fail(target: &Target, input: &[u8], words: &str) -> ! {
    let smallest = shrink(target, input, words);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("found-{}", target.name));
    std::fs::write(&file, smallest).expect("write what was found");
    let (name, file) = (target.name, file.display());
    panic!("{words}\nreplay: cargo run -p quipu-fuzz -- {name} --replay {file}");
}
