//! The one place where this crate starts tasks. A library that runs inside others' services has
//! no process to stop, so that the server's task groups do not fit: a task belongs to the handle
//! that started it.

use std::future::Future;

/// A task that ends with its handle.
#[derive(Debug)]
pub(crate) struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a task that is stopped when the returned handle is dropped.
pub(crate) fn spawn_owned(future: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(spawn(future))
}

/// Starts a task that ends by itself.
pub(crate) fn spawn_detached(future: impl Future<Output = ()> + Send + 'static) {
    drop(spawn(future));
}

#[expect(clippy::disallowed_methods, reason = "the client has no TaskGroup: see the module")]
fn spawn(future: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(future)
}
