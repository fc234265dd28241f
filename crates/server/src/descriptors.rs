//! How many files this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A limit below this is worth a warning: a few thousand partitions need it.
const ENOUGH: usize = 8_192;
/// More writers gain nothing: so many partitions are hardly written to between two checkpoints.
const WRITERS_MAX: usize = 16_384;

/// Raises the soft limit of open files to the hard one and gives segment writers their share: one
/// half, of which each may take two; the rest is for readers, sockets and the key-value store.
pub(crate) fn writers_max() -> usize {
    let limit = raise();
    let writers = (limit / 4).clamp(1, WRITERS_MAX);
    if limit < ENOUGH {
        tracing::warn!(
            limit,
            writers,
            "few files may be open: more partitions than writers are flushed at each write; raise \
             the hard limit (LimitNOFILE, ulimit -Hn) to {ENOUGH} or more"
        );
    }
    writers
}

fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    // No limit: as many as anybody needs.
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let writers = writers_max();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert!((1..=WRITERS_MAX).contains(&writers));
    }
}
