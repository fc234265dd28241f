//! One life of a process: over at once, whatever its tasks still do.

use quipu_types::NodeId;
use tokio_util::sync::CancellationToken;

/// A process. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    node: NodeId,
    number: u64,
    /// It was asked to stop, and is about to.
    stopping: CancellationToken,
    over: CancellationToken,
}

impl Life {
    pub(crate) fn begin(node: NodeId, number: u64) -> Self {
        let stopping = CancellationToken::new();
        Self { node, number, stopping, over: CancellationToken::new() }
    }

    pub(crate) const fn node(&self) -> NodeId {
        self.node
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// It is asked to stop: its groups end one after the other.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Ends it: what its tasks do from now on is not seen by anybody.
    pub(crate) fn end(&self) {
        self.over.cancel();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits for something, or for its end; says whether it still lives.
    pub(crate) async fn is_going(&self, something: impl Future<Output = ()>) -> bool {
        self.over.run_until_cancelled(something).await.is_some() && !self.is_over()
    }

    /// Waits for its end.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }
}
