//! Tasks with an owner: a tree that is cancelled from the root and joined from the leaves.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Fatal;

/// What the exit of a task means, unless its group was cancelled before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// The node cannot do without it: an exit, by return or by panic, ends the process.
    StopNode,
    /// It may end; a panic is logged.
    Log,
}

/// Owns tasks. Clones are handles to the same group.
#[derive(Clone, Debug)]
pub struct TaskGroup {
    name: Arc<str>,
    fatal: Fatal,
    token: CancellationToken,
    /// Shared by the whole tree: the root joins everything.
    tracker: TaskTracker,
}

impl TaskGroup {
    /// The root of a tree.
    #[must_use]
    pub fn root(name: &str, fatal: Fatal) -> Self {
        Self {
            name: name.into(),
            fatal,
            token: CancellationToken::new(),
            tracker: TaskTracker::new(),
        }
    }

    /// A group whose cancellation leaves its parent alone, but not the other way round. Joined by
    /// its own [`Self::stop`] and by its parent's.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self {
            name: format!("{}/{name}", self.name).into(),
            fatal: self.fatal.clone(),
            token: self.token.child_token(),
            tracker: self.tracker.clone(),
        }
    }

    /// The path of names from the root.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What reports the end of the node.
    #[must_use]
    pub const fn fatal(&self) -> &Fatal {
        &self.fatal
    }

    /// Cancelled when the group is asked to stop: tasks select on it.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Starts a task. It is dropped at its next await when the group is cancelled and it has not
    /// watched [`Self::token`] itself; use [`Self::spawn_graceful`] for tasks that drain.
    pub fn spawn(
        &self,
        name: &str,
        on_exit: OnExit,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let token = self.token.clone();
        let cancellable = async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = task => {}
            }
        };
        self.spawn_graceful(name, on_exit, cancellable);
    }

    /// Starts a task that watches [`Self::token`] and ends by itself after it was cancelled.
    #[expect(clippy::disallowed_methods, reason = "this is the door to tokio's tasks")]
    pub fn spawn_graceful(
        &self,
        name: &str,
        on_exit: OnExit,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let name = format!("{}/{name}", self.name);
        let (token, fatal) = (self.token.clone(), self.fatal.clone());
        tokio::spawn(self.tracker.track_future(async move {
            let outcome = AssertUnwindSafe(task).catch_unwind().await;
            report_exit(&name, on_exit, outcome, token.is_cancelled(), &fatal);
        }));
    }

    /// Asks every task of the group and of its children to stop. Returns at once.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Cancels the group and waits until no task of the tree is left; says whether that was in
    /// time. Meant for the root: children share its tracker.
    pub async fn stop(&self, wait: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(wait, self.tracker.wait()).await.is_ok()
    }
}

fn report_exit(
    name: &str,
    on_exit: OnExit,
    outcome: std::thread::Result<()>,
    is_cancelled: bool,
    fatal: &Fatal,
) {
    let reason = match outcome {
        Ok(()) if is_cancelled || on_exit == OnExit::Log => return,
        Ok(()) => format!("task {name} ended unexpectedly"),
        Err(panic) => format!("task {name} panicked: {}", panic_text(panic.as_ref())),
    };
    match on_exit {
        OnExit::StopNode => fatal.stop_node(reason),
        OnExit::Log => tracing::error!(task = name, reason, "task died"),
    }
}

/// The words of a panic.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vital_task_that_panics_stops_the_node_with_its_words() {
        let (fatal, mut receiver) = Fatal::new();
        let group = TaskGroup::root("node", fatal).child("shard-1");
        group.spawn("apply", OnExit::StopNode, async { panic!("disk is {}", "gone") });
        assert_eq!(receiver.wait().await, "task node/shard-1/apply panicked: disk is gone");
    }

    #[tokio::test]
    async fn a_vital_task_that_returns_stops_the_node() {
        let (fatal, mut receiver) = Fatal::new();
        let group = TaskGroup::root("node", fatal);
        group.spawn("loop", OnExit::StopNode, async {});
        assert_eq!(receiver.wait().await, "task node/loop ended unexpectedly");
    }

    #[tokio::test]
    async fn stopping_the_root_ends_all_tasks_without_calling_it_a_death() {
        let (fatal, _receiver) = Fatal::new();
        let root = TaskGroup::root("node", fatal.clone());
        let child = root.child("child");
        child.spawn("forever", OnExit::StopNode, std::future::pending());
        let token = child.token();
        child.spawn_graceful("drain", OnExit::StopNode, async move { token.cancelled().await });
        assert!(root.stop(Duration::from_secs(5)).await);
        assert_eq!(fatal.reason(), None);
    }
}
