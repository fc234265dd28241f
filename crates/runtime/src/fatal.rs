//! How a part that cannot go on ends the process, with its reason.

use std::sync::Arc;

use tokio::sync::watch;

/// Ends the node. The first reason wins; the process exits with it.
#[derive(Clone, Debug)]
pub struct Fatal {
    reason: Arc<watch::Sender<Option<String>>>,
}

/// Waits for the reason.
#[derive(Clone, Debug)]
pub struct FatalReceiver {
    reason: watch::Receiver<Option<String>>,
}

impl Fatal {
    /// A pair: the side that reports, the side that waits.
    #[must_use]
    pub fn new() -> (Self, FatalReceiver) {
        let (sender, receiver) = watch::channel(None);
        (Self { reason: Arc::new(sender) }, FatalReceiver { reason: receiver })
    }

    /// Reports that the node cannot go on. Returns at once; callable from any thread.
    pub fn stop_node(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.reason.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                tracing::error!(reason, "node cannot go on");
                *first = Some(reason);
            }
            is_first
        });
    }

    /// The reason, if there is one by now.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }
}

impl FatalReceiver {
    /// Waits for the first reason. Cancel-safe. Never ready when every [`Fatal`] is gone.
    pub async fn wait(&mut self) -> String {
        let reason = self.reason.wait_for(Option::is_some).await.ok().and_then(|is| is.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }
}
