//! The wait of a fetch: one task per request, none per partition.

use futures::future::{BoxFuture, FutureExt, select_all};
use quipu_runtime::{Clock, Deadline};
use tokio::sync::watch;

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// A watched value changed, or its owner is gone.
    Changed,
    /// The time is over.
    Deadline,
}

/// Waits until one of the watched values changes after it was last marked as seen.
///
/// Cancel-safe: a change that is not waited for stays unseen.
pub(crate) async fn wait<'a, P, S>(
    progress: impl Iterator<Item = &'a mut watch::Receiver<P>>,
    standings: &'a mut [watch::Receiver<S>],
    clock: &Clock,
    deadline: Deadline,
) -> Woken
where
    P: Send + Sync + 'a,
    S: Send + Sync + 'a,
{
    let changes: Vec<BoxFuture<'a, ()>> =
        progress.map(changed).chain(standings.iter_mut().map(changed)).collect();
    let any: BoxFuture<'a, ()> = if changes.is_empty() {
        std::future::pending().boxed()
    } else {
        select_all(changes).map(drop).boxed()
    };
    match deadline.timeout(clock, any).await {
        Ok(()) => Woken::Changed,
        Err(_) => Woken::Deadline,
    }
}

fn changed<'a, T: Send + Sync>(watch: &'a mut watch::Receiver<T>) -> BoxFuture<'a, ()> {
    // An error means that the owner is gone: the caller looks again and finds out.
    watch.changed().map(drop).boxed()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_change_ends_the_wait_at_once() {
        let clock = Clock::system();
        let deadline = Deadline::after(&clock, WAIT);
        let (quiet, mut first) = watch::channel(0);
        let (busy, mut second) = watch::channel(0);
        let mut standings: [watch::Receiver<u8>; 0] = [];
        busy.send_replace(1);
        let watches = [&mut first, &mut second].into_iter();
        assert_eq!(wait(watches, &mut standings, &clock, deadline).await, Woken::Changed);
        assert_eq!(deadline.remaining(&clock), WAIT, "no time passed");
        drop(quiet);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_new_ends_at_the_deadline() {
        let clock = Clock::system();
        let deadline = Deadline::after(&clock, WAIT);
        let (_sender, mut watch) = watch::channel(0);
        let (_standing, standing) = watch::channel(0);
        let woken = wait([&mut watch].into_iter(), &mut [standing], &clock, deadline).await;
        assert_eq!(woken, Woken::Deadline);
        assert!(deadline.is_past(&clock));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_leadership_and_a_vanished_partition_end_it_too() {
        let clock = Clock::system();
        let deadline = Deadline::after(&clock, WAIT);
        let (_sender, mut watch) = watch::channel(0);
        let (leadership, standing) = watch::channel(0);
        leadership.send_replace(1);
        let woken = wait([&mut watch].into_iter(), &mut [standing], &clock, deadline).await;
        assert_eq!(woken, Woken::Changed);
        let (gone, mut watch) = watch::channel(0);
        drop(gone);
        let mut standings: [watch::Receiver<u8>; 0] = [];
        let woken = wait([&mut watch].into_iter(), &mut standings, &clock, deadline).await;
        assert_eq!(woken, Woken::Changed);
    }
}
