//! Where a process meets the network.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use quipu_consensus::{AddressBook, Carrier, Config, Connector};
use quipu_types::NodeId;

use super::{Net, call};
use crate::l1::life::Life;

/// One process's way out.
#[derive(Clone)]
pub(in crate::l1) struct Door {
    net: Net,
    life: Life,
}

impl Door {
    pub(in crate::l1) const fn new(net: Net, life: Life) -> Self {
        Self { net, life }
    }

    async fn dial(self, address: String) -> Result<Carrier, String> {
        let node = address.parse().map(NodeId::new).map_err(|_| "no such address".to_owned())?;
        let own = self.life.node();
        self.trip(own, node).await;
        let listener = self.net.listener(node);
        self.trip(node, own).await;
        let Some((server, service)) = listener else { return Err("refused".to_owned()) };
        if self.life.is_over() || server.is_over() {
            return Err("reset".to_owned());
        }
        let connection = self.net.open(&self.life, &server);
        let net = self.net.clone();
        Ok(Carrier::Function(Arc::new(move |request| {
            call::start(net.clone(), connection.clone(), service.clone(), request).boxed()
        })))
    }

    async fn trip(&self, from: NodeId, to: NodeId) {
        let delay: Duration = self.net.delay();
        tokio::time::sleep(delay).await;
        self.net.passage(from, to).await;
    }
}

impl Connector for Door {
    fn connect(
        &self,
        address: String,
        config: &Config,
    ) -> BoxFuture<'static, Result<Carrier, String>> {
        let dialed = tokio::time::timeout(config.connect_timeout, self.clone().dial(address));
        async move { dialed.await.unwrap_or_else(|_| Err("timed out".to_owned())) }.boxed()
    }
}

impl AddressBook for Door {
    fn address(&self, node: NodeId) -> Option<String> {
        Some(node.to_string())
    }
}
