//! Work that waits for a disk.

use tokio::runtime::{Handle, RuntimeFlavor};

/// The runtime went away before the work was done, or the work panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was not done")]
pub struct Undone;

/// Runs `job` where it holds up nobody else: on the blocking pool. A runtime of one thread has it
/// run in place: there is a simulator behind it, and a second thread would decide the order.
///
/// Dropping the future does not stop a job that has begun.
///
/// # Errors
/// [`Undone`].
pub async fn run_blocking<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Undone> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        tokio::task::yield_now().await;
        return Ok(job());
    }
    tokio::task::spawn_blocking(job).await.map_err(|_| Undone)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn a_runtime_of_one_thread_has_the_work_done_there() {
        let here = thread::current().id();
        assert_eq!(run_blocking(move || thread::current().id()).await, Ok(here));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_have_it_done_beside() {
        let here = thread::current().id();
        let there = run_blocking(move || thread::current().id()).await;
        assert!(there.is_ok_and(|there| there != here));
        let panicked = run_blocking(|| panic!("on purpose")).await;
        assert_eq!(panicked, Err(Undone));
    }
}
