//! Calls between nodes for the crates above: a kind, bytes, an answer.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use quipu_types::NodeId;

/// Answers one kind of call.
pub trait CallHandler: Send + Sync + 'static {
    /// Answers a call of `from`. A refusal's words reach the caller.
    ///
    /// Dropping the future (the caller went away) stops the work at its next await.
    fn call(&self, from: NodeId, payload: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;
}

impl<F, A> CallHandler for F
where
    F: Fn(NodeId, Bytes) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Bytes, String>> + Send + 'static,
{
    fn call(&self, from: NodeId, payload: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(self(from, payload))
    }
}

/// Handlers by kind.
#[derive(Default)]
pub(crate) struct Handlers(RwLock<HashMap<u32, Arc<dyn CallHandler>>>);

impl Handlers {
    /// Sets the handler of a kind; the last one wins.
    pub(crate) fn set(&self, kind: u32, handler: Arc<dyn CallHandler>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(kind, handler);
    }

    /// The handler of a kind.
    pub(crate) fn get(&self, kind: u32) -> Option<Arc<dyn CallHandler>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned()
    }
}
